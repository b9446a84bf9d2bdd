"""A server with users, through its own commands, for the tests of accounts."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import urllib.parse
from pathlib import Path

from http_tools import Answer
from test_serve import COMMAND, SECRET, Command

PASSWORD = "correct horse battery"


class Site:
    """`ml-dash serve` with a data directory, and the commands that work on it."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.server = Command(folder, *words, **{"JWT_SECRET": SECRET, **environment})
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.address = "127.0.0.1"  # where requests come from
        self.spoken = ""  # all that commands printed but tokens on request

    def run(self, *words: object, code: int = 0, text: str = "", **environment: str) -> str:
        """`ml-dash WORDS`: what it prints to stdout."""
        done = subprocess.run(
            [COMMAND, *map(str, words)],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(**environment),
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        self.spoken += done.stderr
        return done.stdout + (done.stderr if code else "")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ML_DASH_")}
        return {**kept, "ML_DASH_DATA": str(self.data), "HOME": str(self.folder / "home"), **more}

    def user(self, name: str, *words: str, password: str | None = None) -> str:
        """A new user's token."""
        how = ["--no-password"] if password is None else ["--password-stdin"]
        self.run("user", "create", name, *how, *words, text=f"{password}\n")
        return self.token(name)

    def token(self, name: str, *words: str) -> str:
        return self.run("token", "create", name, *words).strip()

    def ask(self, method: str, path: str, token: str | None = None, body: object = None) -> Answer:
        connection = self.connect()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        heads = {name.lower(): value for name, value in answer.getheaders()}
        result = Answer(answer.status, heads, answer.read())
        connection.close()
        return result

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=30, source_address=(self.address, 0)
        )

    def get(self, path: str, token: str) -> dict:
        answer = self.ask("GET", path, token)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def stop(self) -> str:
        return self.server.finish() if self.server.process.poll() is None else ""


class Browser:
    """Just enough of one: keeps cookies, sends forms, follows no redirect by itself."""

    def __init__(self, site: Site) -> None:
        self.site, self.cookies = site, {}
        self.headers: dict[str, str] = {}
        self.status, self.page = 0, ""

    def open(self, method: str, path: str, body: str | None = None, **headers: str) -> str:
        connection = self.site.connect()
        sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            sent["Origin"] = self.site.url
        sent.update({k.replace("_", "-"): v for k, v in headers.items()})
        connection.request(method, path, body, {k: v for k, v in sent.items() if v})
        answer = connection.getresponse()
        self.page = answer.read().decode()
        self.status, self.headers = answer.status, dict(answer.getheaders())
        connection.close()
        cookie = self.headers.get("Set-Cookie")
        if cookie:
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return self.page

    def get(self, path: str) -> str:
        return self.open("GET", path)

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page."""
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.page))

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> str:
        """Sends the page's form with these fields."""
        body = urllib.parse.urlencode({**self.hidden(), **fields})
        return self.open("POST", path, body, **(headers or {}))

    def sign_in(self, code: str, **fields: str) -> str:
        """To the page that asks for the decision."""
        self.get(f"/device?code={code}")
        self.post("/device", **fields)
        assert self.status == 303, self.page
        return self.get(self.headers["Location"])
