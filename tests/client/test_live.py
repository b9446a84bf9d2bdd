"""Folders that are written while they are sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from ml_dash import Experiment
from sync_runs import check_is_there, files_of, fill, make_run


def eventually(condition, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def points(server, file: str = "metrics/loss/data.jsonl") -> int:
    return sum(len(e.lines_of(file)) for e in server.experiments.values())


def test_a_run_is_followed(start, server):
    with Experiment("live", "digits", local_path=".ml-dash").run as e:
        e.metrics("loss").append(x=0)
        e.flush()
        process = start("--watch")
        assert eventually(lambda: points(server) == 1)
        for i in range(1, 30):
            e.metrics("loss").append(x=i)
            e.files.save_text(str(i), to=f"{i}.txt")
        e.files.save_blob(os.urandom(2_500_000), to="big.bin")
        assert eventually(lambda: points(server) == 30)
        assert eventually(lambda: len(server.only().files) == 30)
    folder = Path(e.directory)
    assert eventually(lambda: server.only().records()[-1]["type"] == "end")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "sent" in out
    check_is_there(server.only(), folder)


def test_an_idle_watch_asks_for_nothing(start, server):
    make_run(large=False)
    process = start("--watch")
    assert eventually(lambda: server.experiments and len(server.only().files) == 21)
    time.sleep(1.5)
    before = len(server.requests)
    time.sleep(3)
    assert len(server.requests) == before
    assert process.poll() is None


def test_new_runs_are_found(start, server):
    make_run("a", large=False)
    start("--watch")
    assert eventually(lambda: len(server.experiments) == 1)
    make_run("b", large=False)
    assert eventually(lambda: len(server.experiments) == 2)
    folder = Path(".ml-dash/digits/b").resolve()
    stored = next(e for e in server.experiments.values() if e.place[3] == "b")
    assert eventually(lambda: len(stored.files) == len(files_of(folder)))


def test_the_folder_may_be_renamed_meanwhile(start, server):
    folder = make_run()
    moved = folder.with_name("moved")

    def rename(request):
        if request.path.endswith("/status") and folder.exists():
            folder.rename(moved)

    server.hook = rename
    process = start(folder)
    assert process.wait(60) == 0
    check_is_there(server.only(), moved)


def test_replaced_checkpoints_of_a_live_run_are_no_problem(start, server):
    start_at = time.monotonic()
    with Experiment("live", "digits", local_path=".ml-dash", keep=1).run as e:
        e.params.set(a=1)
        e.flush()
        process = start("--watch")
        assert eventually(lambda: len(server.experiments) == 1)
        while time.monotonic() - start_at < 6:
            e.files.save_blob(os.urandom(100_000), to="last.bin")
            e.files.save_text("x", to="last.txt")
            time.sleep(0.03)
        e.flush()
    folder = Path(e.directory)
    assert eventually(lambda: set(files_of(folder)) <= set(server.only().files))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "is not sent" not in err


def test_a_killed_run_arrives_whole(sync, server, tmp_path):
    program = """
        import os, signal
        from ml_dash import Experiment
        with Experiment("killed", "digits", local_path=".ml-dash").run as e:
            for i in range(1000):
                e.metrics("loss").append(x=i)
            e.files.save_text("kept", to="a.txt")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    sync()
    assert points(server) == 1000
    assert len(server.only().files) == 1


def test_a_writer_of_another_boot_loses_nothing(sync, server):
    """After a crash of the machine, or on another machine: nobody knows whether it lives."""
    folder = make_run(large=False)
    records = folder / ".mldash" / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["type"] == "end"
    records.write_bytes(b"".join(lines[:-1]))
    mark = {"version": 1, "writer": "0" * 32, "boot": "x", "at": "x", "streams": {}}
    (folder / ".mldash" / "mark.0.json").write_text(json.dumps(mark))
    (folder / ".mldash" / "writers").mkdir(exist_ok=True)
    writer = {
        "version": 1,
        "writer": "0" * 32,
        "slot": 0,
        "host": "far",
        "boot": "00000000-0000-4000-8000-000000000000",
        "pid": 1,
        "started": "x",
    }
    (folder / ".mldash" / "writers" / "0.json").write_text(json.dumps(writer))
    sync(folder)
    check_is_there(server.only(), folder)


def test_two_syncers_of_one_folder(start, server):
    folder = make_run()
    server.hook = lambda r: time.sleep(0.01)
    first, second = start(folder), start(folder)
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    check_is_there(server.only(), folder)


def test_writers_in_several_processes(sync, server):
    program = """
        import sys
        from ml_dash import Experiment
        with Experiment("many", "digits", local_path=".ml-dash").run as e:
            for i in range(50):
                e.metrics("loss").append(x=i)
                e.files.save_text(sys.argv[1], to=f"{sys.argv[1]}-{i}.txt")
    """
    running = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(i)]) for i in range(4)
    ]
    assert [p.wait(60) for p in running] == [0] * 4
    sync()
    check_is_there(server.only(), Path(".ml-dash/digits/many"))


def test_a_resumed_run_goes_on(sync, server):
    folder = make_run(large=False)
    sync(folder)
    with Experiment("first", "digits", local_path=".ml-dash").run as e:
        fill(e, large=False, label="again")
    sync(folder)
    assert len(server.experiments) == 1
    check_is_there(server.only(), folder)
