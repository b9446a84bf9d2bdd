"""Starts the HTTP layer with routes made for tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from http_tools import Server


@pytest.fixture
def start(tmp_path):
    """start(name=value...): a server with these settings, stopped after the test."""
    servers = []

    def make(**settings: object) -> Server:
        servers.append(Server(tmp_path, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server with the usual settings for all tests of a file."""
    server = Server(tmp_path_factory.mktemp("http"))
    yield server
    server.stop()
