"""What the server answers with 200 is on the disk: each write and each name was synced before.

The kernel keeps what a killed process wrote, so killing it cannot show this; the order of its
system calls does."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import server_tools as tools
from server_tools import METRIC, METRIC_1, Client, Server
from test_server_kill import METRIC_2, delete, small, upload

pytestmark = pytest.mark.skipif(not tools.has_server(), reason="built without the server")

CALLS = "pwrite64,write,ftruncate,fallocate,fsync,fdatasync,openat,openat2,mkdirat,renameat2"
CALLS += ",unlinkat,unlink,sendto,sendmsg,writev"
LINE = re.compile(r"(\d+) +(\w+)\((.*)")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
ON_FILE = re.compile(r"\d+<([^>]*)>")
NAMES = re.compile(r'(?:\d+|AT_FDCWD)<([^>]*)>, "([^"]*)"')


@dataclass
class Disk:
    """What is not synced at the moment, by path."""

    root: str
    there: set[str]  # files that have been there before
    made: set[str] = field(default_factory=set)  # that have no byte yet
    dirty: set[str] = field(default_factory=set)
    generation: dict[str, int] = field(default_factory=dict)
    syncing: dict[str, tuple[str, int]] = field(default_factory=dict)  # thread: path, generation
    answers: int = 0
    syncs: int = 0
    wrong: list[str] = field(default_factory=list)

    def matters(self, path: str) -> bool:
        """A database's pages are safe in its log; parts count only with their commit."""
        inside = path.startswith(self.root + "/") or path == self.root
        name = path[len(self.root) + 1 :]
        return inside and not (
            name.startswith("blobs/uploads")
            or name.endswith((".sqlite", "-shm", "lock", "reserve"))
        )

    def soil(self, path: str) -> None:
        if path in self.made and self.matters(path):
            self.made.discard(path)
            self.soil(str(Path(path).parent))
        self.generation[path] = self.generation.get(path, 0) + 1
        if self.matters(path):
            self.dirty.add(path)

    def begin(self, thread: str, call: str, words: str) -> None:
        file = ON_FILE.match(words)
        path = file[1] if file else ""
        if call in ("pwrite64", "write", "ftruncate", "fallocate"):
            self.soil(path)
        elif call in ("fsync", "fdatasync"):
            self.syncing[thread] = (path, self.generation.get(path, 0))
        elif call == "renameat2":
            source, target = (f"{a}/{b}" for a, b in NAMES.findall(words))
            if source in self.dirty:
                self.dirty.discard(source)
                self.dirty.add(target)
            if self.generation.get(source, 0) != self.generation.get("synced " + source, -1):
                self.wrong.append(f"{source} got its name before it was synced")
            self.soil(str(Path(target).parent))
        elif call in ("openat", "openat2") and "O_CREAT" in words:
            for a, b in NAMES.findall(words):
                self.make(os.path.join(a, b))
        elif call == "mkdirat" and "EEXIST" not in words:
            for parent, _ in NAMES.findall(words):
                self.soil(parent)
        elif call in ("sendto", "sendmsg", "writev") and '"HTTP/1.1 200' in words:
            self.answers += 1
            if self.dirty:
                self.wrong.append(f"answer {self.answers} while not synced: {self.dirty}")

    def make(self, path: str) -> None:
        """A name counts once there is something under it."""
        if path not in self.there:
            self.there.add(path)
            self.made.add(path)

    def end(self, thread: str, call: str, words: str) -> None:
        if call in ("fsync", "fdatasync") and words.rstrip().endswith("= 0"):
            path, generation = self.syncing.pop(thread)
            self.syncs += 1
            if self.generation.get(path, 0) == generation:
                self.dirty.discard(path)
                self.generation["synced " + path] = generation


def read_trace(text: str, root: Path, there: set[str]) -> Disk:
    disk = Disk(str(root), there)
    for line in text.splitlines():
        resumed = RESUMED.match(line)
        if resumed is not None:
            disk.end(*resumed.groups())
            continue
        match = LINE.match(line)
        if match is None:
            continue
        disk.begin(*match.groups())
        if not line.endswith("<unfinished ...>"):
            disk.end(*match.groups())
    return disk


def test_answers_after_syncs(tmp_path, strace):
    place = tools.prepare(tmp_path)
    data = (tmp_path / "data").resolve()
    trace = tmp_path / "trace"
    there = {str(path) for path in data.rglob("*")}
    flags = ["strace", "-f", "-y", "-qq", "-s", "40", "-o", str(trace), "-e", f"trace={CALLS}"]
    server = Server(data, prefix=tuple(flags))
    client = Client(server, place)
    try:
        for send in (upload, small, delete):
            send(client)
        few = b"".join(METRIC_2.splitlines(True)[:100])
        client.append("points", (METRIC, "metric", METRIC_1, few))
    finally:
        # strace passes no signal on: its child is the server.
        child = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        os.kill(int(child.split()[0]), 15)
        server.process.wait(60)
        server.kill()
    disk = read_trace(trace.read_text(errors="replace"), data, there)
    print(f"{disk.answers} answers, {disk.syncs} syncs")
    assert disk.answers >= len(client.acked) >= 8
    assert disk.syncs > 2 * disk.answers
    assert not disk.wrong, "\n".join(disk.wrong[:10])
