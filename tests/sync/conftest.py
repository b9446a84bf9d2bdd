"""One server a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import sync_tools


@pytest.fixture
def server(tmp_path):
    if not sync_tools.has_server():
        pytest.skip("ml-dash was built without the server")
    (tmp_path / "server").mkdir()
    server = sync_tools.Server(tmp_path / "server")
    yield server
    server.stop()
