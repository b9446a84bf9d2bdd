"""In which order bytes, records and acknowledgements reach the disk, read from the system calls."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from crash_tools import make_bytes, run_driver

WRITES = {"write", "pwrite64", "copy_file_range", "ioctl", "sendfile", "linkat"}
SYNCS = {"fsync", "fdatasync"}
LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")


@dataclass
class Call:
    """A system call; `begin` and `end` are lines of the trace."""

    name: str
    text: str
    begin: int
    end: int

    @property
    def paths(self) -> list[str]:
        return re.findall(r"\d+<([^<>]*)>", self.text)

    @property
    def data(self) -> str:
        match = re.search(r'"((?:[^"\\]|\\.)*)"', self.text)
        return json.loads(f'"{match[1]}"') if match else ""


def parse(trace: str) -> list[Call]:
    calls: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(trace.splitlines()):
        match = LINE.match(line)
        if match is None:
            continue
        thread, resumed, name, text = match.groups()
        if resumed:
            call = open_calls.pop(thread)
            call.text += text
            call.end = number
        else:
            call = Call(name, text, number, number)
            calls.append(call)
            if "<unfinished ...>" in text:
                open_calls[thread] = call
    return [c for c in calls if " = -1 " not in c.text]


class Order:
    """The calls of one run of the driver below `run`, the experiment's folder."""

    def __init__(self, calls: list[Call], run: str):
        self.calls = calls
        self.run = run
        self.records = [
            (c, json.loads(line))
            for c in calls
            if c.name == "write" and self.is_records(c)
            for line in c.data.splitlines()
        ]

    def is_records(self, call: Call) -> bool:
        return bool(call.paths) and call.paths[0].startswith(f"{self.run}/.mldash/records")

    def synced(self, path: str, after: int, before: int) -> bool:
        """Was an fsync of the path made between these lines, begun and ended?"""
        return any(
            ((c.name in SYNCS and c.paths and c.paths[0] == path) or c.name == "syncfs")
            and after < c.begin
            and c.end < before
            for c in self.calls
        )

    def stored_path(self, record: dict) -> str:
        prefix = record["path"].strip("/")
        return "/".join(filter(None, [self.run, "files", prefix, record["id"], record["filename"]]))

    def last_write(self, path: str, before: int | None = None) -> int:
        return max(
            (
                c.end
                for c in self.calls
                if c.name in WRITES
                and path in c.paths[: 1 if c.name == "write" else 4]
                and (before is None or c.end < before)
            ),
            default=-1,
        )

    def unsynced(self, record: dict, before: int) -> list[str]:
        """What of a file is not durable before that line: its bytes, or an entry above them."""
        path = self.stored_path(record)
        after = self.last_write(path)
        missing = []
        while path != self.run:
            if not self.synced(path, after, before):
                missing.append(path)
            path = path.rsplit("/", 1)[0]
            after = -1 if path.count("/") < self.run.count("/") + 3 else after
        return missing

    def check_records(self) -> list[str]:
        """No record before the bytes it speaks of."""
        return [
            f"record of {record['filename']} before its last byte"
            for call, record in self.records
            if record["type"] == "file"
            and not -1 < self.last_write(self.stored_path(record)) < call.begin
        ]

    def check_durable(self) -> list[str]:
        """Bytes and directories, then the record, then fdatasync, then the acknowledgement."""
        broken = []
        for call, record in self.records:
            if record["type"] != "file" or not record["filename"].startswith("durable"):
                continue
            name = record["filename"]
            broken += [
                f"{p} not durable before its record" for p in self.unsynced(record, call.begin)
            ]
            (ack,) = [
                c
                for c in self.calls
                if c.name == "write" and re.match(rf"ack \d+ {record['id']}", c.data)
            ]
            if not self.synced(call.paths[0], call.end, ack.begin):
                broken.append(f"the record of {name} was not durable when it was acknowledged")
        return broken

    def check_flush(self, step: int) -> list[str]:
        """When flush returns, all that was written before is durable."""
        (begin,) = [
            c.begin for c in self.calls if c.name == "write" and c.data.strip() == f"try {step}"
        ]
        (end,) = [
            c.begin for c in self.calls if c.name == "write" and c.data.strip() == f"ack {step}"
        ]
        broken = []
        for call, record in self.records:
            if record["type"] == "file" and call.end < begin:
                broken += [f"{p} not durable at flush" for p in self.unsynced(record, end)]
        streams = {
            c.paths[0]
            for c in self.calls
            if c.name == "write" and c.paths[0].endswith(".jsonl") and c.end < begin
        }
        for path in streams:
            if not self.synced(path, self.last_write(path, begin), end):
                broken.append(f"{path} not durable at flush")
            folder = path.rsplit("/", 1)[0]
            if not self.synced(folder, -1, end):
                broken.append(f"the entry of {path} not durable at flush")
        return broken

    def check_unlinks(self) -> tuple[int, list[str]]:
        """An old version goes only when the new one and the retire record are durable."""
        files = {r["id"]: r for _, r in self.records if r["type"] == "file"}
        retires = {r["id"]: (c, r) for c, r in self.records if r["type"] == "retire"}
        broken = []
        count = 0
        for call in self.calls:
            old = call.paths[0].rsplit("/", 1)[-1] if call.paths else ""
            if call.name != "unlinkat" or "AT_REMOVEDIR" in call.text or old not in files:
                continue
            count += 1
            if old not in retires:
                broken.append(f"{old} removed without a retire record")
                continue
            written, record = retires[old]
            if not self.synced(written.paths[0], written.end, call.begin):
                broken.append(f"{old} removed before its retire record was durable")
            missing = self.unsynced(files[record["by"]], call.begin)
            broken += [f"{old} removed before {p} was durable" for p in missing]
        return count, broken


def trace(driver, scratch, script, *options) -> Order:
    root = scratch / "root"
    path = scratch / "trace"
    # -y: paths behind descriptors; strings in full
    code, steps = run_driver(
        driver, root, script, "strace", "-f", "-y", "-s", "4000", "-o", str(path), *options
    )
    assert code == 0 and not steps.errors, steps
    return Order(parse(path.read_text(errors="replace")), str(root / "crash/run"))


DURABLE = [
    "open",
    "save /m durable-a.bin 1000 1 durable",
    "save /m/n durable-b.bin 1000 2 durable",
    "path / durable-c.bin {source} durable",
    "write /m durable-d.bin 1000 3 durable",
    "save /m durable-a.bin 1000 4 durable",
    "flush",
]
FLUSH = [
    "open",
    "save /m a.bin 1000 1",
    "path /m/n b.bin {source}",
    "save / c.bin 1000 3",
    "save /m a.bin 1000 4",
    "point loss 1",
    "batch acc 10 1",
    "track pos 1",
    "log first",
    "params lr 1",
    "flush",
    "save /m a.bin 1000 5",
    "point loss 2",
    "flush",
]
THREAD = [*FLUSH[:10], "sleep 1500"]


@pytest.fixture
def source(scratch):
    path = scratch / "5000-11.src"
    path.write_bytes(make_bytes(5000, 11))
    return path


def test_durable_saves(driver, strace, scratch, source):
    order = trace(driver, scratch, [c.format(source=source) for c in DURABLE])
    assert len([r for _, r in order.records if r["type"] == "file"]) == 5
    assert order.check_records() + order.check_durable() + order.check_flush(6) == []
    assert order.check_unlinks() == (1, [])


def test_flush(driver, strace, scratch, source):
    order = trace(driver, scratch, [c.format(source=source) for c in FLUSH])
    assert order.check_records() + order.check_flush(10) + order.check_flush(13) == []
    assert order.check_unlinks() == (2, [])


def test_background_thread(driver, strace, scratch, source):
    order = trace(driver, scratch, [c.format(source=source) for c in THREAD])
    threads = {c.name for c in order.calls}
    assert "fdatasync" in threads
    assert order.check_records() == []
    assert order.check_unlinks() == (1, [])
    assert order.check_flush(10) == []  # the sleep is long enough


def test_the_rules_can_be_broken(driver, strace, scratch, source):
    """Each sync that is taken out of a good trace breaks a rule; so does an early record."""
    script = [c.format(source=source) for c in DURABLE]
    good = trace(driver, scratch, script)
    run = good.run
    (step,) = [c.begin for c in good.calls if c.name == "write" and c.data.strip() == "try 1"]
    acks = [c.begin for c in good.calls if c.name == "write" and c.data.startswith("ack 1 ")]
    durable = [
        c
        for c in good.calls
        if (
            c.name in SYNCS and step < c.begin < acks[0] and c.paths[0].startswith(f"{run}/files/m")
        )
        or (c.name == "fdatasync" and step < c.begin < acks[0])
    ]
    assert len(durable) >= 4
    for call in durable:
        rest = Order([c for c in good.calls if c is not call], run)
        assert rest.check_durable(), f"without {call}"
    old = {r["id"] for _, r in good.records if r["type"] == "retire"}
    unlink = next(
        c
        for c in good.calls
        if c.name == "unlinkat" and c.paths and c.paths[0].rsplit("/", 1)[-1] in old
    )
    retire = next(c for c, r in good.records if r["type"] == "retire")
    unlink.begin = unlink.end = retire.end
    assert good.check_unlinks()[1]
    first = next(c for c, r in good.records if r["type"] == "file")
    first.begin = first.end = 0
    assert good.check_records()
