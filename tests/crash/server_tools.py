"""A real `ml-dash serve` with faults, a client that repeats itself, and a look at what is stored.

The look (`inspect`) reads the files of the stores by itself, by docs/server-data.md and the
comments of src/blob/blob_dir.h: it shares no code with the server.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import mmap
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(os.environ.get("ML_DASH_SERVE_COMMAND") or ROOT / ".venv/bin/ml-dash")
TIMEOUT_S = 60
RECORDS = "a" * 32
METRIC = "b" * 32
LOG = "c" * 32
MB = 1 << 20
NOW = "2026-01-01T00:00:00.000000Z"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def some_bytes(length: int, seed: int) -> bytes:
    """Neither compressible nor repeating."""
    return hashlib.shake_128(b"%d" % seed).digest(length)


def has_server() -> bool:
    done = subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True)
    return done.returncode == 0 and "--data" in done.stdout


# ---- faults ----

WRITE, SYNC, ROOM, NAME = 1, 2, 4, 8  # kinds of calls, as in fault_shim.c
ALL_KINDS = WRITE | SYNC | ROOM | NAME
HOW = {"nothing": 0, "kill": 1, "torn": 2, "error": 3}
FOREVER = 1 << 40


class Faults:
    """The other side of fault_shim.c: armed, mask, how, error, first, last, count, hits."""

    def __init__(self, shim: Path, path: Path) -> None:
        self.shim, self.path = shim, path
        path.write_bytes(bytes(64))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 64)

    def arm(
        self, how: str = "nothing", first: int = 1, last: int = 0, error: int = 0, mask: int = 15
    ) -> None:
        """From now on calls of the kinds in `mask` are counted, and those from the first-th to the
        last-th (the first alone unless told) are hit."""
        self.disarm()
        self.map[8:64] = struct.pack("7q", mask, HOW[how], error, first, last or first, 0, 0)
        self.map[0:8] = struct.pack("q", 1)

    def disarm(self) -> None:
        self.map[0:8] = bytes(8)

    @property
    def count(self) -> int:
        return struct.unpack("q", self.map[48:56])[0]

    @property
    def hits(self) -> int:
        return struct.unpack("q", self.map[56:64])[0]

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.shim), "FAULT_FILE": str(self.path)}


# ---- the server ----


class Died(Exception):
    """The server closed the connection or could not be reached."""


class Refused(Exception):
    """It answered, and the answer was no 200."""

    def __init__(self, method: str, path: str, status: int, content: bytes) -> None:
        super().__init__(f"{method} {path}: {status} {content[:300]!r}")
        self.status = status
        try:
            self.error = json.loads(content).get("error")
        except ValueError:
            self.error = None


class Server:
    """`ml-dash serve` on the data of a folder. `faults` may kill it at any time from `arm` on."""

    def __init__(
        self,
        data: Path,
        faults: Faults | None = None,
        prefix: tuple = (),
        log: Path | None = None,
    ) -> None:
        self.data, self.log_path = data, log or Path(f"{data}.log")
        with tempfile.TemporaryDirectory(prefix="mldash-ready-") as folder:
            ready = Path(folder, "ready")
            self.log = open(self.log_path, "ab")  # noqa: SIM115
            self.process = subprocess.Popen(
                [*prefix, COMMAND, "serve", "--data", data, "--listen", "127.0.0.1:0"]
                + ["--ready-file", ready, "--workers", "2", "--stream-workers", "4"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.log,
                env={**os.environ, **(faults.environment() if faults else {})},
            )
            self.port = self.wait_ready(ready)

    def wait_ready(self, ready: Path) -> int:
        end = time.monotonic() + TIMEOUT_S
        while not (ready.exists() and ready.read_text().strip()):
            if self.process.poll() is not None:
                self.log.close()
                raise Died(f"exit {self.process.returncode}: {self.log_text()[-1000:]}")
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.01)
        return int(ready.read_text())

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(TIMEOUT_S)
        finally:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def admin(data: Path, *words: str) -> str:
    done = subprocess.run(
        [COMMAND, *words, "--data", data], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- the client ----


@dataclass
class Place:
    """Where a client sends to."""

    token: str
    experiment: str
    project: str


@dataclass
class Client:
    """What a client of one experiment does. Each request that was answered with 200 is noted."""

    server: Server
    place: Place
    acked: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def raw(self, method: str, path: str, body: object = None, **headers: str) -> tuple:
        """(status, headers, bytes)."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {self.place.token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Died(str(error)) from None
        finally:
            connection.close()
        self.statuses.append(answer.status)
        return answer.status, dict(answer.getheaders()), content

    def get(self, path: str, **headers: str) -> bytes:
        status, _, content = self.raw("GET", f"{self.base}{path}", **headers)
        if status != 200:
            raise Refused("GET", path, status, content)
        return content

    @property
    def base(self) -> str:
        return f"/api/v1/experiments/{self.place.experiment}"

    def call(self, name: str, method: str, path: str, body: object = None, **headers: str) -> dict:
        """A request that changes something; `name` is noted when it is acknowledged."""
        status, _, content = self.raw(method, f"{self.base}{path}", body, **headers)
        if status != 200:
            raise Refused(method, path, status, content)
        self.acked.append(name)
        return json.loads(content)

    # Files

    def small(self, *files: tuple[str, str, bytes]) -> None:
        """Of (id, name, bytes)."""
        head = {"files": [offer(*each) for each in files]}
        body = json.dumps(head).encode() + b"\n" + b"".join(data for _, _, data in files)
        told = self.call("small", "POST", "/files/small", body)
        assert [each["state"] for each in told["files"]] == ["live"] * len(files), told

    def begin(self, file: str, name: str, data: bytes) -> dict:
        return self.call(f"create {file}", "POST", "/uploads", offer(file, name, data))

    def part(self, file: str, data: bytes, number: int, size: int) -> None:
        part = data[number * size : (number + 1) * size]
        path = f"/uploads/{file}/parts/{number}"
        self.call(f"part {file} {number}", "PUT", path, part, X_Part_SHA256=sha256(part))

    def upload(self, file: str, name: str, data: bytes) -> None:
        """As a client does: parts that are missing, the last one first, then the commit."""
        told = self.begin(file, name, data)
        if told["state"] == "open":
            have = {n for a, b in told["have"] for n in range(a, b + 1)}
            for number in reversed(range(told["parts"])):
                if number not in have:
                    self.part(file, data, number, told["part_size_bytes"])
            told = self.call(f"commit {file}", "POST", f"/uploads/{file}/commit", {})
        assert told["state"] == "live", told

    # Streams

    def append(self, name: str, *streams: tuple[str, str, bytes, bytes]) -> None:
        """Of (id, kind, bytes before, bytes)."""
        head = {
            "streams": [
                {
                    "stream": stream,
                    "kind": kind,
                    "slot": 0,
                    "file": f"{kind}/data.jsonl",
                    "offset": len(before),
                    "sha256": sha256(before),
                    "length": len(data),
                }
                for stream, kind, before, data in streams
            ]
        }
        body = json.dumps(head).encode() + b"\n" + b"".join(data for *_, data in streams)
        told = self.call(name, "POST", "/streams", body)
        for each, (_, _, before, data) in zip(told["streams"], streams):
            assert each["offset"] >= len(before) + len(data), told

    # Looking

    def items(self, path: str, key: str) -> list[dict]:
        found, after = [], ""
        while after is not None:
            page = json.loads(self.get(f"{path}{'&' if '?' in path else '?'}limit=1000{after}"))
            found += page[key]
            after = f"&after={page['next']}" if page["next"] else None
        return found

    def missing(self, files: dict[str, bytes]) -> list[str]:
        """Those of (id: bytes) that are not here, with these bytes."""
        found = []
        for at in range(0, len(files), 1000):
            asked = [
                {"id": file, "size_bytes": len(data), "sha256": sha256(data)}
                for file, data in list(files.items())[at : at + 1000]
            ]
            path = f"{self.base}/files/status"
            status, _, content = self.raw("POST", path, {"files": asked})
            assert status == 200, content
            found += [f"{e}" for e in json.loads(content)["files"] if e["state"] != "live"]
        return found

    def look(self) -> dict[str, object]:
        """All that one can see of the experiment, with the SHA-256 of what downloads give."""
        seen: dict[str, object] = {}
        for file in self.items("/files?versions=all&deleted=true", "files"):
            assert f"file {file['id']}" not in seen, f"{file['id']} is listed twice"
            seen[f"file {file['id']}"] = (
                file["filename"],
                file["newest"],
                file["deletedAt"] is not None,
                file["checksum"],
            )
        for file in WATCHED:
            status, headers, content = self.raw("GET", f"{self.base}/files/{file}/content")
            if status == 200:
                told = headers["X-Checksum-SHA256"]
                assert told == sha256(content), f"{file} is not what its checksum says"
                seen[f"bytes {file}"] = told
            else:
                assert status == 404, (file, status, content)
            status, _, content = self.raw("GET", f"{self.base}/uploads/{file}")
            assert status in (200, 404, 410), (file, status, content)
            if status == 200 and json.loads(content)["state"] == "open":
                seen[f"upload {file}"] = json.loads(content)["have"]
        for stream in self.items("/streams", "streams"):
            content = self.get(f"/streams/{stream['stream']}")
            assert len(content) == stream["offset"], stream
            seen[f"stream {stream['stream']}"] = (len(content), sha256(content))
        return seen


def offer(file: str, name: str, data: bytes) -> dict:
    return {
        "id": file,
        "path": "/m",
        "filename": name,
        "size_bytes": len(data),
        "sha256": sha256(data),
        "content_type": "text/plain",
    }


def crc_entry(n: int) -> int:
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    return n


CRC_TABLE = [crc_entry(n) for n in range(256)]


def crc32c(data: bytes, crc: int = 0) -> int:
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(clock: int, **members: object) -> bytes:
    """A line of a records stream; `type` comes first, as the server looks for it there."""
    given = {"type": members.pop("type"), "clock": clock, **members}
    line = json.dumps(given, separators=(",", ":"))[:-1].encode()
    return line + b',"crc":"%08x"}\n' % crc32c(line)


def file_record(clock: int, file: str, name: str, data: bytes) -> bytes:
    told = offer(file, name, data)
    return record(
        clock,
        type="file",
        id=file,
        path=told["path"],
        filename=name,
        contentType="text/plain",
        sizeBytes=len(data),
        checksum=told["sha256"],
        uploadedAt=NOW,
    )


# ---- what all tests begin with ----

FILES = {
    "101": ("keep.txt", some_bytes(100, 1)),
    "102": ("deleted.txt", some_bytes(5000, 2)),
    "103": ("large.bin", some_bytes(200_000, 3)),
    "104": ("retired.bin", some_bytes(90_000, 4)),
    "105": ("retired.txt", some_bytes(700, 5)),
    # What the flows send; their records are there from the beginning.
    "201": ("new.bin", some_bytes(9 * MB, 11)),
    "202": ("dropped.bin", some_bytes(8 * MB + 10, 12)),
    "211": ("keep.txt", some_bytes(300, 13)),  # a newer version of 101
    "212": ("small.txt", some_bytes(60_000, 14)),
    "213": ("empty.txt", b""),
    "214": ("without-record.txt", some_bytes(10, 15)),
}
WATCHED = list(FILES)
AT_FIRST = ["101", "102", "103", "104", "105"]
# A run that goes on, so that its lane is sealed only when there is much of it.
RUNNING = record(1, type="stream", version=1, stream=RECORDS, writer="d" * 32, slot=0) + record(
    2, type="status", status="RUNNING", at=NOW
)
RECORDS_1 = RUNNING + b"".join(
    file_record(int(file), file, *FILES[file]) for file in FILES if file != "214"
)
METRIC_1 = b'{"index":0,"data":{"loss":1.5}}\n{"index":1,"data":{"loss":NaN}}\n'


def prepare(folder: Path) -> Place:
    """A server's data with one experiment, which then is stopped: folder/data."""
    data = folder / "data"
    server = Server(data)
    try:
        admin(data, "user", "create", "ada", "--no-password")
        place = Place(admin(data, "token", "create", "ada"), "", "")
        client = Client(server, place)
        wanted = {"project": "digits", "folder": "a/b", "name": "baseline", "run": "ab" * 16}
        status, _, content = client.raw("POST", "/api/v1/namespaces/ada/experiments", wanted)
        assert status == 200, content
        place.experiment = json.loads(content)["id"]
        place.project = json.loads(content)["project_id"]
        begin(client)
        assert status_of(client) == "RUNNING"
    finally:
        assert server.stop() == 0
    assert inspect(data) == ([], [])
    return place


def status_of(client: Client) -> str:
    return json.loads(client.get(""))["status"]


def begin(client: Client) -> None:
    client.append("begin", (RECORDS, "records", b"", RECORDS_1), (METRIC, "metric", b"", METRIC_1))
    small = [(id, *FILES[id]) for id in AT_FIRST if len(FILES[id][1]) <= 65536]
    client.small(*small)
    for id in AT_FIRST:
        if len(FILES[id][1]) > 65536:
            client.upload(id, *FILES[id])
    name, data = FILES["202"]
    told = client.begin("202", name, data)
    client.part("202", data, 0, told["part_size_bytes"])


# ---- what is stored ----


@dataclass
class Stored:
    """Keys of blobs and uploads, as the store has them."""

    blobs: dict[str, tuple[int, str]] = field(default_factory=dict)  # size, SHA-256
    uploads: dict[str, str] = field(default_factory=dict)  # name: key
    without_uploads: bool = False  # a backup


def read_header(path: Path) -> tuple[str, str, int, bytes | None, str]:
    """(key, name, size, bytes of the blob, digest of the seal or "")."""
    data = path.read_bytes()
    assert data[:8] == b"MLDBLOB1", path
    size, part_size, n_parts, key_len = struct.unpack_from("<QQII", data, 8)
    (crc,) = struct.unpack_from("<I", data, 2044)
    assert crc == crc32c(data[:2044]), f"{path}: header"
    key = data[64 : 64 + key_len].decode()
    assert len(data) >= 4096 + size + 80 * n_parts, f"{path} is too short"
    seal = data[2048:2120]
    digest = seal[8:].decode() if seal[:4] == b"SEAL" else ""
    return key, data[32:64].decode(), size, data[4096 : 4096 + size], digest


def read_blobs(folder: Path) -> Stored:
    found = Stored(without_uploads=not (folder / "uploads").exists())
    with closing(sqlite3.connect(folder / "small.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for key, digest, data in db.execute("SELECT key, sha256, data FROM small"):
            data = data.encode() if isinstance(data, str) else data
            assert sha256(data) == digest, f"{key} in small.sqlite"
            found.blobs[key.decode()] = (len(data), digest)
    for path in (folder / "blobs").rglob("*"):
        if path.is_file():
            key, _, size, data, digest = read_header(path)
            assert sha256(key.encode()) == path.name, path
            assert digest and digest == sha256(data), f"{path} is not what its seal says"
            assert key not in found.blobs, f"{key} is there twice"
            found.blobs[key] = (size, digest)
    for path in (folder / "uploads").glob("*"):
        assert not path.name.startswith("put-"), f"{path} was left"
        key, name, *_ = read_header(path)
        assert name == path.name
        found.uploads[name] = key
    return found


def read_documents(path: Path) -> dict[str, dict[str, tuple]]:
    """partition: id: (text as JSON, order)."""
    partitions: dict[str, dict[str, tuple]] = {}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute(
            "SELECT p.name, d.id, d.ord, d.text, d.number, d.tokens"
            " FROM docs d JOIN partitions p ON p.number = d.partition"
        )
        want = set()
        for partition, name, order, text, number, tokens in rows:
            text = text.encode() if isinstance(text, str) else text
            partitions.setdefault(partition, {})[name] = (json.loads(text or b"{}"), order)
            want |= {(token, order, name, number) for token in tokens.decode().split("\0")[:-1]}
        got = set(db.execute("SELECT token, ord, id, doc FROM tokens"))
        assert want == got, f"tokens do not fit documents: {want ^ got}"
    return partitions


def check_files(documents: dict[str, tuple], stored: Stored, named: set[str]) -> None:
    for name, (document, _) in documents.items():
        held = document.get("bytes", {})
        state, key = held.get("state", "none"), held.get("key")
        if state == "live":
            have = stored.blobs.get(key)
            assert have == (held.get("size", 0), held["sha256"]), f"{name}: bytes are {have}"
        if state == "open":
            upload = held["upload"]
            known = upload in stored.uploads or key in stored.blobs
            assert known or stored.without_uploads, f"{name}: no upload {upload}"
            named.add(upload)
        if state in ("open", "live", "reaping"):
            named.add(key)


def check_lane(documents: dict[str, tuple], stored: Stored, named: set[str]) -> None:
    """Sealed ranges and batches follow each other without a gap."""
    seals = sorted(
        (d["first"], d["last"], d["blob"]) for id, (d, _) in documents.items() if id[0] == "s"
    )
    batches = sorted(order for id, (_, order) in documents.items() if id[:2] == "b:")
    at = 0
    for first, last, key in seals:
        assert first == at + 1 and last >= first, f"sealed ranges {seals}"
        assert key in stored.blobs, f"the sealed blob {key} is missing"
        named.add(key)
        at = last
    batches = [number for number in batches if number > at]
    assert batches == list(range(at + 1, at + 1 + len(batches))), f"batches {batches} after {at}"


def inspect(data: Path) -> tuple[list[str], list[str]]:
    """(orphans, pending): what is stored and named by no document, and what only work names, which
    the sweeper will look at. Fails when something that a document names is missing or wrong. No
    server may run."""
    documents = read_documents(data / "meta.sqlite")
    stored = read_blobs(data / "blobs")
    named: set[str] = set()
    for partition, inside in documents.items():
        if partition.startswith("files:"):
            check_files(inside, stored, named)
        if partition.startswith("lane:"):
            check_lane(inside, stored, named)
    work = json.dumps([[name, text] for name, (text, _) in documents.get("work", {}).items()])
    loose = [key for key in stored.blobs if key not in named]
    pending = [key for key in loose if json.dumps(key)[1:-1] in work]
    uploads = [f"upload {name}" for name in stored.uploads if name not in named]
    return sorted(set(loose) - set(pending)) + uploads, pending


def make_due(data: Path) -> None:
    """All work is due now. No server may run."""
    with closing(sqlite3.connect(data / "meta.sqlite")) as db:
        db.execute(
            "UPDATE tokens SET ord = 1000 WHERE partition ="
            " (SELECT number FROM partitions WHERE name = 'work')"
        )
        db.execute(
            "UPDATE docs SET ord = 1000 WHERE partition ="
            " (SELECT number FROM partitions WHERE name = 'work')"
        )
        db.commit()


def ask_running(server: Server, question: str) -> int | None:
    """One number out of the metadata of a server that runs; None when it does no more."""
    if server.process.poll() is not None:
        return None
    uri = f"file:{server.data / 'meta.sqlite'}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as db:
            return db.execute(question).fetchone()[0]
    except sqlite3.OperationalError:
        return -1


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def wait_until_none(server: Server, question: str, seconds: float = 30) -> None:
    """Until a count is 0; Died when the server does."""
    end = time.monotonic() + seconds
    while (count := ask_running(server, question)) != 0:
        if count is None:
            raise Died("while waiting")
        assert time.monotonic() < end, f"still {count}: {question}"
        time.sleep(0.02)


IN_LANES = " FROM docs d JOIN partitions p ON p.number = d.partition WHERE p.name LIKE 'lane:%'"
UNSEALED = f"SELECT count(*){IN_LANES} AND d.id LIKE 'b:%'"
DUE = (
    "SELECT count(*) FROM docs d JOIN partitions p ON p.number = d.partition"
    " WHERE p.name = 'work' AND d.ord < 1000000"
)


def copy_of(template: Path, to: Path) -> Path:
    shutil.copytree(template, to)
    return to
