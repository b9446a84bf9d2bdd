"""Power cuts: what was durable is there in each disk image that a cut may leave.

The system calls of a run are recorded; an image is what of them may have reached the disk at some
moment: all that an fsync covered, and of the rest any part: writes lost or torn, directory entries
lost, in any order. The folder is then opened as after another boot.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crash_tools import FULL, Steps, for_each, make_bytes, run_driver, sha_of
from test_order import parse

IMAGES = int(os.environ.get("ML_DASH_POWER_CUTS", "10000" if FULL else "300"))
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SCRIPT = [
    "open",
    "save /m a.bin 1000 1 durable",
    "save /m b.bin 900 2",
    "point loss 1",
    "log first",
    "params lr 1",
    "flush",
    "point loss 2",
    "batch loss 5 10",
    "track pos 1",
    "log second",
    "params bs 2",
    "save /m a.bin 1000 3 durable",
    "save /m b.bin 900 4",
    "save /new/deep c.bin 800 5",
    "save / d.bin 700 6 durable",
    "flush",
    "save /m a.bin 1000 7",
    "point loss 3",
    "end",
    "close",
    "open",
    "save /m b.bin 900 8",
    "params wd 3",
    "gc",
    "point loss 4",
    "end",
]


@dataclass
class Inode:
    """A file: (number of the operation, offset, bytes or None for a cut) in order."""

    writes: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    synced: list[int] = field(default_factory=list)  # operations that made it durable
    size: int = 0


@dataclass
class Change:
    """Of a directory: `name` gets the inode (None: goes away); `gone` goes in the same step."""

    number: int
    folder: str
    name: str
    target: Inode | str | None  # "dir" for a directory
    gone: str | None = None


class Recording:
    """The calls of a run below `base`, as changes of files and directories."""

    def __init__(self, trace: str, base: str):
        self.base = base
        self.files: dict[str, Inode] = {}
        self.fds: dict[int, Inode] = {}
        self.changes: list[Change] = []
        self.dir_syncs: dict[str, list[int]] = {}
        self.said: list[tuple[int, str]] = []
        self.inodes: list[Inode] = []
        calls = sorted(parse(trace), key=lambda call: call.end)
        for self.now, call in enumerate(calls):
            getattr(self, "on_" + call.name, lambda _: None)(call)
        self.length = len(calls)

    def change(self, path: str, target, gone: str | None = None) -> None:
        folder, name = path.rsplit("/", 1)
        if folder.startswith(self.base):
            self.changes.append(Change(self.now, folder, name, target, gone))

    @staticmethod
    def result(call) -> int:
        return int(re.search(r"= (\d+)", call.text)[1])

    @staticmethod
    def first_fd(call) -> int:
        return int(re.match(r"(\d+)", call.text)[1])

    def names(self, call) -> list[str]:
        """Paths of the arguments: a directory's descriptor with a name each."""
        pairs = re.findall(r'(?:\d+<([^<>]*)>|AT_FDCWD<([^<>]*)>), "([^"]*)"', call.text)
        return [n if n.startswith("/") else f"{a or b}/{n}" for a, b, n in pairs]

    def on_openat(self, call) -> None:
        found = re.search(r"= (\d+)<([^<>]*)>", call.text)
        if found is None or not found[2].startswith(self.base):
            return
        fd, path = int(found[1]), found[2]
        if "O_CREAT" in call.text and path not in self.files:
            self.files[path] = Inode()
            self.inodes.append(self.files[path])
            self.change(path, self.files[path])
        self.fds.pop(fd, None)
        if path in self.files:
            self.fds[fd] = self.files[path]

    on_openat2 = on_openat

    def on_fcntl(self, call) -> None:
        if "F_DUPFD" in call.text:
            self.fds.pop(self.result(call), None)
            if self.first_fd(call) in self.fds:
                self.fds[self.result(call)] = self.fds[self.first_fd(call)]

    def on_close(self, call) -> None:
        self.fds.pop(self.first_fd(call), None)

    def on_mkdirat(self, call) -> None:
        self.change(self.names(call)[0], "dir")

    def on_mkdir(self, call) -> None:
        self.change(re.match(r'"([^"]*)"', call.text)[1], "dir")

    def on_write(self, call) -> None:
        fd = self.first_fd(call)
        if fd == 1:
            self.said.append((self.now, call.data))
        elif fd in self.fds:
            inode = self.fds[fd]  # all are appended to, or written once from the start
            data = call.data.encode()
            assert len(data) == self.result(call), call
            inode.writes.append((self.now, inode.size, data))
            inode.size += len(data)

    def on_ftruncate(self, call) -> None:
        inode = self.fds[self.first_fd(call)]
        inode.size = int(re.search(r", (\d+)", call.text)[1])
        inode.writes.append((self.now, inode.size, None))

    def on_linkat(self, call) -> None:
        old, new = self.names(call)
        self.files[new] = self.files[old]
        self.change(new, self.files[new])

    def on_renameat(self, call) -> None:
        old, new = self.names(call)
        self.files[new] = self.files.pop(old)
        assert old.rsplit("/", 1)[0] == new.rsplit("/", 1)[0]
        self.change(new, self.files[new], old.rsplit("/", 1)[1])

    on_renameat2 = on_renameat

    def on_unlinkat(self, call) -> None:
        (path,) = self.names(call)
        self.files.pop(path, None)
        self.change(path, None)

    def on_fsync(self, call) -> None:
        if self.first_fd(call) in self.fds:
            self.fds[self.first_fd(call)].synced.append(self.now)
        else:
            self.dir_syncs.setdefault(call.paths[0], []).append(self.now)

    on_fdatasync = on_fsync

    def on_syncfs(self, call) -> None:
        for inode in self.inodes:
            inode.synced.append(self.now)
        for folder in {c.folder for c in self.changes}:
            self.dir_syncs.setdefault(folder, []).append(self.now)

    # ---- images ----

    def content(self, inode: Inode, cut: int, rng: random.Random, luck: float) -> bytes:
        safe = max((s for s in inode.synced if s < cut), default=-1)
        data = bytearray()
        for number, offset, piece in inode.writes:
            if number >= cut or (number > safe and rng.random() > luck):
                continue
            if piece is None:
                del data[offset:]
                continue
            if number > safe and rng.random() > luck:
                piece = piece[: rng.randrange(len(piece) + 1)]  # torn
            data.extend(bytes(max(0, offset - len(data))))
            data[offset : offset + len(piece)] = piece
        return bytes(data)

    def image(self, cut: int, rng: random.Random, luck: float) -> dict[str, Inode | str]:
        """The names on the disk."""
        tree: dict[str, Inode | str] = {}
        for c in self.changes:
            safe = max((s for s in self.dir_syncs.get(c.folder, []) if s < cut), default=-1)
            if c.number >= cut or (c.number > safe and rng.random() > luck):
                continue
            if c.gone is not None:
                tree.pop(f"{c.folder}/{c.gone}", None)
            if c.target is None:
                tree.pop(f"{c.folder}/{c.name}", None)
            else:
                tree[f"{c.folder}/{c.name}"] = c.target
        return tree

    def write_image(self, to: Path, cut: int, rng: random.Random, luck: float) -> None:
        to.mkdir()
        tree = self.image(cut, rng, luck)
        contents: dict[int, bytes] = {}
        for path in sorted(tree):
            target = to / path[len(self.base) :].lstrip("/")
            if not target.parent.is_dir():
                continue  # in a directory that is lost
            if tree[path] == "dir":
                target.mkdir()
                continue
            key = id(tree[path])
            if key not in contents:
                contents[key] = self.content(tree[path], cut, rng, luck)
            target.write_bytes(contents[key])

    def steps(self, cut: int) -> Steps:
        return Steps.parse("".join(text for number, text in self.said if number < cut))


def durable_steps(steps: Steps) -> set[int]:
    """What must be there: saved as durable, or before a flush or the end that returned."""
    flushed = [i for i in steps.acked if SCRIPT[i] in ("flush", "end")]
    last = max(flushed, default=-1)
    return {i for i in steps.acked if i <= last or SCRIPT[i].endswith("durable")}


def look_after_boot(driver: Path, root: Path, boot_id: Path) -> list[dict]:
    command = f'mount --bind "{boot_id}" {BOOT_ID} && exec "$0" check "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, driver, root], capture_output=True, timeout=60
    )
    assert done.returncode in (0, 1), (done.stdout[-500:], done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def sha_of_save(words: list[str]) -> str:
    return sha_of(make_bytes(int(words[3]), int(words[4])))


def missing_files(found: dict, must: set[int], tried: set[int]) -> list[str]:
    """Of each name the last durable version reads, or a later one that was tried does."""
    problems = []
    saves = [(i, SCRIPT[i].split()) for i in sorted(tried) if SCRIPT[i].startswith("save")]
    reads: dict[str, set[str]] = {}
    for f in found["files"]:
        if f["read"] == "MLD_OK":
            reads.setdefault(f["filename"], set()).add(f["checksum"])
    for name in {words[2] for _, words in saves}:
        versions = [(i, sha_of_save(words)) for i, words in saves if words[2] == name]
        durable = max((i for i, _ in versions if i in must), default=-1)
        fine = {sha for i, sha in versions if i >= durable}
        if durable >= 0 and not fine & reads.get(name, set()):
            problems.append(f"{name} of step {durable} does not read")
        unknown = reads.get(name, set()) - {sha for _, sha in versions}
        problems += [f"{name} reads as something that nobody saved" for _ in unknown]
    return problems


def missing_values(found: dict, must: set[int], tried: set[int]) -> list[str]:
    def values(chosen: set[int]) -> set:
        got = set()
        for words in (SCRIPT[i].split() for i in chosen):
            if words[0] == "batch":
                got |= {("loss", int(words[3]) + k) for k in range(int(words[2]))}
            elif words[0] in ("point", "track", "params"):
                got.add((words[1], int(words[2])))
            elif words[0] == "log":
                got.add(("log", words[1]))
        return got

    got = {
        (name, p["v"]) for k in ("metrics", "tracks") for name in found[k] for p in found[k][name]
    }
    got |= {("log", text) for text in found["logs"]} | set(found["params"].items())
    problems = [f"{value} is lost" for value in values(must) - got]
    return problems + [f"{value} was never written" for value in got - values(tried)]


def judge(rounds: list[dict], steps: Steps) -> list[str]:
    must = durable_steps(steps)
    tried = set(steps.tried)
    problems = []
    for when, found in zip(("opened", "collected", "opened again"), rounds):
        if found["error"] != "MLD_OK":
            return [f"{when}: {found['error']} {found['message']}"]
        here = missing_files(found, must, tried) + missing_values(found, must, tried)
        problems += [f"{when}: {text}" for text in here]
    return problems


@pytest.fixture
def boot_id(scratch):
    path = scratch / "boot_id"
    path.write_text("00000000-1111-2222-3333-444444444444\n")
    test = ["unshare", "-m", "mount", "--bind", str(path), BOOT_ID]
    done = subprocess.run(test, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"playing another boot needs root: {done.stderr.strip()}")
    return path


@pytest.fixture
def recording(driver, strace, scratch) -> Recording:
    base = scratch / "disk"
    base.mkdir()
    path = scratch / "trace"
    strace_command = ["strace", "-f", "-y", "-s", "65536", "-o", str(path)]
    code, steps = run_driver(driver, base / "root", SCRIPT, *strace_command)
    assert code == 0 and not steps.errors
    return Recording(path.read_text(), str(base))


def cut_power(driver, scratch, recording, boot_id, images: int) -> list[str]:
    def cut(index: int, seed: int) -> str | None:
        rng = random.Random(seed)
        moment = rng.randrange(recording.length + 1)
        luck = rng.choice([0.0, 0.3, 0.7, 0.95, 1.0])
        to = scratch / f"image-{index}"
        recording.write_image(to, moment, rng, luck)
        steps = recording.steps(moment)
        problems = judge(look_after_boot(driver, to / "root", boot_id), steps)
        shutil.rmtree(to)
        return f"seed {seed}, call {moment}, luck {luck}: {problems}" if problems else None

    return for_each(list(range(images)), cut)


def test_whole_recording_is_the_folder(driver, scratch, recording):
    """With all luck, the image at the end is what the run left."""
    recording.write_image(scratch / "copy", recording.length, random.Random(0), 1.0)

    def tree(root: Path) -> dict:
        return {str(p.relative_to(root)): p.is_file() and p.read_bytes() for p in root.rglob("*")}

    assert tree(scratch / "copy") == tree(scratch / "disk")


def test_power_cuts(driver, scratch, recording, boot_id):
    found = cut_power(driver, scratch, recording, boot_id, IMAGES)
    print(f"{IMAGES} images, {len(found)} failures")
    assert not found, "\n".join(found[:10])


def test_power_cuts_without_fsync_are_caught(driver, scratch, recording, boot_id):
    """The same run, had it never called fsync on files: the judge sees the loss."""
    for inode in recording.inodes:
        inode.synced = []
    assert cut_power(driver, scratch, recording, boot_id, 30)
