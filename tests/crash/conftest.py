"""Builds the driver of the crash tests against the library that `make build` left.

ML_DASH_LIBRARY_DIR names another folder with libmldash.so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from crash_tools import SHARED, compile_program  # noqa: E402


@pytest.fixture(scope="session")
def library() -> list[str]:
    folder = Path(os.environ.get("ML_DASH_LIBRARY_DIR", ROOT / "build/python"))
    if not (folder / "libmldash.so").exists():
        raise FileNotFoundError(f"no libmldash.so in {folder}: run `make build`")
    return [f"-L{folder}", "-lmldash", f"-Wl,-rpath,{folder}", "-pthread"]


@pytest.fixture(scope="session")
def driver(tmp_path_factory, library) -> Path:
    return compile_program(tmp_path_factory.mktemp("driver"), "driver", *library)


@pytest.fixture(scope="session")
def naive(tmp_path_factory) -> Path:
    return compile_program(tmp_path_factory.mktemp("naive"), "naive")


@pytest.fixture(scope="session")
def strace() -> None:
    """Skips where processes may not be traced, as in some containers."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"strace does not work here: {done.stderr.decode().strip()}")


@pytest.fixture
def scratch():
    """A folder in memory, where there is some: none of these tests asks whether disks keep
    their word."""
    shm = Path("/dev/shm")
    base = shm if os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mldash-crash-", dir=base) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def fault_shim(tmp_path_factory) -> Path:
    return compile_program(tmp_path_factory.mktemp("shim"), "fault_shim", *SHARED)
