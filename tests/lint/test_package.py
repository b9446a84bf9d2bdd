"""What the wheel installs: the package with its types, the extension and the command, no more."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed() -> list[str]:
    files = importlib.metadata.files("ml-dash")
    assert files
    return [file.as_posix() for file in files]


def test_every_file_of_the_package_is_installed(installed: list[str]) -> None:
    package = ROOT / "python/ml_dash"
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "ml_dash/py.typed" in wanted
    assert wanted <= set(installed)


def test_the_extension_and_the_command_are_installed(installed: list[str]) -> None:
    assert any(name.startswith("ml_dash/_core.") and name.endswith(".so") for name in installed)
    assert any(name.endswith("bin/ml-dash") for name in installed)


def test_nothing_else_is_installed(installed: list[str]) -> None:
    places = ("ml_dash/", "ml_dash-")
    others = [name for name in installed if not name.startswith(places)]
    assert [Path(name).name for name in others] == ["ml-dash"]


def test_the_command_runs_and_knows_the_version() -> None:
    command = [str(Path(sys.prefix) / "bin/ml-dash"), "version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert importlib.metadata.version("ml-dash") in output


def test_the_package_requires_nothing() -> None:
    requires = importlib.metadata.requires("ml-dash") or []
    assert [line for line in requires if "extra ==" not in line] == []
