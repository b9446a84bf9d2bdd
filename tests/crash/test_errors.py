"""An error of each system call, one at a time: it is named, leaves nothing half, and passes."""

from __future__ import annotations

import shutil

import pytest
from crash_tools import Steps, check, compare, for_each, look, make_bytes, run_driver, trace_points

BASE = ["open", "save /m a.bin 1000 1", "save /m b.bin 500 2", "point loss 1", "log first", "flush"]
SCRIPTS = {
    "save": [
        *BASE,
        "begin",
        "save /new/deep d.bin 3000 4",
        "path /m e.bin {source}",
        "write /m f.bin 2000 6",
        "save /m a.bin 1000 7",
        "stop",
        "flush",
        "save / later.bin 10 8",
        "point loss 2",
    ],
    "durable": [
        *BASE,
        "begin",
        "save /new/deep d.bin 3000 4 durable",
        "save /m a.bin 1000 7 durable",
        "stop",
        "flush",
        "save / later.bin 10 8 durable",
        "flush",
    ],
    "append": [
        *BASE,
        "begin",
        "point loss 2",
        "point acc 3",
        "batch acc 20 4",
        "track pos 2",
        "log second",
        "params lr 2",
        "flush",
        "stop",
        "point loss 9",
        "log third",
        "params lr 3",
        "save / later.bin 10 8",
    ],
    "change": [
        *BASE,
        "begin",
        "alias /m a.bin best",
        "update /m b.bin words",
        "dup /m a.bin c.bin",
        "delete /m b.bin",
        "gc",
        "stop",
        "save / later.bin 10 8",
    ],
    "open": ["begin", "open", "stop", "save / later.bin 10 8", "point loss 1"],
    "end": [*BASE, "begin", "views", "end", "stop"],
}
# What may fail, with the errors that mean something for it.
ERRORS = {
    "write": ["EIO", "ENOSPC"],
    "fsync": ["EIO", "ENOSPC"],
    "fdatasync": ["EIO"],
    "openat": ["EIO", "EMFILE"],
    "openat2": ["EIO", "ENOSPC"],
    "mkdirat": ["ENOSPC"],
    "renameat": ["EIO"],
    "renameat2": ["ENOSPC"],
    "linkat": ["EDQUOT"],
    "unlinkat": ["EIO"],
    "ftruncate": ["EIO"],
    "close": ["EIO"],
    "read": ["EIO"],
    "pread64": ["EIO"],
    "flock": ["ENOLCK"],
    "getdents64": ["EIO"],
    "newfstatat": ["EIO"],
    "fchmod": ["EPERM"],
}
# A change whose record is written counts, even if the call then fails.
MAY_COUNT = ("delete", "alias", "update", "dup", "views", "end", "gc", "flush", "open")


def points_of(driver, root, script) -> list[tuple[str, int, str]]:
    return [
        (name, n, error)
        for name, n in trace_points(driver, root, script)
        for error in ERRORS.get(name, [])
    ]


def allowed(script: list[str], steps: Steps) -> list[Steps]:
    """With or without the changes that failed."""
    doubtful = [i for i in steps.errors if script[i].split()[0] in MAY_COUNT]
    all_of_them = Steps(steps.tried, {**steps.acked, **{i: [] for i in doubtful}}, steps.errors)
    return [steps, all_of_them]


def judge(driver, root, script, steps: Steps) -> str | None:
    problems = []
    for i, (code, message) in steps.errors.items():
        if len(message) < 15 or code in ("MLD_EINVALID", "MLD_ENAME"):
            problems.append(f"{script[i]}: unclear error {code} {message!r}")
    after = script.index("stop")
    # A flush may still have to report what the background thread met.
    late = [i for i in steps.errors if i > after and script[i] != "flush"]
    problems += [f"{script[i]} fails later, too: {steps.errors[i]}" for i in late]
    if len([i for i in steps.errors if i < after]) > 2:
        problems.append(f"one error made many calls fail: {steps.errors}")
    # That an fsync failed is said once and then known for ever: what it was for is in doubt.
    ever = (
        ("unsafe",)
        if any("durable" in m or "survive" in m for _, m in steps.errors.values())
        else ()
    )
    (found,) = look(driver, root, "read")
    verdicts = [compare(script, s, found, ever) for s in allowed(script, steps)]
    if all(verdicts):
        problems += verdicts[0]
    else:
        good = next(s for s, v in zip(allowed(script, steps), verdicts) if not v)
        problems += filter(None, [check(driver, root, script, good, ever=ever)])
    return f"{problems}, errors {steps.errors}" if problems else None


@pytest.mark.parametrize("name", SCRIPTS)
def test_error_of_each_call(driver, strace, scratch, name):
    source = scratch / "5000-11.src"
    source.write_bytes(make_bytes(5000, 11))
    script = [command.format(source=source) for command in SCRIPTS[name]]
    points = points_of(driver, scratch / "clean", script)
    reported = []

    def fail(index: int, point: tuple[str, int, str]) -> str | None:
        call, n, error = point
        root = scratch / f"error-{index}"
        inject = f"inject={call}:error={error}:when={n}"
        code, steps = run_driver(
            driver, root, script, "strace", "-qq", "-o", "/dev/null", "-e", inject
        )
        assert code == 0
        reported.extend(steps.errors)
        found = judge(driver, root, script, steps)
        if call in ("fsync", "fdatasync") and not steps.errors:
            found = f"nobody was told; {found}"
        shutil.rmtree(root)
        return f"{error} of {call} number {n}: {found}" if found else None

    found = for_each(points, fail)
    print(f"{name}: {len(points)} errors, {len(reported)} reported, {len(found)} failures")
    assert reported
    assert not found, "\n".join(found[:20])
