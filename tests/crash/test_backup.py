"""examples/server/backup.sh, while clients send and bytes are removed: the copy is a server's data
with all that was acknowledged before it began."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import server_tools as tools
from server_tools import LOG, RECORDS, RECORDS_1, ROOT, Client, Server, inspect
from test_server_kill import running

RETIRED = 60
SCRIPT = ROOT / "examples/server/backup.sh"

pytestmark = [
    pytest.mark.skipif(not tools.has_server(), reason="built without the server"),
    pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3"),
]


@dataclass
class Sent:
    """What was acknowledged so far; grows while it is read."""

    files: dict[str, bytes] = field(default_factory=dict)
    log: bytes = b""
    failed: list[BaseException] = field(default_factory=list)


class Traffic:
    """Clients that send until they are stopped."""

    def __init__(self, server: Server, place: tools.Place) -> None:
        self.server, self.place, self.sent = server, place, Sent()
        self.end, self.sweeping = threading.Event(), threading.Event()
        works = (self.send_small, self.send_large, self.send_log, self.sweep)
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in works]
        for thread in self.threads:
            thread.start()

    def run(self, work) -> None:
        client, n = Client(self.server, self.place), 0
        try:
            while not self.end.is_set():
                work(client, n)
                n += 1
        except BaseException as error:
            self.sent.failed.append(error)
            raise

    def send_small(self, client: Client, n: int) -> None:
        files = {str(10_000 + 5 * n + i): tools.some_bytes(100 + n, n + i) for i in range(5)}
        client.small(*[(file, "small.txt", data) for file, data in files.items()])
        self.sent.files.update(files)

    def send_large(self, client: Client, n: int) -> None:
        file, data = str(50_000 + n), tools.some_bytes(70_000 + 1000 * n, n)
        client.upload(file, "large.bin", data)
        self.sent.files[file] = data

    def send_log(self, client: Client, n: int) -> None:
        line = b'{"message":"%d"}\n' % n
        client.append("log", (LOG, "log", self.sent.log, line))
        self.sent.log += line

    def sweep(self, client: Client, n: int) -> None:
        """Retired files are due at once: their bytes go while they are copied."""
        if self.sweeping.is_set():
            tools.make_due(self.server.data)
        time.sleep(0.2)

    def stop(self) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join()
        assert self.sent.failed == []


def back_up(data: Path, to: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["sh", SCRIPT, data, to], capture_output=True, text=True, timeout=120)


def retire_some(client: Client) -> None:
    """Many files that are there, and go as soon as the sweeper comes."""
    lines = b""
    for n in range(RETIRED):
        file, data = str(90_000 + n), tools.some_bytes(66_000, n)
        client.upload(file, f"r{n}.bin", data)
        lines += tools.file_record(2000 + n, file, f"r{n}.bin", data)
    lines += b"".join(
        tools.record(3000 + n, type="removed", id=str(90_000 + n)) for n in range(RETIRED)
    )
    client.append("retire", (RECORDS, "records", RECORDS_1, lines))


def check_copy(copy: Path, place: tools.Place, files: dict[str, bytes], log: bytes) -> None:
    inspect(copy)  # all that documents name is there
    with running(copy) as server:
        client = Client(server, place)
        assert client.missing(files) == []
        assert client.get(f"/streams/{LOG}").startswith(log)
        seen = client.look()
        assert all(f"bytes {file}" in seen for file in ("101", "102", "103"))
        # Whoever has more than the copy sends it again, and goes on with it.
        client.upload("201", *tools.FILES["201"])
        client.small(("99999", "later.txt", b"later"))
        there = client.get(f"/streams/{LOG}")
        client.append("log", (LOG, "log", there, b'{"message":"later"}\n'))
    inspect(copy)


def removed_ones(copy: Path) -> int:
    """How many of the retired files still have their bytes."""
    keys = tools.read_blobs(copy / "blobs").blobs
    return sum(key.split("/")[-2].startswith("90") for key in keys)


def test_back_up_and_restore(tmp_path):
    place = tools.prepare(tmp_path)
    server = Server(tmp_path / "data")
    copies = []
    removed = []
    try:
        retire_some(Client(server, place))
        traffic = Traffic(server, place)
        while len(copies) < 12 and (not removed or removed[-1] > 0):
            tools.wait_for(lambda: traffic.sent.log and len(traffic.sent.files) > 10)
            files, log = dict(traffic.sent.files), traffic.sent.log
            copy = tmp_path / f"copy{len(copies)}"
            done = back_up(server.data, copy)
            assert (done.returncode, done.stderr) == (0, "")
            copies.append((copy, files, log))
            removed.append(removed_ones(copy))
            traffic.sweeping.set()
            time.sleep(0.7)
        traffic.stop()
    finally:
        assert server.stop() == 0
    print(f"{len(traffic.sent.files)} files, {len(traffic.sent.log)} bytes of log, {removed}")
    assert (removed[0], removed[-1]) == (RETIRED, 0), removed
    for copy, files, log in copies[:1] + copies[-3:]:
        check_copy(copy, place, files, log)
    assert back_up(tmp_path / "data", copies[0][0]).returncode == 1, "it replaces nothing"
    assert back_up(tmp_path, tmp_path / "none").returncode == 1


GATE = """#!/bin/sh
# The real sqlite3; after the copy of the metadata it waits.
{real} "$@"
status=$?
case "$*" in *VACUUM*meta.sqlite*)
  touch {gate}/reached
  while [ ! -e {gate}/go ]; do sleep 0.05; done ;;
esac
exit $status
"""


def test_bytes_that_go_right_after_the_metadata(tmp_path):
    """What the copied metadata names is in the copy, although it was removed before the second
    pass."""
    place = tools.prepare(tmp_path)
    gate = tmp_path / "gate"
    gate.mkdir()
    (gate / "sqlite3").write_text(GATE.format(real=shutil.which("sqlite3"), gate=gate))
    (gate / "sqlite3").chmod(0o755)
    server = Server(tmp_path / "data")
    copy = tmp_path / "copy"
    try:
        client = Client(server, place)
        retire_some(client)
        client.append("log", (LOG, "log", b"", b'{"message":"0"}\n'))
        process = subprocess.Popen(
            ["sh", SCRIPT, server.data, copy],
            env={**os.environ, "PATH": f"{gate}:{os.environ['PATH']}"},
        )
        tools.wait_for((gate / "reached").exists)
        tools.make_due(server.data)
        tools.wait_until_none(server, tools.DUE)
        (gate / "go").touch()
        assert process.wait(60) == 0
    finally:
        assert server.stop() == 0
    assert removed_ones(tmp_path / "data") == 0
    assert removed_ones(copy) == RETIRED
    check_copy(copy, place, {}, b"")
