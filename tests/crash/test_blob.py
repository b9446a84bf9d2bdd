"""The blob store in a directory: death and failure at each system call that changes something, and
a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_tools import FULL, Steps, compile_program, for_each, make_bytes, sha_of

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20
BASE = [
    "open",
    "put a 100 1 b 65536 2 c 0 3",
    "big d 100000 4",
    f"create up {9 * MB} 5",
    "part up 0",
]
# Scripts by name; what is between begin and the end may be cut short.
SCRIPTS = {
    "put": [*BASE, "begin", "put e 1000 6 f 20000 7", "put g 10 8"],
    "big": [*BASE, "begin", "big e 200000 6", "big f 65537 7"],
    "part": [*BASE, "begin", "part up 1", "part up 0", "commit up"],
    "replace": [*BASE, "begin", "part up 0 99", "part up 1", "part up 0", "commit up"],
    "one-part": [*BASE, "begin", "create x 70000 6", "part x 0", "commit x"],
    "delete": [*BASE, "begin", "delete a", "delete d", "put a 10 6", "big d 70000 7"],
    "abort": [*BASE, "begin", "abort up", f"create y {8 * MB + 1} 6", "part y 1"],
    "first-open": ["begin", "open", "put a 100 1", "big d 100000 4"],
    "reopen": [*BASE, "put e 30000 6", "close", "begin", "open", "put f 10 7", "close"],
}


@dataclass
class Driver:
    program: Path
    shim: Path


@pytest.fixture(scope="session")
def blob_driver(tmp_path_factory, fault_shim) -> Driver:
    base = "arena buf clock error fs fs_dir fs_durable hash id pages sha256_state".split()
    sources = [ROOT / f"src/base/{name}.c" for name in base]
    sources += sorted((ROOT / "src/blob").glob("*.c"))
    link = [
        "-D_FILE_OFFSET_BITS=64",
        "-Isrc",
        *map(str, sources),
        "-pthread",
        "-lcrypto",
        "-lsqlite3",
        "-ldl",
    ]
    folder = tmp_path_factory.mktemp("blob_driver")
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        return Driver(compile_program(folder, "blob_driver", *link), fault_shim)
    finally:
        os.chdir(here)


def run(driver: Driver, root: Path, script: list[str], fault: str = "") -> tuple[Steps, int, int]:
    done = subprocess.run(
        [driver.program, "run", root, *script],
        env={**os.environ, "LD_PRELOAD": str(driver.shim), "FAULT": fault},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode in (0, -9), (done.returncode, done.stderr.decode())
    calls = done.stderr.decode().split()[-1] if done.returncode == 0 else "0"
    return Steps.parse(done.stdout.decode()), done.returncode, int(calls)


def look(driver: Driver, root: Path) -> tuple[dict[str, str], str]:
    """({key: SHA-256}, what is wrong) of a store that is opened anew."""
    done = subprocess.run([driver.program, "look", root], capture_output=True, timeout=120)
    found = {}
    wrong = "" if done.returncode == 0 else done.stdout.decode() + done.stderr.decode()
    for line in done.stdout.decode().splitlines():
        what, key, *rest = line.split(" ")
        if what == "blob":
            found[key] = rest[1]
    return found, wrong


def sha(size: str, seed: str) -> str:
    return sha_of(make_bytes(int(size), int(seed)))


class Model:
    """What each key may hold: a set of SHA-256, with None for nothing."""

    def __init__(self):
        self.keys: dict[str, set] = {}
        self.uploads: dict[str, list[str]] = {}  # key: size, seed, name; only those alive
        self.sizes: dict[str, list[str]] = {}
        self.parts: dict[str, set[int]] = {}  # those that must be there

    def change(self, key: str, value: str | None, sure: bool) -> None:
        before = self.keys.get(key, {None})
        self.keys[key] = {value} if sure else before | {value}

    def apply(self, command: str, sure: bool, said: list[str]) -> None:
        what, *words = command.split()
        if what in ("put", "big"):
            for i in range(0, len(words), 3):
                self.change(words[i], sha(*words[i + 1 : i + 3]), sure)
        elif what == "delete":
            self.change(words[0], None, sure)
        elif what == "create":
            self.sizes[words[0]] = words[1:]
            if sure:
                self.uploads[words[0]] = [*words[1:], *said]
        elif what == "commit":
            self.change(words[0], sha(*self.sizes[words[0]]), sure)
        elif what == "abort":
            self.uploads.pop(words[0], None)
        elif what == "part":
            parts = self.parts.setdefault(words[0], set())
            (parts.add if sure else parts.discard)(int(words[1]))

    def problems(self, found: dict[str, str]) -> list[str]:
        wrong = [f"{k} is there, from nowhere" for k in found if k not in self.keys]
        for key, allowed in self.keys.items():
            if found.get(key) not in allowed:
                wrong.append(f"{key} is {found.get(key)}, not one of {allowed}")
        return wrong


def model_of(script: list[str], steps: Steps) -> Model:
    model = Model()
    for i in steps.tried:
        model.apply(script[i], i in steps.acked, steps.acked.get(i, []))
    return model


def check(driver: Driver, root: Path, script: list[str], steps: Steps, lost: bool) -> str | None:
    """After death or failure: what was acknowledged is there, uploads go on and are committed.

    `lost`: a disk failed, and uploads may have failed with it."""
    model = model_of(script, steps)
    found, wrong = look(driver, root)
    problems = [wrong] if wrong else model.problems(found)
    for key, (size, seed, name) in model.uploads.items():
        go_on = ["open", f"resume {key} {size} {seed} {name}", f"rest {key}"]
        # Part 0 may have been replaced by other bytes.
        go_on += [f"part {key} 0", f"commit {key}", f"commit {key}", f"abort {key}"]
        again, _, _ = run(driver, root, go_on)
        committed = 4 in again.acked and again.errors.get(2, ("",))[0] == "MLD_ENOTFOUND"
        errors = {i: e for i, e in again.errors.items() if i > 3 or not committed}
        if not errors:
            model.change(key, sha(size, seed), True)
        elif not (lost and all(e[0] == "MLD_ENOTFOUND" for e in errors.values())):
            problems.append(f"the upload of {key} does not go on: {errors}")
        if not committed and 2 in again.acked and not lost:
            there, least = int(again.acked[2][0]), len(model.parts.get(key, ()))
            if there < least:
                problems.append(f"{there} parts of {key} are there, not {least}")
    found, wrong = look(driver, root)
    problems += [wrong] if wrong else model.problems(found)
    left = list((root / "uploads").iterdir())
    if len(left) > sum(command.startswith("create") for command in script):
        problems.append(f"left behind: {left}")
    return "; ".join(problems) or None


def some_of(calls: int, how: str) -> list[int]:
    """Each call for the plain death, unless there are many that are alike; fewer for the rest."""
    at_most = 7 if how == "kill" else 3
    step = max(1, calls // at_most)
    return list(range(1 + len(how) % step, calls + 1, step))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("how", ["kill", "torn", "EIO", "ENOSPC"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_at_each_call(blob_driver, scratch, name, how):
    script = SCRIPTS[name]
    steps, _, calls = run(blob_driver, scratch / "clean", script)
    assert not steps.errors
    assert calls >= 3
    assert check(blob_driver, scratch / "clean", script, steps, False) is None
    shutil.rmtree(scratch / "clean")

    def attempt(index: int, at: int) -> str | None:
        root = scratch / f"{how}-{index}"
        steps, _, _ = run(blob_driver, root, script, f"{how}:{at}")
        found = check(blob_driver, root, script, steps, how in ("EIO", "ENOSPC"))
        shutil.rmtree(root)
        return f"{how} at call {at}: {found}" if found else None

    points = list(range(1, calls + 1)) if FULL else some_of(calls, how)
    found = for_each(points, attempt)
    print(f"{name}: {how} at {len(points)} of {calls} calls, {len(found)} failures")
    assert not found, "\n".join(found[:10])


@pytest.fixture
def small_disk(tmp_path):
    """48 MB of memory as a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48M", "tmpfs", folder], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk(blob_driver, small_disk):
    """Nothing half stored, deleting works, and then storing works again."""
    root = small_disk / "store"
    fill = [f"put s{i} 60000 {i} t{i} 60000 {i}" for i in range(300)]
    script = ["open", "big a 6000000 1", "create up 2000000 2", f"create huge {60 * MB} 3"]
    script += [*fill, "big b 3000000 4", "part up 0"]
    deletes = [f"delete s{i}" for i in range(60)]
    more = ["put x 60000 7", "commit up", *deletes, "delete a", "put y 60000 8", "big z 500000 9"]
    script += more
    steps, _, _ = run(blob_driver, root, script)
    codes = {script[i].split()[1]: e[0] for i, e in steps.errors.items()}
    assert codes.pop("huge") == "MLD_ENOSPACE"
    assert codes.pop("b") == "MLD_ENOSPACE"
    assert codes.pop("x") == "MLD_ENOSPACE"
    assert 10 < len(codes) < 290
    assert all(key.startswith("s") for key in codes), [k for k in codes if k[0] != "s"]
    assert all(code == "MLD_ENOSPACE" for code in codes.values()), codes
    assert not [i for i in steps.errors if script[i] in deletes], "deleting failed"
    found, wrong = look(blob_driver, root)
    assert "MLD_ENOSPACE" in wrong  # little room is left: so says blob_health
    assert not model_of(script, steps).problems(found)
    assert found["up"] == sha("2000000", "2")  # its room was reserved
