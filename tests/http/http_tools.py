"""The HTTP layer with routes made for tests, and clients that speak to it over raw sockets.

ML_DASH_HTTP_SERVER names the binary; else it is that of `scripts/test.sh http` (with sanitizers).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOOD = "Authorization: Bearer good\r\n"
TIMEOUT_S = 20  # of a read; a server that hangs fails by it


def find_server() -> str:
    path = os.environ.get("ML_DASH_HTTP_SERVER") or ROOT / "build/asan/tests/http/http_test_server"
    if not os.access(path, os.X_OK):
        raise FileNotFoundError("no http_test_server: run scripts/test.sh http")
    return str(path)


class Answer:
    """An answer off the wire: `status`, `headers` (lower case), `body`; status 0: just closed."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.headers}, {self.body[:200]!r})"


class Client:
    """One connection. Bytes that were received beyond an answer are kept for the next."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.buffer, self.ended = sock, bytearray(), False
        sock.settimeout(TIMEOUT_S)

    def send(self, data: bytes | str) -> bool:
        """False when the server has closed."""
        try:
            self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def more(self) -> bool:
        if self.ended:
            return False
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        self.ended = not data
        return not self.ended

    def answer(self, head: bool = False) -> Answer:
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                return Answer(0, {}, bytes(self.buffer))
        top, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = top.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        if status == 100:
            return Answer(100, headers, b"")
        length = int(headers.get("content-length", "0"))
        if head or status in (204, 304):
            length = 0
        while len(self.buffer) < length and self.more():
            pass
        body, self.buffer = bytes(self.buffer[:length]), self.buffer[length:]
        return Answer(status, headers, body)

    def is_closed(self) -> bool:
        """Waits until the server closes; False when it sends something instead."""
        return self.rest() == b""

    def rest(self) -> bytes:
        """All until the server closes."""
        while self.more():
            pass
        return bytes(self.buffer)

    def close(self) -> None:
        self.sock.close()


class Server:
    """A running test server."""

    def __init__(self, folder: Path, **settings: object) -> None:
        words = [f"{name}={value}" for name, value in settings.items()]
        self.log = folder / "http.log"
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"}
        self.process = subprocess.Popen(
            [find_server(), *words, f"log={self.log}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read())
        self.port = int(line)
        self.clients: list[Client] = []

    def connect(self, **options: object) -> Client:
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.connect(("127.0.0.1", self.port))
        client = Client(sock)
        self.clients.append(client)
        return client

    def ask(
        self,
        target: str = "/hello",
        method: str = "GET",
        headers: str = "",
        body: bytes = b"",
        host: str = "localhost",
    ) -> Answer:
        """One request on a connection of its own."""
        client = self.connect()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        client.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n")
        if body:
            client.send(body)
        answer = client.answer(head=method == "HEAD")
        client.close()
        return answer

    def raw(self, data: bytes | str) -> Answer:
        """What these bytes are answered with; closed afterwards by us."""
        client = self.connect()
        client.send(data)
        answer = client.answer()
        client.close()
        return answer

    def metric(self, name: str) -> int:
        for line in self.ask("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return int(line.split()[-1])
        raise KeyError(name)

    def resident_kib(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise KeyError("VmRSS")

    def stop(self) -> None:
        """SIGTERM; a sanitizer's report or a leak fails the test."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        assert errors == ""
