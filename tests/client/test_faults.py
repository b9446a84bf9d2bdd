"""What the network and the server do wrong: it is tried again, and everything is there once."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import pytest
from ml_dash import Experiment
from sync_runs import check_is_there, make_run, records_of
from sync_server import Fault


def once_each(faults: dict[int, Fault]):
    return lambda request: faults.get(request.n)


@pytest.mark.parametrize("how", ["before", "after"])
def test_any_request_may_break(sync, server, how):
    folder = make_run()
    server.fault = lambda r: Fault(**{how: True}) if r.n % 3 == 2 else None
    sync(folder)
    check_is_there(server.only(), folder)


def test_each_request_broken_in_turn(sync, server):
    folder = make_run()
    sync(folder)
    for n in range(1, len(server.requests) + 1):
        server.experiments.clear()
        server.requests.clear()
        server.fault = once_each({n: Fault(after=True)})
        sync(folder)
        check_is_there(server.only(), folder)


def test_cut_after_some_bytes(sync, server):
    folder = make_run()
    chance = random.Random(7)
    server.fault = lambda r: (
        Fault(cut=chance.randrange(r.size)) if r.size > 0 and chance.random() < 0.3 else None
    )
    sync(folder)
    check_is_there(server.only(), folder)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507])
def test_passing_answers(sync, server, status):
    folder = make_run()
    server.fault = lambda r: Fault(status=status) if r.n % 4 == 3 else None
    sync(folder)
    check_is_there(server.only(), folder)


def test_a_full_server_is_said_and_waited_for(sync, server):
    folder = make_run(large=False)
    server.fault = lambda r: (
        Fault(status=507, code="no_space") if r.path.endswith("small") and r.n < 8 else None
    )
    done = sync(folder)
    assert "507" in done.stderr
    check_is_there(server.only(), folder)


def test_no_room_for_one_file_holds_up_no_other(sync, server):
    with Experiment("x", "digits", local_path=".ml-dash").run as e:
        for i in range(4):
            e.files.save_blob(bytes([i]) * 200_000, to=f"{i}.bin")
        e.files.save_text("small", to="small.txt")
    # The first one never finds room.
    ids = [r["id"] for r in records_of(Path(e.directory)) if r["type"] == "file"]
    server.full = {ids[0]}
    done = sync(e.directory, "--patience", 2, code=3)
    assert "507" in done.stderr
    assert set(server.only().files) == set(ids[1:])
    server.full = set()
    sync(e.directory)
    assert set(server.only().files) == set(ids)


def test_retry_after_is_kept_to(sync, server):
    folder = make_run(large=False)
    times: list[float] = []
    server.hook = lambda r: times.append(time.monotonic())
    server.fault = lambda r: Fault(status=503, headers={"Retry-After": "2"}) if r.n == 1 else None
    sync(folder)
    assert times[1] - times[0] >= 1.9
    check_is_there(server.only(), folder)


def test_no_token(sync, server):
    folder = make_run(large=False)
    done = sync(folder, code=3, ML_DASH_TOKEN="wrong")
    assert "ml-dash login" in done.stderr
    assert len(server.requests) == 1
    done = sync(folder, code=3, ML_DASH_TOKEN="")
    assert "ml-dash login" in done.stderr


def test_a_token_with_a_newline(sync, server):
    folder = make_run(large=False)
    sync(folder, ML_DASH_TOKEN="reference-token\n")
    check_is_there(server.only(), folder)


def test_nobody_listens(sync, server):
    for name in "abcdef":
        make_run(name, large=False)
    start = time.monotonic()
    done = sync("--patience", 1, code=3, ML_DASH_URL="http://127.0.0.1:9")
    assert "127.0.0.1:9" in done.stderr
    assert time.monotonic() - start < 20  # not once more for each folder
    assert server.requests == []


def test_bytes_garbled_on_the_way_are_sent_again(sync, server):
    folder = make_run()
    server.fault = lambda r: (
        Fault(status=422, code="checksum") if "/parts/" in r.path and r.n % 2 == 0 else None
    )
    sync(folder)
    check_is_there(server.only(), folder)


def test_a_refused_file_stops_nothing(sync, server):
    with Experiment("x", "digits", local_path=".ml-dash").run as e:
        for i in range(3):
            e.files.save_blob(bytes([i]) * 200_000, to=f"{i}.bin")
        e.files.save_text("small", to="small.txt")
    seen: list[int] = []

    def refuse(request):
        if request.path.endswith("/uploads"):
            seen.append(request.n)
        return Fault(status=413, code="too_large") if request.n in seen[:1] else None

    server.fault = refuse
    done = sync(e.directory, code=1)
    assert "413" in done.stderr
    assert len(server.only().files) == 3


def test_a_proxy_that_answers_everything(sync, server):
    folder = make_run(large=False)
    server.fault = lambda r: Fault(status=302, headers={"Location": "http://127.0.0.1:9/login"})
    done = sync(folder, code=3)
    assert "302" in done.stderr
    assert len(server.requests) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_command_is_killed_again_and_again(start, sync, server, seed):
    folder = make_run(f"run{seed}")
    chance = random.Random(seed)
    # The n-th request is the last of each process, whatever the machine's speed.
    for _ in range(12):
        reached = threading.Event()
        last = len(server.requests) + chance.randrange(1, 12)
        server.hook = lambda r, last=last, reached=reached: r.n >= last and reached.set()
        process = start(folder)
        while process.poll() is None and not reached.wait(0.02):
            pass
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.wait()
    sync(folder)
    check_is_there(server.only(), folder)


def test_ctrl_c_ends_it_soon(start, server):
    folder = make_run()
    server.fault = lambda r: (
        Fault(status=503, headers={"Retry-After": "60"}) if "/parts/" in r.path else None
    )
    process = start(folder)
    while not server.count("PUT", "/parts/"):
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.wait(30)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
