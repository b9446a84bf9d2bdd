"""Streams that are cut, garbled or changed: the rest is read, and what is lost is said."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from crash_tools import (
    FULL,
    for_each,
    look,
    make_bytes,
    observe,
    run_driver,
    sha_of,
    state_of,
)

SCRIPT = [
    "open",
    "save /m a.bin 100 1",
    "save / b.bin 100 2",
    "point loss 1",
    "batch loss 3 2",
    "track pos 1",
    "track pos 2",
    "log first",
    "log second",
    "params lr 1",
    "alias /m a.bin best",
    "params lr 2",
    "delete / b.bin",
    "end",
]
AGAIN = ["open", "save /m new.bin 100 3", "point loss 99", "track pos 99", "log third", "end"]
STREAMS = {
    "records": ".mldash/records.jsonl",
    "metric": "metrics/loss/data.jsonl",
    "track": "tracks/pos/data.jsonl",
    "logs": "logs/logs.jsonl",
}


@pytest.fixture(scope="module")
def small(driver, tmp_path_factory) -> Path:
    shm = Path("/dev/shm")
    base = shm if os.access(shm, os.W_OK) else tmp_path_factory.mktemp("small")
    root = base / f"mldash-small-{os.getpid()}"
    code, steps = run_driver(driver, root, SCRIPT)
    assert code == 0 and not steps.errors
    # Views that no record vouches for any more would be merged: they bring lost records back.
    for view in ("experiment.json", "parameters.json", "files/.files_metadata.json"):
        (root / "crash/run" / view).unlink()
    yield root
    shutil.rmtree(root)


def state_of_lines(root: Path) -> dict:
    """What whole lines say, read without the library; garbled ones are left out."""
    folder = root / "crash/run"
    lines: dict[str, list[dict]] = {}
    for name, path in STREAMS.items():
        lines[name] = []
        for line in (folder / path).read_bytes().split(b"\n")[:-1]:
            try:
                lines[name].append(json.loads(line))
            except ValueError:
                continue
    files = {}
    aliases = {}
    params = {}
    by_id = {}
    for record in lines["records"]:
        name = f"{record.get('path')} {record.get('filename')}"
        if record["type"] == "file":
            by_id[record["id"]] = name
            files[name] = (record["checksum"], record["description"])
        elif record["type"] == "delete":
            files.pop(by_id.get(record["id"]), None)
        elif record["type"] == "alias" and record["id"] in by_id:
            aliases[f"{name} {record['alias']}"] = files[name][0]
        elif record["type"] == "params":
            params.update(record["data"])
    tracks = [line["v"] for line in lines["track"]]
    metrics = [line["data"]["v"] for line in lines["metric"]]
    return {
        "files": files,
        "aliases": aliases,
        "metrics": {"loss": metrics} if metrics else {},
        "tracks": {"pos": tracks} if tracks else {},
        "logs": [line["message"] for line in lines["logs"]],
        "params": params,
    }


def read_problem(driver: Path, root: Path, kinds: tuple, offset: int | None = None) -> str | None:
    """Reads the folder; all whole lines must be there, and a finding of one of these kinds."""
    (found,) = look(driver, root, "read")
    if found["error"] != "MLD_OK":
        return f"does not open: {found['message']}"
    want = state_of_lines(root)
    got = observe(found)
    if got != want:
        return f"want {want}, got {got}"
    findings = found["verify"]["findings"]
    matching = [f for f in findings if f["problem"] in kinds]
    if kinds and not matching:
        return f"verify says {findings}, problems at open {found['problems']}"
    if offset is not None and offset not in [f["offset"] for f in matching]:
        return f"no finding at offset {offset}: {findings}"
    if not kinds and found["verify"]["losses"]:
        return f"verify finds something where nothing is wrong: {findings}"
    return None


def append_problem(driver: Path, root: Path) -> str | None:
    """The next writer begins a clean line: its own are read, and those before."""
    want = state_of_lines(root)
    _, steps = run_driver(driver, root, AGAIN)
    if steps.errors:
        return f"the next writer fails: {steps.errors}"
    want["files"]["/m new.bin"] = (sha_of(make_bytes(100, 3)), None)
    for kind, name in (("metrics", "loss"), ("tracks", "pos")):
        want[kind][name] = [*want[kind].get(name, []), 99]
    want["logs"].append("third")
    (found,) = look(driver, root, "read")
    got = observe(found)
    return None if got == want else f"after the next writer: want {want}, got {got}"


def cuts_of(data: bytes, every: int) -> list[int]:
    """Lengths to cut to: around each newline, all of the last two lines, and every so often."""
    if FULL:
        return list(range(len(data)))
    ends = [i for i, byte in enumerate(data) if byte == 10]
    near = {i + d for i in ends for d in (-1, 0, 1, 2)}
    last = set(range(ends[-3] if len(ends) > 2 else 0, len(data)))
    step = set(range(0, len(data), every))
    return sorted(i for i in near | last | step if 0 <= i < len(data))


@pytest.mark.parametrize("name", STREAMS)
def test_cut_anywhere(driver, small, scratch, name):
    data = (small / "crash/run" / STREAMS[name]).read_bytes()
    lengths = cuts_of(data, 11)

    def cut(index: int, length: int) -> str | None:
        root = scratch / f"cut-{index}"
        shutil.copytree(small, root)
        (root / "crash/run" / STREAMS[name]).write_bytes(data[:length])
        # A cut between lines shows only against what was once durable.
        kinds = ("torn", "mark")
        found = read_problem(driver, root, kinds) or append_problem(driver, root)
        shutil.rmtree(root)
        return f"cut to {length}: {found}" if found else None

    found = for_each(lengths, cut)
    print(f"{name}: {len(lengths)} cuts of {len(data)} bytes, {len(found)} failures")
    assert not found, "\n".join(found[:10])


def garble(data: bytes, how: str, line: int) -> tuple[bytes, int]:
    """The stream with one line garbled, and that line's offset."""
    lines = data.splitlines(keepends=True)
    start = sum(len(part) for part in lines[:line])
    text = lines[line]
    half = len(text) // 2
    changed = {
        "nul-run": text[:4] + bytes(half) + text[4 + half :],
        "nul-line": bytes(len(text) - 1) + b"\n",
        "joined": text[:half],
        "not-utf8": text[:half] + b"\xff\xfe" + text[half:],
        "empty": b"\n" + text[half:],
    }[how]
    return b"".join([*lines[:line], changed, *lines[line + 1 :]]), start


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("how", ["nul-run", "nul-line", "joined", "not-utf8", "empty"])
def test_garbled_line(driver, small, scratch, name, how):
    """The line is lost, with the one it is joined to; all others are read."""
    root = scratch / "root"
    shutil.copytree(small, root)
    path = root / "crash/run" / STREAMS[name]
    data = path.read_bytes()
    for line in range(data.count(b"\n") - 1):
        changed, offset = garble(data, how, line)
        if how == "empty":
            offset += 1  # an empty line is no harm
        path.write_bytes(changed)
        assert read_problem(driver, root, ("garbled",), offset) is None, f"line {line}"
    assert append_problem(driver, root) is None


def test_the_judge_sees_a_lost_line(driver, small, scratch):
    """A line that is taken out behind the library's back, with a mark that agrees, shows."""
    root = scratch / "root"
    shutil.copytree(small, root)
    assert read_problem(driver, root, ()) is None
    (found,) = look(driver, root, "read")
    found["logs"].pop()
    assert observe(found) != state_of_lines(root)


def test_bit_flips_in_streams(driver, small, scratch):
    """verify finds each; a read never takes a changed record for a good one."""
    rng = random.Random(1)
    flips = []
    for name, path in STREAMS.items():
        size = (small / "crash/run" / path).stat().st_size
        step = 1 if FULL else 5
        flips += [(name, byte, rng.randrange(8)) for byte in range(rng.randrange(step), size, step)]

    def flip(index: int, point: tuple[str, int, int]) -> str | None:
        name, byte, bit = point
        root = scratch / f"flip-{index}"
        shutil.copytree(small, root)
        path = root / "crash/run" / STREAMS[name]
        data = bytearray(path.read_bytes())
        data[byte] ^= 1 << bit
        path.write_bytes(data)
        (found,) = look(driver, root, "read")
        shutil.rmtree(root)
        if found["error"] != "MLD_OK" or found["verify"]["losses"]:
            return None
        return f"bit {bit} of byte {byte} of {name} is not found: {found['verify']}"

    found = for_each(flips, flip)
    print(f"streams: {len(flips)} flipped bits, {len(found)} not found")
    assert not found, "\n".join(found[:10])


def test_bit_flips_in_files(driver, scratch):
    """Stored bytes: verify finds each, and reading them is never a success."""
    rng = random.Random(2)
    root = scratch / "root"
    run_driver(driver, root, ["open", "save /m a.bin 1000000 1", "save / b.bin 1000 2", "end"])
    stored = [p for p in (root / "crash/run/files").rglob("*.bin")]
    assert len(stored) == 2
    for i in range(1000 if FULL else 60):
        path = stored[i % 2]
        byte = rng.randrange(path.stat().st_size)
        original = path.read_bytes()
        changed = bytearray(original)
        changed[byte] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        (found,) = look(driver, root, "read")
        assert [f["problem"] for f in found["verify"]["findings"]] == ["checksum"]
        reads = {f["filename"]: f["read"] for f in found["files"]}
        assert reads.pop(path.name) == "MLD_ECHECKSUM"
        assert set(reads.values()) == {"MLD_OK"}
        path.write_bytes(original)


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def link(path: Path) -> None:
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [remove, empty, longer, link, folder])
def test_missing_and_replaced_files(driver, small, scratch, harm):
    """Each is named by verify and never read as a success; gc leaves the others alone."""
    root = scratch / "root"
    run_driver(driver, root, ["open", "save /m a.bin 100 1", "save / b.bin 100 2", "end"])
    (path,) = (root / "crash/run/files").rglob("a.bin")
    harm(path)
    for found in look(driver, root, "read") + look(driver, root, "check"):
        assert found["error"] == "MLD_OK", found
        assert found["verify"]["losses"] >= 1, found["verify"]
        assert any("a.bin" in f["name"] and f["loss"] for f in found["verify"]["findings"])
        reads = {f["filename"]: f["read"] for f in found["files"]}
        assert reads["a.bin"] != "MLD_OK"
        assert reads["b.bin"] == "MLD_OK"


def test_reading_changes_nothing(driver, small):
    def tree() -> dict:
        return {
            str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in small.rglob("*") if p.is_file()
        }

    before = tree()
    look(driver, small, "read")
    assert tree() == before


def test_acknowledged_is_what_the_lines_say(driver, small):
    """The judge above and the model of the kill tests agree on a good folder."""
    (found,) = look(driver, small, "read")
    want = state_of(SCRIPT, set(range(len(SCRIPT)))).visible()
    assert observe(found) == want == state_of_lines(small)
