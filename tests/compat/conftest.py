"""Drives the published packages, each in its own environment (scripts/clients.sh makes them)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ml_dash import _core

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("ML_DASH_CLIENTS", HERE.parents[1] / "build" / "clients"))
VERSIONS = ("0.6.1", "0.6.27", "0.11.0")


class Client:
    """One published version."""

    def __init__(self, version: str, root: Path) -> None:
        self.version = version
        self.old = version == "0.6.1"
        self.root = root
        self.directory = root / ("group/proj/run" if self.old else "alice/proj/group/run")

    def run(self, action: str, argument: Any = None) -> dict[str, Any]:
        python = CLIENTS / self.version / "bin" / "python"
        done = subprocess.run(
            [python, "-I", HERE / "theirs.py", action, self.root, json.dumps(argument)],
            env={**os.environ, "ML_DASH_NO_VERSION_CHECK": "1", "HOME": str(self.root.parent)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.rsplit("RESULT ", 1)[1])

    def open_ours(self, **options: Any) -> _core.Experiment:
        """The same folder, with our library, as the client would name it."""
        if self.old:
            place = {"name": "run", "project": "proj", "folder": "group"}
        else:
            place = {"prefix": "alice/proj/group/run"}
        return _core.Experiment(root=self.root, **place, **options)


@pytest.fixture(params=VERSIONS)
def client(request, tmp_path):
    if not (CLIENTS / request.param / ".ready").exists():
        made = any((CLIENTS / version / ".ready").exists() for version in VERSIONS)
        # clients.sh leaves a version out only when this Python is too old for it, and says so
        assert made, "the published clients are not there: run scripts/clients.sh first"
        pytest.skip(f"ml-dash {request.param} does not run on this Python")
    return Client(request.param, tmp_path / "root")
