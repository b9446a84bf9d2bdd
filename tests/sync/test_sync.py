"""Run folders on their way to a real server: everything arrives, once, whatever breaks."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import ml_dash
import pytest
from sync_tools import COMMAND, CuttingProxy, run_python, sync, sync_environment, wait_for


def big(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def make_run(root, name="run", project="digits", **options):
    return ml_dash.Experiment(
        name=name, project=project, local_path=str(root), progress=False, **options
    )


def fill(e) -> None:
    e.params.set(lr=0.1, model={"depth": 3}, odd=float("nan"))
    for i in range(100):
        e.metrics("train/loss").append(value=1 / (i + 1), epoch=i)
    e.log("hello", level="info")
    e.tracks("robot/pose").append(x=1.0, _ts=5.0)
    for i in range(20):
        e.files(prefix="/small", tags=["small"], metadata={"i": i}).save_blob(
            b"x" * i, to=f"{i}.bin"
        )
    e.files(prefix="/models", tags=["best"]).save_blob(big(9_000_000), to="model.bin")


def same_files(server, e_remote, e_local) -> None:
    """Each file that the library lists is there, as it says, with its bytes."""
    local = {f["id"]: f for f in e_local.files().list()}
    remote = {f["id"]: f for f in server.files(e_remote)}
    assert set(local) == set(remote)
    for file_id, mine in local.items():
        theirs = remote[file_id]
        for key in ("path", "filename", "tags", "sizeBytes", "checksum", "metadata"):
            assert theirs[key] == mine[key], key
        content = server.content(e_remote, theirs)
        assert hashlib.sha256(content).hexdigest() == mine["checksum"]


def test_everything_arrives_and_a_second_sync_sends_nothing(server, tmp_path):
    run = make_run(tmp_path / "runs", description="first", tags=["a", "b"])
    with run.run as e:
        fill(e)
    folder = tmp_path / "runs/digits/run"
    report = sync(server, folder)
    assert report["place"] == "ada/digits/run"
    assert (report["filesSent"], report["filesLeft"], report["filesFailed"]) == (21, 0, 0)
    remote = server.experiment("run")
    assert remote["status"] == "COMPLETED"
    assert remote["description"] == "first" and remote["tags"] == ["a", "b"]
    with make_run(tmp_path / "runs").run as e:
        same_files(server, remote, e)
    data = server.get(f"/api/v1/experiments/{remote['id']}/parameters")["data"]
    assert data["lr"] == 0.1 and data["model.depth"] == 3
    points = server.lines(remote, "metric")
    assert [p["index"] for p in points] == list(range(100))
    assert [line["message"] for line in server.lines(remote, "log")] == ["hello"]
    assert len(server.lines(remote, "track")) == 1

    sync(server, folder)
    again = sync(server, folder)
    assert (again["filesSent"], again["linesBytesSent"], again["bytesSent"]) == (0, 0, 0)


def test_a_cut_connection_is_taken_up_again(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        fill(e)
        e.files().save_blob(big(40_000_000, 2), to="huge.bin")
    proxy = CuttingProxy(server.port, cut_after=12_000_000)
    real = server.url
    server.url = f"http://127.0.0.1:{proxy.port}"
    report = sync(server, tmp_path / "runs/digits/run")
    server.url = real
    proxy.close()
    assert proxy.cuts > 0
    assert report["filesLeft"] == 0
    remote = server.experiment("run")
    (huge,) = [f for f in server.files(remote) if f["filename"] == "huge.bin"]
    assert server.content(remote, huge) == big(40_000_000, 2)


def test_lines_that_go_packed_arrive_as_they_were(server, tmp_path):
    """To 0.0.0.0, which is this machine, but no name of it."""
    with make_run(tmp_path / "runs").run as e:
        e.metrics("loss").append_batch([dict(value=i * 0.5, step=i) for i in range(20_000)])
    server.stop()
    server.words = ("--host", "0.0.0.0")
    server.start()
    server.url = server.url.replace("127.0.0.1", "0.0.0.0")
    report = sync(server, tmp_path / "runs/digits/run")
    remote = server.experiment("run")
    assert report["linesBytesSent"] == sum(s["offset"] for s in server.streams(remote))
    assert [p["data"]["value"] for p in server.lines(remote, "metric")][::1000] == [
        i * 0.5 for i in range(0, 20_000, 1000)
    ]
    assert sync(server, tmp_path / "runs/digits/run")["linesBytesSent"] == 0


WRITER = """
import sys, time, ml_dash
e = ml_dash.Experiment(name="live", project="digits", local_path="runs", progress=False)
e.run.start()
i = 0
while True:
    e.metrics("loss").append(value=float(i), epoch=i)
    e.files(prefix="/f").save_blob(b"%d" % i, to=f"{i}.txt")
    if i % 20 == 0:
        e.flush()
        print(i, flush=True)
    i += 1
    time.sleep(0.005)
"""


def test_kill_either_side_at_any_moment(server, tmp_path):
    """Every flushed point and file is at the server once, in spite of kill -9 of writer, syncer and
    server again and again."""
    writer = run_python(WRITER, tmp_path)
    folder = tmp_path / "runs/digits/live"
    wait_for(lambda: (folder / ".mldash/mark.0.json").exists())
    chance = random.Random(3)
    for i in range(8):
        syncer = subprocess.Popen(
            [COMMAND, "sync", folder, "--quiet", "--patience", "60"],
            env=sync_environment(server, tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.05, 0.8))
        if i % 2 == 0:
            server.kill()
            time.sleep(chance.uniform(0, 0.3))
            server.start()
        time.sleep(chance.uniform(0.05, 0.5))
        syncer.kill()
        syncer.wait()
    writer.kill()
    acknowledged = int(writer.stdout.read().split()[-1])
    sync(server, folder)
    remote = server.experiment("live")
    indices = [p["index"] for p in server.lines(remote, "metric")]
    assert indices == list(range(len(indices))) and len(indices) > acknowledged
    names = sorted(int(f["filename"][:-4]) for f in server.files(remote))
    assert names == list(range(len(names))) and len(names) > acknowledged
    for file in server.files(remote, limit=1000)[::50]:
        assert server.content(remote, file) == file["filename"][:-4].encode()


def test_a_live_run_is_watched_and_may_be_renamed(server, tmp_path):
    writer = run_python(WRITER, tmp_path)
    folder = tmp_path / "runs/digits/live"
    wait_for(lambda: (folder / ".mldash/mark.0.json").exists())
    watcher = subprocess.Popen(
        [COMMAND, "sync", folder, "--quiet", "--watch"],
        env=sync_environment(server, tmp_path),
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: any(e["name"] == "live" for e in server.experiments()))
    remote = server.experiment("live")
    assert remote["status"] == "RUNNING"
    seen = wait_for(lambda: len(server.files(remote)))
    wait_for(lambda: len(server.files(remote)) > seen + 20)
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(30) == 0
    writer.kill()


def test_two_copies_that_were_both_resumed_become_two_experiments(server, tmp_path):
    with make_run(tmp_path / "one").run as e:
        e.metrics("loss").append(value=1.0)
        e.files().save_blob(b"shared", to="shared.txt")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for root, value in (("one", 2.0), ("two", 3.0)):
        with make_run(tmp_path / root).run as e:
            e.metrics("loss").append(value=value)
            e.files().save_blob(root.encode(), to=f"{root}.txt")
    first = sync(server, tmp_path / "one/digits/run")
    second = sync(server, tmp_path / "two/digits/run")
    assert first["experiment"] != second["experiment"]
    assert "copied" in second["stderr"]
    assert len(server.experiments()) == 2
    for report, name in ((first, "one"), (second, "two")):
        files = server.files({"id": report["experiment"]})
        assert sorted(f["filename"] for f in files) == sorted(["shared.txt", f"{name}.txt"])
    again = sync(server, tmp_path / "two/digits/run")
    assert again["experiment"] == second["experiment"] and again["filesSent"] == 0


def test_two_machines_write_one_experiment(server, tmp_path):
    for root in ("one", "two"):
        with make_run(tmp_path / root).run as e:
            e.params.set(**{root: 1})
            e.files().save_blob(root.encode(), to=f"{root}.txt")
        sync(server, tmp_path / root / "digits/run")
    remote = server.experiment("run")
    assert sorted(f["filename"] for f in server.files(remote)) == ["one.txt", "two.txt"]
    data = server.get(f"/api/v1/experiments/{remote['id']}/parameters")["data"]
    assert data == {"one": 1, "two": 1}


def test_one_damaged_file_does_not_stop_the_others(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        bad = e.files().save_blob(b"good bytes", to="bad.txt")
        large = e.files().save_blob(big(300_000), to="large.bin")
        e.files().save_blob(b"fine", to="fine.txt")
    folder = tmp_path / "runs/digits/run"
    (folder / f"files/{bad['id']}/bad.txt").write_bytes(b"evil bytes")
    (folder / f"files/{large['id']}/large.bin").write_bytes(big(300_000, 7))
    report = sync(server, folder, check=False)
    assert report["exit"] == 1 and report["filesFailed"] == 2
    assert "bad.txt" in report["stderr"] and "large.bin" in report["stderr"]
    remote = server.experiment("run")
    assert [f["filename"] for f in server.files(remote)] == ["fine.txt"]


def test_replaced_and_deleted_files_are_not_missed(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        for i in range(5):
            e.files().save_blob(big(100_000, i), to="model.bin")
        gone = e.files().save_blob(b"gone", to="gone.txt")
        e.files(file_id=gone["id"]).delete()
    report = sync(server, tmp_path / "runs/digits/run")
    assert report["filesFailed"] == 0
    remote = server.experiment("run")
    (only,) = server.files(remote)
    assert server.content(remote, only) == big(100_000, 4)


def test_a_wrong_token_says_what_to_do(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        e.params.set(a=1)
    server.token = "mld_" + "a" * 43
    report = sync(server, tmp_path / "runs/digits/run", check=False)
    assert report["exit"] == 3
    assert "401" in report["stderr"] or "log" in report["stderr"]


def test_no_server_keeps_everything_here(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        fill(e)
    server.kill()
    folder = tmp_path / "runs/digits/run"
    report = sync(server, folder, check=False, patience=2)
    assert report["exit"] == 3 and report["error"]
    server.start()
    assert sync(server, folder)["filesSent"] == 21


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_at_the_server_is_said_and_passes(server, tmp_path):
    """507, nothing half-stored, works again once there is room."""
    server.stop()
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mount]).returncode != 0:
        pytest.skip("no mount here")
    try:
        server.data = mount / "data"
        server.start()
        server.token = server.user("ada")
        with make_run(tmp_path / "runs").run as e:
            e.files().save_blob(big(30_000_000), to="huge.bin")
            e.files().save_blob(b"small", to="small.txt")
        folder = tmp_path / "runs/digits/run"
        report = sync(server, folder, check=False, patience=3)
        assert report["exit"] == 3 and "507" in report["stderr"]
        assert server.get("/api/v1/me")["user"]["username"] == "ada"  # it serves on
        subprocess.run(["mount", "-o", "remount,size=200m", mount], check=True)
        assert sync(server, folder)["filesLeft"] == 0
        remote = server.experiment("run")
        assert {f["filename"] for f in server.files(remote)} == {"huge.bin", "small.txt"}
    finally:
        server.stop()
        subprocess.run(["umount", "-l", mount])


def test_json_report_is_json(server, tmp_path):
    with make_run(tmp_path / "runs").run as e:
        e.params.set(a=1)
    done = subprocess.run(
        [COMMAND, "sync", tmp_path / "runs", "--json"],
        capture_output=True,
        text=True,
        env=sync_environment(server, tmp_path),
    )
    assert done.returncode == 0
    assert [f["error"] for f in json.loads(done.stdout)["folders"]] == [None]
