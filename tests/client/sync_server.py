"""A server of docs/protocol.md in memory, strict about what clients send, that fails on request.

It stands for all the ways in which a real server and the network between can fail at a chosen
moment, and it counts: `requests` is every request, `violations` every breach of the protocol.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "reference-token"
MAX_BODY = 8 << 20
SMALL = 64 << 10
EMPTY = hashlib.sha256(b"").hexdigest()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unpack(body: bytes) -> bytes:
    """A zstd frame's bytes, by the library that the command has, too."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(MAX_BODY)
    size = zstd.ZSTD_decompress(out, ctypes.c_size_t(len(out)), body, ctypes.c_size_t(len(body)))
    return out.raw[:size]


@dataclass
class Request:
    """One request; `n` counts from 1 over all of them."""

    n: int
    method: str
    path: str
    size: int


@dataclass
class Fault:
    """What goes wrong with one request.

    status: answered so, without acting. before: the connection breaks before the server acts.
    after: it acts, and the connection breaks before the answer. cut: the connection breaks after
    that many bytes of the body.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    code: str = "unavailable"
    before: bool = False
    after: bool = False
    cut: int = -1


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str, **more: object) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "message": f"refused: {code}", **more}


@dataclass
class Upload:
    about: dict
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Stored:
    """One experiment."""

    place: tuple[str, str, str, str]
    run: str
    streams: dict[str, bytearray] = field(default_factory=dict)
    kinds: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    files: dict[str, tuple[dict, bytes]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def records(self) -> list[dict]:
        lines: list[dict] = []
        for stream, data in self.streams.items():
            if self.kinds[stream][0] == "records":
                lines += [json.loads(line) for line in bytes(data).splitlines()]
        return lines

    def lines_of(self, file: str) -> list[dict]:
        """All lines of the streams that have this file name."""
        return [
            json.loads(line)
            for stream, data in self.streams.items()
            if self.kinds[stream][2] == file
            for line in bytes(data).splitlines()
        ]


class Reference:
    """The server; `url` is where it listens."""

    part_size = 1 << 20

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.members = {"ada"}
        self.experiments: dict[str, Stored] = {}
        self.made = 0
        self.registered: dict[tuple[str, ...], str] = {}  # place, or what a copy differs from
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.full: set[str] = set()  # there is no room for these files
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.refuse: Callable[[Request, bytes], Fault | None] = lambda request, body: None
        self.packed = 0  # bodies that came as zstd
        self.hook: Callable[[Request], None] = lambda request: None
        self.sockets: set[socket.socket] = set()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()

    def count(self, method: str, pattern: str) -> int:
        return sum(
            r.method == method and re.search(pattern, r.path) is not None for r in self.requests
        )

    def only(self) -> Stored:
        (stored,) = self.experiments.values()
        return stored

    # -- HTTP --

    def _handler(reference) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                reference._quietly(self)

            do_POST = do_PUT = do_DELETE = do_GET

        return Handler

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers.get("Content-Length", 0))
        if handler.path.startswith("http://"):  # as to a proxy
            handler.path = "/" + handler.path.split("/", 3)[3]
        with self.lock:
            request = Request(len(self.requests) + 1, handler.command, handler.path, size)
            self.requests.append(request)
            fault = self.fault(request) or Fault()
        handler.close_connection = fault.before or fault.after or fault.cut >= 0
        if fault.cut >= 0:
            handler.rfile.read(min(fault.cut, size))
        if fault.cut >= 0 or fault.before:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = handler.rfile.read(size)
        if len(body) < size:  # the client was killed in the middle
            handler.close_connection = True
            return
        self.hook(request)
        if handler.headers.get("Content-Encoding") == "zstd":
            self.packed += 1
            body = unpack(body)
        fault = self.refuse(request, body) or fault
        if fault.status:
            status, answer = fault.status, {"error": fault.code, "message": "told to fail"}
        else:
            status, answer = self._answer(handler, body)
        if fault.after:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in fault.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _quietly(self, handler: BaseHTTPRequestHandler) -> None:
        """Clients vanish; that is what the tests are about."""
        try:
            self._serve(handler)
        except OSError:
            handler.close_connection = True

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict | bytes]:
        try:
            if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "auth")
            with self.lock:
                return 200, self._route(handler, body)
        except Refused as refused:
            return refused.status, refused.body
        except Exception as error:  # a test shall see it, not only the client
            self.violations.append(f"{handler.command} {handler.path}: {error!r}")
            return 500, {"error": "internal", "message": repr(error)}

    def _route(self, handler: BaseHTTPRequestHandler, body: bytes) -> dict | bytes:
        method, (path, _, query) = handler.command, handler.path.partition("?")
        routes: list[tuple[str, str, Callable]] = [
            ("GET", r"/api/v1/me", self._me),
            ("POST", r"/api/v1/namespaces/([^/]+)/experiments", self._register),
            ("POST", r"/api/v1/experiments/([^/]+)/streams/heads", self._heads),
            ("POST", r"/api/v1/experiments/([^/]+)/streams", self._append),
            ("GET", r"/api/v1/experiments/([^/]+)/streams/([^/]+)", self._range),
            ("POST", r"/api/v1/experiments/([^/]+)/files/status", self._status),
            ("POST", r"/api/v1/experiments/([^/]+)/files/small", self._small),
            ("POST", r"/api/v1/experiments/([^/]+)/uploads", self._open),
            ("PUT", r"/api/v1/experiments/([^/]+)/uploads/([^/]+)/parts/(\d+)", self._part),
            ("POST", r"/api/v1/experiments/([^/]+)/uploads/([^/]+)/commit", self._commit),
        ]
        self.query, self.part_sha = query, handler.headers.get("X-Part-SHA256")
        for known, pattern, answer in routes:
            match = re.fullmatch(pattern, path)
            if known == method and match:
                return answer(body, *map(unquote, match.groups()))
        self._breach(f"{method} {path} is no request of the protocol")
        raise Refused(404, "not_found")

    def _breach(self, what: str) -> None:
        self.violations.append(what)

    def _experiment(self, name: str) -> Stored:
        if name not in self.experiments:
            raise Refused(404, "not_found")
        return self.experiments[name]

    # -- resources --

    def _me(self, body: bytes) -> dict:
        return {
            "user": {"id": "1", "username": "ada"},
            "admin": False,
            "namespaces": [{"name": name, "role": "owner"} for name in sorted(self.members)],
        }

    def _register(self, body: bytes, namespace: str) -> dict:
        if namespace not in self.members:
            raise Refused(404, "not_found")
        asked = json.loads(body)
        known = [e.place for e in self.experiments.values()]
        place = (namespace, asked["project"], asked["folder"], asked["name"])
        key: tuple[str, ...] = place
        if asked.get("diverged"):
            # The copy of a run that differs from an experiment: that at the place unless told.
            key = (asked.get("from") or self.registered[place], asked["run"])
            number = 2
            while (*place[:3], f"{asked['name']} (copy {number})") in known:
                number += 1
            place = (*place[:3], f"{asked['name']} (copy {number})")
        elif "from" in asked:
            self._breach("from, without diverged")
        found = self.registered.get(key)
        if found not in self.experiments:
            self.made += 1
            found = self.registered[key] = f"x{self.made}"
            self.experiments[found] = Stored(place, asked["run"])
        stored = self.experiments[found]
        return {
            "id": found,
            "project_id": "p1",
            "namespace": namespace,
            "project": place[1],
            "folder": place[2],
            "name": stored.place[3],
            "created": place not in known,
        }

    def _heads(self, body: bytes, name: str) -> dict:
        stored, asked = self._experiment(name), json.loads(body)["streams"]
        if len(asked) > 10000:
            self._breach(f"{len(asked)} heads at once")
        found = [(s, bytes(stored.streams.get(s, b""))) for s in asked]
        return {"streams": [{"stream": s, "offset": len(d), "sha256": digest(d)} for s, d in found]}

    def _append(self, body: bytes, name: str) -> dict:
        stored = self._experiment(name)
        if len(body) > MAX_BODY:
            self._breach(f"a body of {len(body)} bytes")
        header, _, rest = body.partition(b"\n")
        pieces, offsets, at = json.loads(header)["streams"], [], 0
        conflicts: list[dict] = []
        diverged = False
        for piece in pieces:
            data = rest[at : at + piece["length"]]
            at += piece["length"]
            if piece["length"] < 1 or not data.endswith(b"\n") or len(data) != piece["length"]:
                self._breach(f"{piece['file']}: no whole lines")
            have = bytes(stored.streams.get(piece["stream"], b""))
            offset = piece["offset"]
            head = {"stream": piece["stream"], "offset": len(have), "sha256": digest(have)}
            if offset > len(have):
                conflicts.append(head)
            elif (
                digest(have[:offset]) != piece["sha256"]
                or have[offset : offset + len(data)] != data[: len(have) - offset]
            ):
                diverged = True
                conflicts.append(head)
            offsets.append((piece, offset, data))
        if at != len(rest):
            self._breach("bytes behind the last stream")
        if conflicts:
            raise Refused(409, "diverged" if diverged else "offset", streams=conflicts)
        answer = []
        for piece, offset, data in offsets:
            have = stored.streams.setdefault(piece["stream"], bytearray())
            have += data[len(have) - offset :]
            stored.kinds[piece["stream"]] = (piece["kind"], piece["slot"], piece["file"])
            answer.append({"stream": piece["stream"], "offset": len(have)})
        return {"streams": answer}

    def _range(self, body: bytes, name: str, stream: str) -> bytes:
        values = dict(v.split("=") for v in self.query.split("&") if v)
        data = bytes(self._experiment(name).streams[stream])
        return data[int(values.get("from", 0)) : int(values.get("to", len(data)))]

    def _state(self, stored: Stored, about: dict) -> str:
        same = ("size_bytes", "sha256")
        if about["id"] in stored.files:
            known = stored.files[about["id"]][0]
            return "live" if all(known[k] == about[k] for k in same) else "id_taken"
        if about["id"] in stored.uploads:
            known = stored.uploads[about["id"]].about
            return "open" if all(known[k] == about[k] for k in same) else "id_taken"
        return "absent"

    def _status(self, body: bytes, name: str) -> dict:
        stored, files = self._experiment(name), json.loads(body)["files"]
        if len(files) > 1000:
            self._breach(f"{len(files)} files at once")
        return {"files": [{"id": f["id"], "state": self._state(stored, f)} for f in files]}

    def _small(self, body: bytes, name: str) -> dict:
        stored = self._experiment(name)
        if len(body) > MAX_BODY:
            self._breach(f"a body of {len(body)} bytes")
        header, _, rest = body.partition(b"\n")
        answer, at = [], 0
        for about in json.loads(header)["files"]:
            data = rest[at : at + about["size_bytes"]]
            at += about["size_bytes"]
            if about["size_bytes"] > SMALL:
                self._breach(f"{about['filename']} is not small")
            state = self._state(stored, about)
            if state in ("absent", "open"):
                state = "live" if digest(data) == about["sha256"] else "checksum"
                if state == "live":
                    stored.files[about["id"]] = (about, data)
            answer.append({"id": about["id"], "state": state})
        if at != len(rest):
            self._breach("bytes behind the last file")
        return {"files": answer}

    def _open(self, body: bytes, name: str) -> dict:
        stored, about = self._experiment(name), json.loads(body)
        state = self._state(stored, about)
        if state == "id_taken":
            raise Refused(409, "id_taken")
        if state == "live":
            return {"id": about["id"], "state": "live"}
        if about["id"] in self.full:
            raise Refused(507, "no_space")
        upload = stored.uploads.setdefault(about["id"], Upload(about))
        parts = -(-about["size_bytes"] // self.part_size)
        have = [[n, n] for n in sorted(upload.parts)]
        return {
            "id": about["id"],
            "state": "open",
            "part_size_bytes": self.part_size,
            "parts": parts,
            "have": have,
        }

    def _part(self, body: bytes, name: str, file: str, part: str) -> dict:
        upload = self._experiment(name).uploads.get(file)
        if upload is None:
            raise Refused(404, "not_found")
        size, n = upload.about["size_bytes"], int(part)
        if len(body) != min(self.part_size, size - n * self.part_size):
            self._breach(f"part {n} has {len(body)} bytes")
        if digest(body) != self.part_sha:
            raise Refused(422, "checksum")
        upload.parts[n] = body
        return {"part": n}

    def _commit(self, body: bytes, name: str, file: str) -> dict:
        stored = self._experiment(name)
        if file in stored.files:
            return {"id": file, "state": "live", "verified": "whole"}
        if file not in stored.uploads:
            raise Refused(404, "not_found")
        upload = stored.uploads[file]
        parts = -(-upload.about["size_bytes"] // self.part_size)
        missing = [[n, n] for n in range(parts) if n not in upload.parts]
        if missing:
            raise Refused(409, "state", missing=missing)
        data = b"".join(upload.parts[n] for n in range(parts))
        del stored.uploads[file]
        if digest(data) != upload.about["sha256"]:
            raise Refused(422, "checksum")
        stored.files[file] = (upload.about, data)
        return {"id": file, "state": "live", "verified": "whole"}
