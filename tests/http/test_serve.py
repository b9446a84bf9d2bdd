"""The command `ml-dash serve`: its settings, its first start, its stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from http_tools import ROOT, Server

COMMAND = os.environ.get("ML_DASH_SERVE_COMMAND") or ROOT / "build/asan/ml-dash"
SECRET = "jMzq0vYw7cV3n1bQ5rT8xK2pLdF6hGsA"


def run(*words: object, **environment: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if k not in ("PORT", "JWT_SECRET", "CORS_ORIGIN")}
    return subprocess.run(
        [COMMAND, "serve", *map(str, words)],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        timeout=60,
    )


pytestmark = pytest.mark.skipif(
    "built without the server" in run("--help").stderr, reason="built without the server"
)


class Command(Server):
    """`ml-dash serve` on a free port; the requests are those of Server."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        ready = folder / "ready"
        ready.unlink(missing_ok=True)
        self.log = folder / "serve.log"
        self.clients = []
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--data", folder / "data", "--listen", "127.0.0.1:0"]
            + ["--ready-file", ready, "--log", self.log, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        while not ready.exists():
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)
        self.port = int(ready.read_text())

    def finish(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        out, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")
        return out


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"MONGODB_URI": "mongodb://x"}, "MONGODB_URI is set"),
        ({"S3_BUCKET": "x"}, "S3_BUCKET is set"),
        ({"JWT_SECRET": ""}, "JWT secret"),
        ({"JWT_SECRET": "short"}, "JWT secret"),
        ({"JWT_SECRET": "your-secret-key-change-me"}, "JWT secret"),
        ({"JWT_SECRET": "a" * 40}, "JWT secret"),
        ({"JWT_EXPIRATION": "soon"}, "'soon'"),
        ({"MAX_FILE_SIZE": "5Q"}, "'5Q'"),
        ({"PORT": "http"}, "PORT"),
        ({"CORS_ORIGIN": "*"}, "name the origins"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, environment, words):
    done = run("--data", tmp_path / "data", **environment)
    assert done.returncode != 0
    assert words in done.stderr
    assert SECRET not in done.stderr


def test_wrong_options_are_refused(tmp_path):
    assert "--data" in run().stderr
    assert "address" in run("--data", tmp_path, "--public-url", "dash").stderr
    assert "certificate" in run("--data", tmp_path, "--tls-cert", "/x").stderr


def test_first_and_second_start(tmp_path):
    server = Command(
        tmp_path, JWT_SECRET=SECRET, MAX_FILE_SIZE="1G", CORS_ORIGIN="http://a:1,http://b"
    )
    health = server.ask("/health")
    assert health.status == 200
    assert json.loads(health.body)["meta"] == {"kind": "sqlite", "ok": True, "message": ""}
    assert json.loads(server.ask("/api/v1/limits").body)["file_bytes"] == 1 << 30
    answer = server.ask("/health", headers="Origin: http://b\r\n")
    assert answer.headers["access-control-allow-origin"] == "http://b"
    metrics = server.ask("/metrics")
    assert b'mldash_store_info{meta="sqlite"' in metrics.body
    assert server.ask("/metrics", headers="X-Forwarded-For: 10.1.1.1\r\n").status == 401
    assert server.ask("/health", host="evil.example").status == 421
    for words in (["user", "create", "ada", "--admin"], ["user", "create", "bob"]):
        subprocess.run([COMMAND, *words, "--no-password", "--data", tmp_path / "data"], check=True)
    for name, status in (("ada", 200), ("bob", 404)):
        token = subprocess.check_output(
            [COMMAND, "token", "create", name, "--data", tmp_path / "data"], text=True
        ).strip()
        headers = f"X-Forwarded-For: 10.1.1.1\r\nAuthorization: Bearer {token}\r\n"
        assert server.ask("/metrics", headers=headers).status == status
    out = server.finish()
    assert str(server.port) in out
    assert "ml-dash user create" in out
    data = tmp_path / "data"
    secret = (data / "secret").read_bytes()
    assert len(secret) == 32
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in data.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert SECRET not in server.log.read_text() + out

    again = Command(tmp_path, "--public-url", "https://dash.example.org", "--max-file-size", "2M")
    assert again.ask("/health", host="dash.example.org").status == 200
    assert json.loads(again.ask("/api/v1/limits").body)["file_bytes"] == 2 << 20
    out = again.finish()
    assert "https://dash.example.org" in out
    assert "user create" not in out
    assert (data / "secret").read_bytes() == secret


def test_the_published_servers_environment(tmp_path):
    """PORT without --listen, and with it nothing; sizes and origins are in the test above."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready = tmp_path / "ready"
    for words, expected in ([], port), (["--listen", "127.0.0.1:0"], None):
        ready.unlink(missing_ok=True)
        process = subprocess.Popen(
            [COMMAND, "serve", "--data", tmp_path / "data", "--ready-file", ready, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PORT": str(port), "JWT_EXPIRATION": "12h"},
        )
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
        got = int(ready.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert (got == port) == (expected == port)


def test_a_cut_secret_is_an_error(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/secret").write_bytes(b"short")
    done = run("--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0
    assert "'secret'" in done.stderr
