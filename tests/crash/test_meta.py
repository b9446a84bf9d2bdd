"""The SQLite store killed, refused disk space or an fsync: what it acknowledged is there."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from crash_tools import TIMEOUT_S, Steps, for_each

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MB = 1 << 20
# Calls that change nothing on the disk: dying there is dying before the next that does.
CALLS = "mknodat openat pwrite64 write fdatasync fsync ftruncate unlink close fchown fcntl".split()
FCNTL_ONE_IN = 9
BASE = ["open", "insert a 100", "batch 100 20 300", "close"]
WRITES = [
    "open",
    "insert b 5000",
    "replace a 200",
    "insert a 1",
    "batch 200 5 10",
    "delete 100",
    "replace b 20000",
    "close",
    "open",
    "insert c 10",
    "close",
]
FIRST = ["open", "insert a 100", "batch 1 3 50", "close"]


@pytest.fixture(scope="session")
def meta_driver(tmp_path_factory) -> Path:
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "sqlite3", "libcrypto"], capture_output=True, text=True
    )
    if flags.returncode != 0:
        pytest.skip(f"the server is not built here: {flags.stderr.strip()}")
    out = tmp_path_factory.mktemp("meta") / "meta_driver"
    sources = [*ROOT.glob("src/meta/*.c"), *ROOT.glob("src/base/*.c")]
    options = "-std=c11 -D_GNU_SOURCE -O1 -g -ffunction-sections -Wl,--gc-sections -pthread".split()
    subprocess.run(
        [
            *os.environ.get("CC", "cc").split(),
            *options,
            '-DMLDASH_VERSION="0"',
            f"-I{ROOT / 'include'}",
            f"-I{ROOT / 'src'}",
            HERE / "meta_driver.c",
            *sources,
            "-o",
            out,
            *flags.stdout.split(),
        ],
        check=True,
    )
    return out


def run(driver: Path, folder: Path, script: list[str], *prefix: str) -> tuple[int, Steps]:
    done = subprocess.run(
        [*prefix, driver, "run", folder / "m.sqlite", *script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode in (0, -9), (done.returncode, done.stderr)
    return done.returncode, Steps.parse(done.stdout)


Docs = dict[str, tuple[int, int]]  # id: revision, size


def apply(docs: Docs, command: str) -> Docs:
    what, *words = [*command.split(), "", ""]
    docs = dict(docs)
    if what == "insert":
        docs.setdefault(words[0], (1, int(words[1])))
    elif what == "replace":
        docs[words[0]] = (docs[words[0]][0] + 1, int(words[1]))
    elif what == "delete":
        docs.pop(words[0], None)
    elif what == "batch":
        for number in range(int(words[0]), int(words[0]) + int(words[1])):
            docs.setdefault(str(number), (1, int(words[2])))
    return docs


def state(docs: Docs, script: list[str], done: set[int]) -> Docs:
    for i in sorted(done):
        docs = apply(docs, script[i])
    return docs


def found(driver: Path, folder: Path) -> Docs | str:
    """What is there, through the store; or what is wrong with it."""
    done = subprocess.run(
        [driver, "list", folder / "m.sqlite"], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    docs = {}
    for line in done.stdout.splitlines():
        what, name, *rest = line.split(" ")
        if what != "doc" or rest[-1] != "whole" or name in docs:
            return line
        docs[name] = (int(rest[0]), int(rest[1]))
    return docs if done.returncode == 0 else f"list: {done.returncode} {done.stderr}"


def index_problems(folder: Path) -> str:
    """Whether the index of tokens has just what the documents have."""
    with closing(sqlite3.connect(folder / "m.sqlite")) as db:
        (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            return verdict
        want = {
            (token, order, name, number)
            for number, name, order, tokens in db.execute(
                "SELECT number, id, ord, tokens FROM docs"
            )
            for token in tokens.decode().split("\0")[:-1]
        }
        got = set(db.execute("SELECT token, ord, id, doc FROM tokens"))
    return "" if want == got else f"tokens: {want ^ got}"


def check(driver: Path, folder: Path, wanted: list[Docs]) -> str | None:
    got = found(driver, folder)
    if got not in wanted:
        return f"want {wanted[-1]}, got {got}"
    return index_problems(folder) or None


@pytest.fixture(scope="session")
def template(meta_driver, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    _, steps = run(meta_driver, folder, BASE)
    assert len(steps.acked) == len(BASE), steps
    return folder


def points_of(driver: Path, folder: Path, script: list[str]) -> list[tuple[str, int]]:
    """(call, n) for every n up to what the busiest thread does: strace counts for each thread."""
    trace = folder / "trace"
    run(driver, folder, script, "strace", "-f", "-qq", "-o", str(trace))
    counts: dict[tuple[str, str], int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match is not None:
            counts[match[1], match[2]] = counts.get((match[1], match[2]), 0) + 1
    most = {
        call: max((n for (_, name), n in counts.items() if name == call), default=0)
        for call in CALLS
    }
    assert most["pwrite64"] > 5 and most["fdatasync"] > 2
    return [
        (call, n)
        for call in CALLS
        for n in range(1, most[call] + 1)
        if call != "fcntl" or n % FCNTL_ONE_IN == 1
    ]


@pytest.mark.parametrize("name", ["writes", "first"])
def test_kill_at_each_call(name, meta_driver, template, scratch, strace):
    script = WRITES if name == "writes" else FIRST
    before: Docs = state({}, BASE, set(range(len(BASE)))) if name == "writes" else {}

    def begin(which: object) -> Path:
        folder = scratch / str(which)
        if name == "writes":
            shutil.copytree(template, folder)
        else:
            folder.mkdir()
        return folder

    points = points_of(meta_driver, begin("all"), script)
    killed = []

    def at(index: int, point: tuple[str, int]) -> str | None:
        call, n = point
        folder = begin(index)
        inject = f"inject={call}:signal=KILL:when={n}"
        code, steps = run(
            meta_driver, folder, script, "strace", "-f", "-qq", "-o", "/dev/null", "-e", inject
        )
        killed.append(code != 0)
        done = set(steps.acked)
        wanted = [state(before, script, done)]
        if steps.in_flight is not None:
            wanted.append(state(before, script, done | {steps.in_flight}))
        problem = check(meta_driver, folder, wanted)
        shutil.rmtree(folder)
        return problem and f"{call} {n}: {problem}"

    assert for_each(points, at) == []
    assert sum(killed) > len(points) // 2


ERRORS = [("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("ftruncate", "EIO")]


@pytest.mark.parametrize(("call", "error"), ERRORS)
def test_one_error_of_each_call(call, error, meta_driver, template, scratch, strace):
    """A command fails by name or works; then all works again, and no failure shows itself."""
    script = [*WRITES[:-4], "insert z 10", "insert y 10", "close"]
    before = state({}, BASE, set(range(len(BASE))))
    shutil.copytree(template, scratch / "all")
    points = points_of(meta_driver, scratch / "all", script)
    codes = set()

    def at(index: int, point: tuple[str, int]) -> str | None:
        folder = scratch / str(index)
        shutil.copytree(template, folder)
        inject = f"inject={point[0]}:error={error}:when={point[1]}"
        _, steps = run(
            meta_driver, folder, script, "strace", "-f", "-qq", "-o", "/dev/null", "-e", inject
        )
        failed = {code for i, (code, _) in steps.errors.items() if script[i] != "insert a 1"}
        codes.update(failed)
        done = set(steps.acked)
        if 0 not in done:
            done = set()  # it never opened
        problem = check(meta_driver, folder, [state(before, script, done)])
        shutil.rmtree(folder)
        if not failed <= {"MLD_EIO", "MLD_ENOSPACE", "MLD_ESTATE", "MLD_ENOTFOUND"}:
            problem = f"{problem} {steps.errors}"
        return problem and f"{point}: {problem}"

    mine = [point for point in points if point[0] == call]
    assert for_each(mine, at) == []
    if call != "ftruncate":
        assert {"ENOSPC": "MLD_ENOSPACE", "EIO": "MLD_EIO"}[error] in codes or not mine


def test_acknowledges_after_fsync(meta_driver, scratch, strace):
    """Nothing is acknowledged while the log has bytes that are not synced."""
    trace = scratch / "trace"
    script = ["open", *(f"insert {i} {i * 400}" for i in range(10)), "batch 100 9 99", "close"]
    run(meta_driver, scratch, script, "strace", "-f", "-y", "-qq", "-o", str(trace))
    dirty: set[str] = set()
    synced: set[str] = set()
    acked = 0
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"\d+ +(\w+)\(\d+<([^>]*)>(.*)", line)
        if match is None:
            continue
        call, path, rest = match.groups()
        if call == "pwrite64":
            dirty.add(path)
        elif call in ("fdatasync", "fsync") and rest.endswith("= 0"):
            dirty.discard(path)
            synced.add(path)
        elif call == "write" and '"ack' in rest:
            acked += 1
            assert f"{scratch}/m.sqlite-wal" not in dirty, f"ack {acked} before the fsync"
            assert acked == 1 or str(scratch) in synced, "the directory was not synced"
    assert acked == len(script)


def test_storms(meta_driver, scratch):
    """kill -9 at random moments under load, on one file that grows."""
    rounds = 50 if os.environ.get("ML_DASH_CRASH_FULL") == "1" else 10
    randomness = random.Random(13)
    acked: set[str] = set()
    for _ in range(rounds):
        process = subprocess.Popen(
            [meta_driver, "storm", scratch / "m.sqlite", "16"], stdout=subprocess.PIPE, text=True
        )
        time.sleep(randomness.uniform(0.1, 0.5))
        process.kill()
        said, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == -9
        acked.update(line.split()[1] for line in said.splitlines() if line.startswith("ack "))
        docs = found(meta_driver, scratch)
        assert isinstance(docs, dict), docs
        assert acked <= docs.keys(), acked - docs.keys()
        assert len(docs) <= len(acked) + 16 * rounds
        assert index_problems(scratch) == ""
    assert len(acked) > 100


class Session:
    """A driver that is told one command after the other."""

    def __init__(self, driver: Path, folder: Path, **options):
        self.process = subprocess.Popen(
            [driver, "talk", folder / "m.sqlite"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        self.docs: Docs = {}

    def say(self, command: str) -> str:
        """The error's name, or MLD_OK, which is noted."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        got = Steps.parse(self.process.stdout.readline() + self.process.stdout.readline())
        if not got.errors:
            self.docs = apply(self.docs, command)
            return "MLD_OK"
        ((code, message),) = got.errors.values()
        assert "m.sqlite" in message or code not in ("MLD_EIO", "MLD_ENOSPACE"), message
        return code

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(TIMEOUT_S) == 0
        self.process.stdout.close()


def use_until_full(session: Session) -> None:
    """Full is said by that name, small writes may still go; with space all goes again."""
    assert session.say("open") == "MLD_OK"
    assert session.say("insert first 100") == "MLD_OK"
    codes = [session.say(f"insert {i} 100000") for i in range(60)]
    assert set(codes) == {"MLD_OK", "MLD_ENOSPACE"}
    assert session.say("insert huge 4000000") == "MLD_ENOSPACE"
    assert session.say("replace first 3000000") == "MLD_ENOSPACE"


def test_limited_file_size(meta_driver, scratch):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MB, resource.RLIM_INFINITY))

    session = Session(meta_driver, scratch, preexec_fn=limit)
    use_until_full(session)
    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, (MB * 100, MB * 100))
    assert session.say("insert huge 4000000") == "MLD_OK"
    assert session.say("health") == "MLD_OK"
    assert session.say("delete 0") == "MLD_OK"
    session.close()
    assert check(meta_driver, scratch, [session.docs]) is None


@pytest.fixture
def small_disk():
    with tempfile.TemporaryDirectory(prefix="mldash-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", name]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting a tmpfs needs root: {done.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def test_full_disk(meta_driver, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 * MB))
    session = Session(meta_driver, small_disk)
    use_until_full(session)
    session.say("insert tiny 10")
    ballast.unlink()
    for _ in range(100):  # the thread finds out by itself
        if session.say("health") == "MLD_OK":
            break
        time.sleep(0.1)
    assert session.say("health") == "MLD_OK"
    assert session.say("insert again 100000") == "MLD_OK"
    assert session.say("replace first 200") == "MLD_OK"
    for i in range(10):
        assert session.say(f"delete {i}") == "MLD_OK"
    assert session.say("insert later 100000") == "MLD_OK"
    session.close()
    assert check(meta_driver, small_disk, [session.docs]) is None
