"""kill -9 at each system call: what was acknowledged is there afterwards, the rest whole or not."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from crash_tools import (
    Steps,
    check,
    compare,
    for_each,
    fresh,
    make_bytes,
    run_driver,
    sha_of,
    thin_out,
    trace_points,
)

OPEN = ["open"]
BASE = [
    "open",
    "save /m a.bin 1000 1",
    "save /m b.bin 1000 2",
    "save / c.txt 10 3",
    "point loss 1",
    "track pos 1",
    "log first",
    "params lr 1",
    "flush",
]
# Scripts by name; kill points lie between begin and stop. {source} is a file of 5,000 bytes.
SCRIPTS = {
    "save": [
        *BASE,
        "begin",
        "save /new/deep d.bin 3000 4",
        "path /m e.bin {source}",
        "write /m f.bin 2000 6",
        "save /m g.bin 100 7",
        "stop",
    ],
    "save-durable": [
        *BASE,
        "begin",
        "save /new/deep d.bin 3000 4 durable",
        "path /m e.bin {source} durable",
        "stop",
    ],
    "replace": [
        *BASE,
        "begin",
        "save /m a.bin 2000 4",
        "flush",
        "save /m a.bin 2000 5",
        "save /m a.bin 2000 6",
        "save /m b.bin 2000 7",
        "flush",
        "stop",
    ],
    "replace-durable": [
        *BASE,
        "begin",
        "save /m a.bin 2000 4 durable",
        "flush",
        "stop",
    ],
    "append": [
        *BASE,
        "begin",
        "point loss 2",
        "point acc/train 3",
        "batch loss 50 100",
        "track pos 2",
        "track new 3",
        "log second",
        "params lr 2",
        "params bs 64",
        "flush",
        "stop",
    ],
    "change": [
        *BASE,
        "begin",
        "alias /m a.bin best",
        "save /m a.bin 2000 4",
        "flush",
        "alias /m a.bin best",
        "update /m b.bin words",
        "delete /m b.bin",
        "restore",
        "dup /m a.bin h.bin",
        "unalias /m a.bin best",
        "delete / c.txt",
        "flush",
        "stop",
    ],
    "end": [*BASE, "begin", "views", "end", "stop"],
    "first-open": ["begin", "open", "save / a.bin 10 1", "stop"],
}
# Another writer ended cleanly; one died with bytes to collect, a torn line and a loose file.
GARBAGE = [
    *BASE,
    "alias /m b.bin best",
    "save /m a.bin 2000 4",
    "save /m b.bin 2000 5",
    "delete / c.txt",
]
AFTER = {
    "resume": ["begin", "open", "save / z.bin 10 9", "point loss 7", "log third", "stop"],
    "gc": ["open", "begin", "gc", "stop"],
    "gc-offline": ["open", "begin", "gc offline", "delete /m a.bin", "gc offline", "stop"],
}


def put_source(folder: Path) -> Path:
    source = folder / "5000-11.src"
    source.write_bytes(make_bytes(5000, 11))
    return source


def kill_everywhere(driver: Path, scratch: Path, script: list[str], judge, template=None):
    """Kills at each call; judge(root, steps) says what is wrong. Returns (points, findings)."""
    points = thin_out(trace_points(driver, fresh(scratch / "clean", template), script))
    missed = []

    def kill(index: int, point: tuple[str, int]) -> str | None:
        name, n = point
        root = fresh(scratch / f"kill-{index}", template)
        inject = f"inject={name}:signal=KILL:when={n}"
        code, steps = run_driver(
            driver, root, script, "strace", "-qq", "-o", "/dev/null", "-e", inject
        )
        if code == 0:
            missed.append(point)
        found = judge(root, steps)
        shutil.rmtree(root, ignore_errors=True)
        return f"killed at {name} number {n}: {found}" if found else None

    found = for_each(points, kill)
    # Threads that wait for each other make a call more or less from run to run.
    assert len(missed) <= max(3, len(points) // 10), missed
    return points, found


def show(name: str, points: list, found: list[str]) -> None:
    print(f"{name}: {len(points)} kill points, {len(found)} failures")
    assert not found, "\n".join(found[:10])


@pytest.mark.parametrize("name", SCRIPTS)
def test_kill_at_each_call(driver, strace, scratch, name):
    source = put_source(scratch)
    script = [command.format(source=source) for command in SCRIPTS[name]]
    points, found = kill_everywhere(
        driver, scratch, script, lambda root, steps: check(driver, root, script, steps)
    )
    assert len(points) > 10
    show(name, points, found)


@pytest.fixture
def left_behind(driver, scratch) -> Path:
    """A folder whose last writer was killed, with all that can lie about."""
    template = scratch / "template"
    run_driver(driver, template, [*BASE, "end"])
    process = subprocess.Popen(
        [driver, "run", template, *GARBAGE, "sleep 60000"], stdout=subprocess.PIPE
    )
    for line in process.stdout:
        if line.startswith(b"try %d" % len(GARBAGE)):
            break
    process.kill()
    process.wait()
    process.stdout.close()
    folder = template / "crash/run"
    with open(folder / ".mldash/records.jsonl", "ab") as records:
        records.write(b'{"type":"file","clo')
    with open(folder / "metrics/loss/data.jsonl", "ab") as points:
        points.write(b'{"index":1,"da')
    saved = next((folder / "files/m").iterdir()).name
    loose = folder / f"files/m/{int(saved) + 100}/loose.bin"
    loose.parent.mkdir(parents=True)
    loose.write_bytes(b"loose")
    return template


@pytest.mark.parametrize("name", AFTER)
def test_kill_after_a_crash(driver, strace, scratch, left_behind, name):
    before = [*BASE, "end", *GARBAGE]
    script = AFTER[name]

    def judge(root: Path, steps: Steps) -> str | None:
        shift = len(before)
        whole = Steps(
            tried=[*range(shift), *(i + shift for i in steps.tried)],
            acked={
                **{i: [] for i in range(shift)},
                **{i + shift: rest for i, rest in steps.acked.items()},
            },
        )
        # The metric's torn line is told at each open until somebody appends to that shard.
        return check(driver, root, before + script, whole, ever=("torn",))

    points, found = kill_everywhere(driver, scratch, script, judge, left_behind)
    assert len(points) > 10
    show(name, points, found)


def look_at_naive(root: Path) -> dict:
    """What is there, in the form of the driver's findings; bytes are hashed as they lie."""
    found = {
        "error": "MLD_OK",
        "message": "",
        "files": [],
        "metrics": {},
        "tracks": {},
        "logs": [],
        "params": {},
        "problems": 0,
        "verify": {"findings": []},
    }
    try:
        names = json.loads((root / "index.json").read_text())["files"]
        for name in names:
            found["files"].append(
                {
                    "path": "/",
                    "filename": name,
                    "id": name,
                    "checksum": sha_of((root / name).read_bytes()),
                    "newest": True,
                    "deleted": False,
                    "damaged": False,
                    "read": "MLD_OK",
                    "aliases": [],
                    "description": None,
                }
            )
    except (OSError, ValueError) as error:
        found.update(error="MLD_EIO", message=str(error))
    return found


def test_a_naive_writer_is_caught(naive, strace, scratch):
    """The same check finds torn files, lost files and an index that does not read."""
    script = [
        "open",
        "save / a.bin 100 1",
        "begin",
        "save / b.bin 100 2",
        "save / a.bin 100 3",
        "stop",
    ]

    def judge(root: Path, steps: Steps) -> str | None:
        return "; ".join(compare(script, steps, look_at_naive(root))) or None

    points, found = kill_everywhere(naive, scratch, script, judge)
    print(f"naive writer: {len(points)} kill points, {len(found)} failures")
    assert len(found) > len(points) // 4
    assert any("nobody saved" in text for text in found)
    assert any("does not open" in text for text in found)
    assert judge(scratch / "clean", Steps(acked={i: [] for i in range(6)})) is None


KEEPER = [
    *BASE,
    "save /m a.bin 2000 4",
    "save /new d.bin 2000 5",
    "point loss 2",
    "log second",
    "sleep 60000",
]


def start_until_sleep(driver: Path, root: Path) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen([driver, "run", root, *KEEPER], stdout=subprocess.PIPE, text=True)
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith(f"try {len(KEEPER) - 1}"):
            break
    return process, said


def attach(process: subprocess.Popen, *options: str) -> subprocess.Popen:
    """Traces the thread that makes things durable, and it alone: it begins to work a second after
    the first write."""
    (tid,) = [
        t.name for t in Path(f"/proc/{process.pid}/task").iterdir() if int(t.name) != process.pid
    ]
    return subprocess.Popen(
        ["strace", "-qq", "-p", tid, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def trace_keeper(driver: Path, scratch: Path) -> list[tuple[str, int]]:
    path = scratch / "keeper.trace"
    process, _ = start_until_sleep(driver, scratch / "clean")
    tracer = attach(process, "-o", str(path))
    time.sleep(2.0)  # a second of waiting, then its work, then the thread ends
    process.kill()
    process.communicate()
    tracer.communicate()
    seen: dict[str, int] = {}
    points = []
    for line in path.read_text(errors="replace").splitlines():
        name = line.split("(")[0]
        if name.isidentifier() and name != "exit":
            seen[name] = seen.get(name, 0) + 1
            points.append((name, seen[name]))
    return points


def test_kill_at_each_call_of_the_background_thread(driver, strace, scratch):
    points = thin_out(trace_keeper(driver, scratch))
    names = {name for name, _ in points}
    assert {"fsync", "fdatasync", "unlinkat"} <= names, points
    missed = []

    def kill(index: int, point: tuple[str, int]) -> str | None:
        name, n = point
        root = scratch / f"kill-{index}"
        process, said = start_until_sleep(driver, root)
        tracer = attach(process, "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={n}")
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            missed.append(point)
            process.kill()
        process.communicate()
        tracer.communicate()
        found = check(driver, root, KEEPER, Steps.parse(said))
        shutil.rmtree(root)
        return f"killed at {name} number {n} of the thread: {found}" if found else None

    found = for_each(points, kill, workers=16)
    assert len(missed) <= max(3, len(points) // 10), missed
    show("background thread", points, found)
