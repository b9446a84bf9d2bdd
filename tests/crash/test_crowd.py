"""64 processes save and append in one experiment, and one reads it: all there, once."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from crash_tools import compile_program


@pytest.fixture(scope="session")
def crowd(tmp_path_factory, library):
    return compile_program(tmp_path_factory.mktemp("crowd"), "crowd", *library)


def test_64_processes(crowd, scratch):
    """ML_DASH_CROWD_SAVES is the number of saves of each process; 1,000 is the full test."""
    saves = os.environ.get("ML_DASH_CROWD_SAVES", "40")
    done = subprocess.run([crowd, scratch, "64", saves], capture_output=True, text=True)
    print(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["failures"] == 0, done.stderr
    assert counts["lists"] >= 2
    assert counts["reads"] >= 20
