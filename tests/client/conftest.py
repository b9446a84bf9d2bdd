"""Runs `ml-dash sync` on folders that the Python package wrote.

ML_DASH_COMMAND names the binary to test; else it is the one of the environment, or of `make build`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from sync_server import TOKEN, Reference  # noqa: E402


def find_command() -> str:
    for path in (
        os.environ.get("ML_DASH_COMMAND"),
        Path(sys.executable).parent / "ml-dash",
        ROOT / ".venv/bin/ml-dash",
    ):
        if path and os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError("no ml-dash: run `make build`, or set ML_DASH_COMMAND")


@pytest.fixture(scope="session")
def command() -> str:
    return find_command()


@pytest.fixture
def server():
    reference = Reference()
    yield reference
    reference.close()
    assert reference.violations == []


@pytest.fixture
def environment(tmp_path, server):
    """The variables of a machine where nobody has logged in, but that knows the server."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {
        **kept,
        "ML_DASH_URL": server.url,
        "ML_DASH_TOKEN": TOKEN,
        "ML_DASH_CONFIG_DIR": str(tmp_path / "no-config"),
    }


@pytest.fixture
def sync(tmp_path, monkeypatch, command, environment):
    """sync(*words, code=0): `ml-dash sync` in the working directory; its exit code is checked."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0, **env: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [command, "sync", *map(str, words)],
            capture_output=True,
            text=True,
            env={**environment, **env},
            timeout=120,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def start(tmp_path, monkeypatch, command, environment):
    """start(*words): `ml-dash sync` in the background; ended with the test."""
    monkeypatch.chdir(tmp_path)
    running: list[subprocess.Popen] = []

    def begin(*words: object, **env: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [command, "sync", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**environment, **env},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
