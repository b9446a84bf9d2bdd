"""Runs the driver under strace, and says what must be there afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

WORKERS = max(2, os.cpu_count() or 2)
TIMEOUT_S = 60
# ML_DASH_CRASH_FULL=1: each call and each byte. Else calls that change nothing count as few: dying
# before one is dying before the next that does.
FULL = os.environ.get("ML_DASH_CRASH_FULL") == "1"
CHANGES_NOTHING = set(
    "access brk clone3 fcntl fstat fstatfs futex getdents64 getpid getrandom gettid ioctl lseek"
    " madvise mmap mprotect munmap newfstatat pread64 read readlink rt_sigaction rt_sigprocmask"
    " set_robust_list statfs sysinfo uname".split()
)
ONE_IN = 8


def make_bytes(length: int, seed: int) -> bytes:
    pattern = b"%08d-" % seed
    return (pattern * (length // len(pattern) + 1))[:length]


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- running ----

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
SHARED = ["-shared", "-fPIC", "-ldl"]  # of what is loaded with LD_PRELOAD


def compile_program(folder: Path, name: str, *link: str) -> Path:
    out = folder / name
    compiler = os.environ.get("CC", "cc").split()
    source = HERE / (name + ".c")
    subprocess.run(
        [*compiler, *FLAGS, f"-I{HERE.parents[1] / 'include'}", source, "-o", out, *link],
        check=True,
    )
    return out


@dataclass
class Steps:
    """What a driver said: which commands it tried, which it acknowledged, which failed."""

    tried: list[int] = field(default_factory=list)
    acked: dict[int, list[str]] = field(default_factory=dict)
    errors: dict[int, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Steps:
        steps = cls()
        for line in text.splitlines():
            what, number, *rest = line.rstrip(" ").split(" ", 3)
            if what == "try":
                steps.tried.append(int(number))
            elif what == "ack":
                steps.acked[int(number)] = rest
            else:
                steps.errors[int(number)] = (rest[0], " ".join(rest[1:]))
        return steps

    @property
    def in_flight(self) -> int | None:
        last = self.tried[-1] if self.tried else None
        done = last is None or last in self.acked or last in self.errors
        return None if done else last


def run_driver(driver: Path, root: Path, script: list[str], *prefix: str) -> tuple[int, Steps]:
    done = subprocess.run(
        [*prefix, driver, "run", root, *script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode in (0, -9), (done.returncode, done.stderr.decode())
    return done.returncode, Steps.parse(done.stdout.decode())


def look(driver: Path, root: Path, how: str = "check") -> list[dict]:
    """What the driver finds: `check` opens to write, then collects garbage, then opens again."""
    done = subprocess.run([driver, how, root], capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise AssertionError(f"driver {how}: {done.stdout[-2000:]!r} {done.stderr!r}") from None


CALL = re.compile(r"(\w+)\((.*)")


def count_calls(trace: str) -> list[tuple[str, int]]:
    """(name, n): the n-th call of this name in the process, for all between the markers."""
    seen: dict[str, int] = {}
    points = []
    inside = False
    for line in trace.splitlines():
        match = CALL.match(line)
        if match is None:
            continue
        name = match[1]
        seen[name] = seen.get(name, 0) + 1
        if name == "access" and "/crash-" in line:
            inside = "/crash-begin" in line
        elif inside and name not in ("exit_group", "exit"):
            points.append((name, seen[name]))
    return points


def trace_points(driver: Path, root: Path, script: list[str]) -> list[tuple[str, int]]:
    path = root.parent / (root.name + ".trace")
    code, steps = run_driver(driver, root, script, "strace", "-qq", "-o", str(path))
    assert code == 0
    assert len(steps.acked) == len(script), steps
    return count_calls(path.read_text(errors="replace"))


def thin_out(points: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """All calls that change something, and some of the others."""
    return [
        point
        for i, point in enumerate(points)
        if FULL or point[0] not in CHANGES_NOTHING or i % ONE_IN == 0
    ]


def for_each(points: list, work, workers: int = WORKERS) -> list[str]:
    """work(index, point) for each point, some at a time; returns what it found, without None."""
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda pair: work(*pair), enumerate(points)))
    return [text for text in found if text]


# ---- what must be there ----


@dataclass
class State:
    """What a script makes of an experiment."""

    files: dict[str, list[dict]] = field(default_factory=dict)  # versions, the newest last
    aliases: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[int]] = field(default_factory=dict)
    tracks: dict[str, list[int]] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    params: dict[str, int] = field(default_factory=dict)

    def newest(self, name: str) -> dict | None:
        alive = [v for v in self.files.get(name, []) if not v["deleted"]]
        return alive[-1] if alive else None

    def add(self, name: str, sha: str) -> None:
        version = {"sha": sha, "deleted": False, "description": None}
        self.files.setdefault(name, []).append(version)

    def apply(self, words: list[str]) -> None:
        getattr(self, "do_" + words[0], lambda *_: None)(*words[1:])

    def do_save(self, prefix, name, length, seed, *_):
        self.add(f"{prefix} {name}", sha_of(make_bytes(int(length), int(seed))))

    do_write = do_save

    def do_path(self, prefix, name, source, *_):
        stem = Path(source).stem  # SIZE-SEED.src
        self.do_save(prefix, name, *stem.split("-"))

    def do_point(self, name, value):
        self.metrics.setdefault(name, []).append(int(value))

    def do_batch(self, name, count, first):
        self.metrics.setdefault(name, []).extend(range(int(first), int(first) + int(count)))

    def do_track(self, name, value):
        times = {*self.tracks.get(name, []), int(value)}  # the value is the time, too
        self.tracks[name] = sorted(times)

    def do_log(self, text):
        self.logs.append(text)

    def do_params(self, name, value):
        self.params[name] = int(value)

    def do_delete(self, prefix, name):
        """With keep=1, versions that the newest replaced go with it, unless they have an alias."""
        full = f"{prefix} {name}"
        version = self.newest(full)
        named = {sha for alias, sha in self.aliases.items() if alias.startswith(full + " ")}
        for older in self.files[full]:
            older["deleted"] = older["deleted"] or older["sha"] not in named
        version["deleted"] = True
        self.last_deleted = version

    def do_restore(self):
        self.last_deleted["deleted"] = False

    def do_alias(self, prefix, name, alias):
        self.aliases[f"{prefix} {name} {alias}"] = self.newest(f"{prefix} {name}")["sha"]

    def do_unalias(self, prefix, name, alias):
        self.aliases.pop(f"{prefix} {name} {alias}", None)

    def do_update(self, prefix, name, text):
        self.newest(f"{prefix} {name}")["description"] = text

    def do_dup(self, prefix, name, other):
        self.add(f"{prefix} {other}", self.newest(f"{prefix} {name}")["sha"])

    def do_gc(self, *_):
        for name in self.files:  # keep is 1: what is older than the newest goes
            newest = self.newest(name)
            self.files[name] = [] if newest is None else [newest]

    def visible(self) -> dict:
        newest = {name: self.newest(name) for name in self.files}
        return {
            "files": {
                name: (v["sha"], v["description"]) for name, v in newest.items() if v is not None
            },
            "aliases": self.aliases,
            "metrics": self.metrics,
            "tracks": self.tracks,
            "logs": self.logs,
            "params": self.params,
        }


def state_of(script: list[str], done: set[int]) -> State:
    state = State()
    for i, command in enumerate(script):
        if i in done:
            state.apply(command.split())
    return state


def observe(found: dict) -> dict:
    """The same form as State.visible()."""
    files = {}
    aliases = {}
    for f in found["files"]:
        name = f"{f['path']} {f['filename']}"
        if f["newest"] and not f["deleted"]:
            files[name] = (f["checksum"], f["description"])
        for alias in f["aliases"]:
            aliases[f"{name} {alias}"] = f["checksum"]
    numbers = {
        kind: {name: [p["v"] for p in points] for name, points in found[kind].items()}
        for kind in ("metrics", "tracks")
    }
    for kind in numbers:
        numbers[kind] = {name: values for name, values in numbers[kind].items() if values}
    return {
        "files": files,
        "aliases": aliases,
        **numbers,
        "logs": found["logs"],
        "params": found["params"],
    }


def difference(want: dict, got: dict) -> str:
    return "; ".join(f"{k}: want {want[k]}, got {got[k]}" for k in want if want[k] != got[k])


def version_problems(found: dict, known: dict[str, set[str]]) -> list[str]:
    """Each listed version reads, and is one that was saved."""
    problems = []
    for f in found["files"]:
        name = f"{f['path']} {f['filename']}"
        if f["checksum"] not in known.get(name, set()):
            problems.append(f"{name} is a version that nobody saved: {f['checksum']}")
        if f["read"] != "MLD_OK" and not f["deleted"]:
            problems.append(f"{name} {f['id']} does not read: {f['read']}")
        if f["damaged"]:
            problems.append(f"{name} {f['id']} is marked as damaged")
    return problems


def stored_problems(root: Path, found: dict) -> list[str]:
    """Looks at the bytes themselves."""
    problems = []
    for f in found["files"]:
        path = root / "crash/run/files" / f["path"].strip("/") / f["id"] / f["filename"]
        whole = path.exists() and sha_of(path.read_bytes()) == f["checksum"]
        if not whole and not f["deleted"]:
            problems.append(f"the bytes of {f['filename']} {f['id']} are not those of its record")
    return problems


def acceptable(script: list[str], steps: Steps) -> list[dict]:
    """What may be there: all that was acknowledged, with or without the step under way."""
    done = set(steps.acked)
    states = [state_of(script, done).visible()]
    if steps.in_flight is not None:
        states.append(state_of(script, done | {steps.in_flight}).visible())
    return states


def compare(script: list[str], steps: Steps, found: dict, expected: tuple = ()) -> list[str]:
    """What is wrong; findings of an expected kind ("torn") are not."""
    if found["error"] != "MLD_OK":
        return [f"it does not open or read: {found['error']} {found['message']}"]
    done = {i for i in {*steps.acked, steps.in_flight} if i is not None}
    everything = state_of(script, {i for i in done if not script[i].startswith("gc")})
    known = {n: {v["sha"] for v in versions} for n, versions in everything.files.items()}
    problems = version_problems(found, known)
    got = observe(found)
    wanted = acceptable(script, steps)
    if got not in wanted:
        problems.append(difference(wanted[0], got))
    if found["problems"] and not expected:
        problems.append(f"{found['problems']} problems at open: {found['warning']}")
    losses = [f for f in found["verify"]["findings"] if f["loss"]]
    if any(f["problem"] not in expected for f in losses):
        problems.append(f"verify: {found['verify']['findings']}")
    return problems


def check(
    driver: Path,
    root: Path,
    script: list[str],
    steps: Steps,
    ever: tuple = (),
) -> str | None:
    """After a crash: all acknowledged is there, gc works, and then there is nothing to repair.

    Whoever opens may report problems `ever`."""
    rounds = look(driver, root)
    problems = []
    for when, found in zip(("opened", "collected", "opened again"), rounds):
        problems += [f"{when}: {p}" for p in compare(script, steps, found, ever)]
    problems += stored_problems(root, rounds[-1])
    left = [f for f in rounds[-1]["verify"]["findings"] if f["problem"] not in ever]
    if not problems and left:
        problems.append(f"still to be found after gc: {left}")
    return "; ".join(problems) or None


def fresh(root: Path, template: Path | None) -> Path:
    if template is not None:
        shutil.copytree(template, root)
    return root
