"""A real server, and real runs to send there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = ROOT / ".venv/bin/ml-dash"
PYTHON = ROOT / ".venv/bin/python"


def has_server() -> bool:
    out = subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True)
    return out.returncode == 0 and "--data" in out.stdout


class Server:
    """`ml-dash serve` with a data directory of its own, one user and a token."""

    def __init__(
        self, folder: Path, port: int = 0, words: tuple[str, ...] = (), **environment: str
    ) -> None:
        self.words = words
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.ready = folder / "ready"
        self.environment = {**os.environ, **environment}
        self.port = port
        self.start()
        self.token = self.user("ada")

    def start(self) -> None:
        self.ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
            + ["--ready-file", self.ready, "--log", self.log, *self.words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        end = time.monotonic() + 30
        while not self.ready.exists() or not self.ready.read_text().strip():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no server: {self.process.stderr.read().decode()}")
            time.sleep(0.02)
        self.port = int(self.ready.read_text())
        self.url = f"http://127.0.0.1:{self.port}"

    def admin(self, *words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words, "--data", self.data], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def user(self, name: str) -> str:
        self.admin("user", "create", name, "--no-password")
        return self.admin("token", "create", name)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def get(self, path: str, token: str | None = None, **query: object) -> dict:
        return json.loads(self.get_bytes(path, token, **query))

    def get_bytes(self, path: str, token: str | None = None, **query: object) -> bytes:
        text = urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(
            self.url + path + ("?" + text if text else ""),
            headers={"Authorization": f"Bearer {token or self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def pages(self, path: str, key: str, **query: object) -> list[dict]:
        items: list[dict] = []
        after = None
        while True:
            page = self.get(path, **query, **({"after": after} if after else {}))
            items += page[key]
            after = page["next"]
            if after is None:
                return items

    def experiments(self) -> list[dict]:
        return self.pages("/api/v1/namespaces/ada/experiments", "experiments")

    def experiment(self, name: str) -> dict:
        (found,) = [e for e in self.experiments() if e["name"] == name]
        return found

    def files(self, experiment: dict, **query: object) -> list[dict]:
        return self.pages(f"/api/v1/experiments/{experiment['id']}/files", "files", **query)

    def content(self, experiment: dict, file: dict) -> bytes:
        return self.get_bytes(f"/api/v1/experiments/{experiment['id']}/files/{file['id']}/content")

    def streams(self, experiment: dict) -> list[dict]:
        return self.pages(f"/api/v1/experiments/{experiment['id']}/streams", "streams")

    def lines(self, experiment: dict, kind: str) -> list[dict]:
        """Every line of the streams of one kind."""
        lines = []
        for stream in self.streams(experiment):
            if stream["kind"] == kind:
                path = f"/api/v1/experiments/{experiment['id']}/streams/{stream['stream']}"
                lines += [json.loads(line) for line in self.get_bytes(path).splitlines()]
        return lines


def sync_environment(server: Server, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ML_DASH_URL": server.url,
        "ML_DASH_TOKEN": server.token,
        "ML_DASH_CONFIG_DIR": str(folder / "config"),
    }


def sync(
    server: Server, folder: Path, *words: object, check: bool = True, patience: int = 30
) -> dict:
    """`ml-dash sync FOLDER --json`: the report on the only folder."""
    done = subprocess.run(
        [COMMAND, "sync", folder, "--json", "--patience", str(patience), *map(str, words)],
        capture_output=True,
        text=True,
        env=sync_environment(server, folder),
        timeout=240,
    )
    assert not check or done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["folders"]
    return {**report, "exit": done.returncode, "stderr": done.stderr}


def run_python(code: str, cwd: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [PYTHON, "-c", code], cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE
    )


class CuttingProxy:
    """Passes connections on, and cuts each after some bytes towards the server."""

    def __init__(self, port: int, cut_after: int) -> None:
        self.target = port
        self.cut_after = cut_after
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.target))
        threading.Thread(target=self.pump, args=(server, client, None), daemon=True).start()
        self.pump(client, server, self.cut_after)

    def pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None and passed > limit:
                    self.cuts += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self.listener.close()


def wait_for(what, seconds: float = 30):
    """Polls until `what()` is true; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")
