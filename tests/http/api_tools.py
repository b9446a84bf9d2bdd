"""A real `ml-dash serve` with one user, and requests to its API."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import subprocess
from pathlib import Path

from test_serve import COMMAND, Command


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Api:
    """Requests with ada's token. `get`, `post` and so on give (status, JSON or bytes)."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        data = str(folder / "data")
        self.server = Command(folder, *words)
        self.admin("user", "create", "--no-password", "--data", data, "ada")
        self.token = json.loads(self.admin("token", "create", "--data", data, "--json", "ada"))[
            "token"
        ]
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def admin(self, *words: str) -> str:
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A body that is no bytes is sent as JSON. Headers: underscores become dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/api/v1{path}", data, {**self.headers, **given})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        content = answer.read()
        connection.close()
        return answer.status, found, content

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict:
        """The JSON of an answer of 200."""
        status, _, content = self.request(method, path, body, **headers)
        assert status == 200, (status, content)
        return json.loads(content)

    def refused(self, method: str, path: str, body: object = None, **headers: str) -> tuple:
        """(status, error, JSON) of any other answer."""
        status, _, content = self.request(method, path, body, **headers)
        assert status >= 400, content
        told = json.loads(content)
        return status, told["error"], told

    def register(self, name: str = "baseline", run: str = "ab" * 16, **more: object) -> dict:
        wanted = {"project": "digits", "folder": "a/b", "name": name, "run": run, **more}
        return self.call("POST", "/namespaces/ada/experiments", wanted)

    def stop(self) -> None:
        self.server.stop()


def line_and_bytes(head: dict, *parts: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + b"".join(parts)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **more}
