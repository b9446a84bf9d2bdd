"""Runs the built command on folders that the Python package wrote.

ML_DASH_COMMAND names the binary to test; else it is the one of the environment, or of `make build`.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ml_dash import Experiment

ROOT = Path(__file__).resolve().parents[2]


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


def make_environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "TZ")}
    return {**kept, "TZ": "UTC", **extra}


@pytest.fixture
def cli(tmp_path, monkeypatch, command):
    """cli(*words, code=0): runs the command in the working directory, checks its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0, **env: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [command, *map(str, words)],
            capture_output=True,
            text=True,
            env=make_environment(**env),
            timeout=60,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        for line in done.stderr.splitlines():
            assert line.startswith("ml-dash: "), line
        return done

    def run_json(*words: object, code: int = 0) -> dict:
        return json.loads(run(*words, "--json", code=code).stdout)

    run.json = run_json
    return run


def make_first() -> None:
    experiment = Experiment(
        "first", "digits", local_path=".ml-dash", description="one\nrun", tags=["a", "b"]
    )
    with experiment.run as e:
        e.params.set(lr=0.001, name="adam\x1b[31m", bad=float("nan"), big=2**70)
        for i in range(100):
            e.metrics("train/loss").append(loss=1.0 / (i + 1), step=i)
        for i in range(3):
            e.tracks("robot/pos").append(x=i, _ts=10.0 + i)
        e.log("begin", level="info")
        e.log("odd \x1b[2J\ntext", level="warn")
        for step in range(3):
            e.files(prefix="/models", metadata={"step": step}, keep=3).save_text(
                f"weights {step}", to="model.pt"
            )
        e.files(prefix="/models", tags=["best", "big"]).save_text("best", to="best.pt")
        e.files(prefix="/figures", tags=["best"], metadata={"kind": "loss"}).save_text(
            "figure", to="loss.png"
        )
        e.files(prefix="/").save_text("notes", to="notes.txt")
        e.files(prefix="/figures").save_text("twice", to="same.txt")
        e.files(prefix="/models").save_text("twice", to="same.txt")
        gone = e.files(prefix="/old").save_text("old text", to="gone.txt")
        e.files(file_id=gone["id"]).delete()


@pytest.fixture(scope="session")
def pattern(tmp_path_factory):
    """A root with digits/first and other/second, made once."""
    folder = tmp_path_factory.mktemp("pattern")
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_first()
        with Experiment("second", "other", local_path=".ml-dash").run as e:
            e.files(prefix="/").save_text("x", to="x.txt")
    finally:
        os.chdir(before)
    return folder / ".ml-dash"


@pytest.fixture
def root(pattern, tmp_path):
    """A copy of the root as .ml-dash in the working directory."""
    copy = tmp_path / ".ml-dash"
    shutil.copytree(pattern, copy)
    return copy


@pytest.fixture
def first(root):
    return root / "digits" / "first"


@pytest.fixture
def stored():
    """stored(folder, name): the path of the stored bytes of the file of this name."""

    def find(folder: Path, name: str) -> Path:
        (path,) = (folder / "files").rglob(name)
        return path

    return find


@pytest.fixture
def run_on_terminal(command):
    """run_on_terminal(*words, **env): what the command writes to a terminal."""

    def run(*words: str, **env: str) -> str:
        ours, theirs = pty.openpty()
        done = subprocess.Popen([command, *words], stdout=theirs, env=make_environment(**env))
        os.close(theirs)
        output = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            output += data
        os.close(ours)
        assert done.wait(60) == 0
        return output.decode()

    return run
