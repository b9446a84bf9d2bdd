"""A server that answers the syncer with lies: nothing in the folder, nor beside it, changes but
what the syncer notes for itself; it ends by itself and says so in plain words."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sync_tools
from sync_tools import COMMAND, run_python

NAMES = [
    "../../../../tmp/m4rk",
    "/etc/m4rk",
    "..",
    "a\0m4rk",
    "m4rk\x1b[2J\r\nX: y",
    "%2e%2e%2fm4rk",
    "m4rk" * 100000,
    "",
]
VALUES = [*NAMES, -1, 2**63, 1e308, True, None, [], {}, [[]] * 1000, {"$ne": 1}]


class Hostile:
    """Answers each request as the real protocol has it, but with one member replaced."""

    def __init__(self, member: str, value: object) -> None:
        self.member, self.value, self.requests = member, value, []
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hostile.requests.append((self.command, self.path, dict(self.headers)))
                hostile.answer(self, body)

            do_POST = do_PUT = do_DELETE = do_GET

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def lie(self, value: object) -> object:
        if isinstance(value, dict):
            return {k: self.value if k == self.member else self.lie(v) for k, v in value.items()}
        return [self.lie(each) for each in value] if isinstance(value, list) else value

    def truth(self, path: str, body: bytes) -> dict:
        line = json.loads(body.split(b"\n")[0] or b"{}") if body[:1] == b"{" else {}
        if path.endswith("/me"):
            return {
                "user": {"id": "1", "username": "ada"},
                "admin": False,
                "namespaces": [{"name": "ada", "kind": "personal", "role": "owner"}],
            }
        if path.endswith("/experiments"):
            place = {k: line.get(k) for k in ("project", "folder", "name")}
            return {"id": "7", "project_id": "5", "namespace": "ada", "created": True, **place}
        if path.endswith("/heads"):
            none = hashlib.sha256(b"").hexdigest()
            heads = [{"stream": s, "offset": 0, "sha256": none} for s in line["streams"]]
            return {"streams": heads}
        if path.endswith("/streams"):
            heads = line["streams"]
            return {
                "streams": [
                    {"stream": h["stream"], "offset": h["offset"] + h["length"]} for h in heads
                ]
            }
        if path.endswith("/status"):
            return {"files": [{"id": f["id"], "state": "absent"} for f in line["files"]]}
        if path.endswith("/small"):
            return {"files": [{"id": f["id"], "state": "live"} for f in line["files"]]}
        if path.endswith("/uploads"):
            parts = {"part_size_bytes": 1 << 20, "parts": -(-line["size_bytes"] >> 20), "have": []}
            return {"id": line["id"], "state": "open", **parts}
        if "/parts/" in path:
            return {"part": int(path.rsplit("/", 1)[1])}
        return {"id": "1", "state": "live", "verified": "whole"}

    def answer(self, handler, body: bytes) -> None:
        data = json.dumps(self.lie(self.truth(handler.path.split("?")[0], body))).encode()
        self.send(handler, 200, data)

    def send(self, handler, status: int, data: bytes, **headers: str) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        try:
            handler.wfile.write(data)
        except OSError:
            handler.close_connection = True

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run with lines, a small and a large file."""
    root = tmp_path_factory.mktemp("hostile")
    code = (
        "import ml_dash, os\n"
        "open('big', 'wb').write(os.urandom(3 << 20)); open('small', 'wb').write(b'x')\n"
        "with ml_dash.Experiment('run', project='p', local_path='runs', progress=False).run as e:\n"
        "    e.params.set(lr=1); e.log('hello'); e.metrics('loss').append(value=1)\n"
        "    e.files('big').save(); e.files('small').save()\n"
    )
    assert run_python(code, root).wait() == 0
    return root / "runs"


def contents(folder) -> dict[str, bytes]:
    kept = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("sync.json", "sync.lock"):
            kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept


def limited() -> None:
    """A client that gathers without bound fails by it."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def sync(hostile, source, tmp_path, **more) -> subprocess.CompletedProcess:
    folder = tmp_path / "a/b/runs"
    shutil.copytree(source, folder)
    before, beside = contents(folder), sorted(str(p) for p in tmp_path.rglob("*"))
    done = subprocess.run(
        [COMMAND, "sync", folder, "--json", "--patience", "1", "--url", hostile.url],
        capture_output=True,
        env={
            **sync_tools.os.environ,
            "ML_DASH_TOKEN": "mld_canary",
            "ML_DASH_CONFIG_DIR": str(tmp_path / "config"),
        },
        timeout=120,
        preexec_fn=limited,
        **more,
    )
    hostile.close()
    assert done.returncode in (0, 1, 3), done
    assert contents(folder) == before
    new = {str(p) for p in tmp_path.rglob("*")} - set(beside)
    assert {path.rsplit("/", 1)[-1] for path in new} <= {"sync.json", "sync.lock"}, new
    assert b"m4rk" not in b" ".join(path.encode() for path in new)
    for text in (done.stdout, done.stderr):
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text), text
        assert b"canary" not in text
    return done


MEMBERS = [
    "username",
    "name",
    "id",
    "namespace",
    "project_id",
    "offset",
    "sha256",
    "stream",
    "state",
]
MEMBERS += ["part_size_bytes", "parts", "have", "streams", "files", "namespaces"]


@pytest.mark.parametrize("member", MEMBERS)
def test_members_that_lie(run_folder, tmp_path, member):
    def one(n: int) -> None:
        hostile = Hostile(member, VALUES[n])
        sync(hostile, run_folder, tmp_path / str(n))
        # What the server says never becomes a request with more than one meaning.
        for _, path, _ in hostile.requests:
            assert re.fullmatch(r"/api/v1/[\w%./~?=&-]*", path), path[:200]
            assert ".." not in path.split("/"), path[:200]

    # They mostly wait until they give up.
    with ThreadPoolExecutor(len(VALUES)) as pool:
        list(pool.map(one, range(len(VALUES))))


class Bytes(Hostile):
    """Answers everything with these bytes."""

    def __init__(self, status: int, data: bytes, **headers: str) -> None:
        super().__init__("", None)
        self.fixed = (status, data, headers)

    def answer(self, handler, body: bytes) -> None:
        status, data, headers = self.fixed
        self.send(handler, status, data, **headers)


ANSWERS = {
    "nothing": (200, b""),
    "no JSON": (200, b"\xff\xfe<html>"),
    "deep": (200, b'{"a":' * 100000 + b"1" + b"}" * 100000),
    "a key twice": (200, b'{"namespaces":[],"namespaces":[]}'),
    "endless": (200, b" " * (65 << 20)),
    "many": (200, b'{"namespaces":[' + b"{}," * 3000000 + b"{}]}"),
    "control": (400, json.dumps({"error": "x", "message": "\x1b[2J\r\nm4rk\0" * 1000}).encode()),
    "a made-up error": (418, b'{"error":5,"message":[]}'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_are_none(run_folder, tmp_path, name):
    sync(Bytes(*ANSWERS[name]), run_folder, tmp_path)


def test_a_token_does_not_follow_a_redirect(run_folder, tmp_path):
    other = Hostile("", None)
    for n, target in enumerate((other.url + "/api/v1/me", "file:///etc/passwd")):
        for status in (302, 308):
            hostile = Bytes(status, b"{}", Location=target)
            done = sync(hostile, run_folder, tmp_path / f"{n}-{status}")
            assert b"root:" not in done.stdout + done.stderr
    assert other.requests == []
    other.close()
