"""A disk that is full, a file size that is limited, a folder that may not be written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from crash_tools import Steps, compare, look, run_driver

MB = 1 << 20


class Session:
    """A driver that is told one command after the other."""

    def __init__(self, driver: Path, root: Path, **options):
        self.process = subprocess.Popen(
            [driver, "talk", root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        self.script: list[str] = []
        self.steps = Steps()

    def say(self, command: str) -> tuple[str, str]:
        """("MLD_OK", "") or the error and its message."""
        number = len(self.script)
        self.script.append(command)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = self.process.stdout.readline() + self.process.stdout.readline()
        got = Steps.parse(lines)
        self.steps.tried += got.tried
        self.steps.acked.update(got.acked)
        self.steps.errors.update(got.errors)
        return got.errors.get(number, ("MLD_OK", ""))

    def ok(self, command: str) -> None:
        assert self.say(command) == ("MLD_OK", ""), command

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def talk(driver):
    sessions = []

    def start(root: Path, **options) -> Session:
        sessions.append(Session(driver, root, **options))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture
def tiny_disk():
    """A file system of 2 MB in memory."""
    with tempfile.TemporaryDirectory(prefix="mldash-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400", "tmpfs", name]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting a tmpfs needs root: {done.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def stored_files(root: Path) -> set[str]:
    return {p.name for p in (root / "crash/run/files").rglob("*") if p.suffix == ".bin"}


def fill(folder: Path) -> Path:
    """Takes all that is left."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return path


def check_session(driver: Path, root: Path, session: Session) -> None:
    (found,) = look(driver, root, "read")
    assert compare(session.script, session.steps, found) == []


def test_full_disk(driver, talk, tiny_disk):
    root = tiny_disk / "root"
    session = talk(root)
    session.ok("open")
    session.ok("save /m big.bin 700000 1")
    session.ok("save /m other.bin 500000 2")
    session.ok("point loss 1")
    session.ok("flush")

    # A save that does not fit leaves nothing, and what is there stays.
    for command in ("save /m c.bin 1500000 3", "write /m d.bin 1500000 4"):
        code, message = session.say(command)
        assert code == "MLD_ENOSPACE", message
        assert "bin" in message
    assert stored_files(root) == {"big.bin", "other.bin"}
    check_session(driver, root, session)

    # Not a byte is left: appending fails whole, and says so.
    filler = fill(tiny_disk)
    codes = {session.say(f"log {'x' * 400}")[0] for _ in range(40)}
    codes |= {session.say(f"point loss {i}")[0] for i in range(400)}
    assert codes == {"MLD_OK", "MLD_ENOSPACE"}
    check_session(driver, root, session)

    # Deleting and collecting need no space.
    session.ok("delete /m big.bin")
    session.ok("gc")
    assert stored_files(root) == {"other.bin"}
    session.ok("save /m again.bin 600000 5")
    session.ok("point loss 1000")
    session.ok("log works")
    filler.unlink()
    session.ok("flush")
    session.ok("end")
    check_session(driver, root, session)


def test_replace_on_a_full_disk(driver, talk, tiny_disk):
    """The old version stays when the new one does not fit."""
    root = tiny_disk / "root"
    session = talk(root)
    session.ok("open")
    session.ok("save / a.bin 1200000 1")
    session.ok("flush")
    code, _ = session.say("save / a.bin 1200000 2")
    assert code == "MLD_ENOSPACE"
    session.say("flush")
    check_session(driver, root, session)
    session.ok("save / a.bin 1000 3")
    session.ok("flush")
    check_session(driver, root, session)


def test_no_inodes_left(driver, talk, tiny_disk):
    root = tiny_disk / "root"
    session = talk(root)
    session.ok("open")
    codes = [session.say(f"save / {i}.bin 10 {i}")[0] for i in range(300)]
    assert set(codes) == {"MLD_OK", "MLD_ENOSPACE"}
    session.ok("delete / 0.bin")
    session.ok("delete / 1.bin")
    session.ok("gc")
    session.ok("save / again.bin 10 1")
    check_session(driver, root, session)


def test_limited_file_size(driver, talk, scratch):
    """Like a quota: EFBIG, without the signal's death."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MB, MB))

    session = talk(scratch / "root", preexec_fn=limit)
    session.ok("open")
    session.ok("save / a.bin 1000 1")
    code, message = session.say(f"save / b.bin {2 * MB} 2")
    assert code in ("MLD_ENOSPACE", "MLD_ETOOLARGE", "MLD_EIO"), message
    assert "b.bin" in message
    code, message = session.say(f"save / a.bin {2 * MB} 3")
    assert code != "MLD_OK"
    session.ok("save / c.bin 1000 4")
    session.ok("flush")
    check_session(driver, scratch / "root", session)
    assert stored_files(scratch / "root") == {"a.bin", "c.bin"}


@pytest.fixture
def obedient(driver) -> list:
    """The driver as a process that permissions hold for, also when root runs the tests."""
    if os.geteuid() != 0:
        return [driver]
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everything, and there is no setpriv")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", driver]


def test_read_only_folder(driver, obedient, scratch):
    root = scratch / "root"
    script = ["open", "save / a.bin 1000 1", "point loss 1", "log x", "end"]
    _, steps = run_driver(driver, root, script)
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        reader = subprocess.run([*obedient, "read", root], capture_output=True, check=True)
        writer = subprocess.run([*obedient, "run", root, "open"], capture_output=True, text=True)
    finally:
        for path in paths:
            path.chmod(0o777)
    assert compare(script, steps, json.loads(reader.stdout)) == []
    (error, *_) = [line for line in writer.stdout.splitlines() if line.startswith("err")]
    assert "MLD_EACCESS" in error
    assert "crash/run" in error or ".mldash" in error
