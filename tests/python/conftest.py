"""Each test runs in an empty working directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from ml_dash import Experiment


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ML_DASH_PREFIX", "ML_DASH_USER", "ML_DASH_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def experiment():
    with Experiment("baseline", "digits", local_path="root").run as opened:
        yield opened


@pytest.fixture
def run_python(tmp_path):
    """Runs a program in the working directory; returns the finished process."""

    def run(code: str, *args: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *args],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


def files_below(root) -> list[str]:
    """All regular files below a folder, without .mldash, as relative paths."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".mldash"]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


@pytest.fixture
def stored_files():
    """The stored bytes of an experiment: paths below files/, without the view."""

    def stored(experiment) -> list[str]:
        root = os.path.join(experiment.directory, "files")
        return [path for path in files_below(root) if ".files_metadata" not in path]

    return stored
