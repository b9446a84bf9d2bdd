"""Folders that lie there: what arrives, what is sent again, what a broken folder does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ml_dash import Experiment
from sync_runs import check_is_there, files_of, fill, make_run, records_of


def test_everything_arrives(sync, server):
    folder = make_run()
    done = sync(folder)
    assert "sent 22 files" in done.stdout
    check_is_there(server.only(), folder)
    assert server.only().place == ("ada", "digits", "", "first")
    assert {kind for kind, _, _ in server.only().kinds.values()} == {
        "records",
        "metric",
        "track",
        "log",
    }
    # Small files and lines go together.
    assert server.count("POST", "/files/small") == 1
    assert server.count("POST", "/streams$") <= 2
    assert server.count("PUT", "/parts/") == 4


def test_the_second_time_nothing_is_sent(sync, server, tmp_path):
    folder = make_run()
    sync(folder)
    before = len(server.requests)
    elsewhere = shutil.copytree(folder, tmp_path / "copy")
    for again in (folder, elsewhere):
        assert "everything is there already" in sync(again).stdout or again == elsewhere
    sent = [r for r in server.requests[before:] if not r.path.endswith(("/heads", "/status"))]
    assert all(r.path.endswith("/experiments") or r.path.endswith("/me") for r in sent), sent
    assert sum(r.size for r in server.requests[before:]) < 20_000


def test_place_by_prefix(sync, server):
    server.members.add("team")
    with Experiment(prefix="team/digits/a/b/name", dash_root=".dash").run as e:
        e.params.set(a=1)
    sync(".dash")
    assert server.only().place == ("team", "digits", "a/b", "name")


def test_prefix_of_somebody_else_goes_to_ones_own(sync, server):
    with Experiment(prefix="somebody/digits/name", dash_root=".dash").run as e:
        e.params.set(a=1)
    sync(".dash")
    assert server.only().place == ("ada", "digits", "", "name")


def test_namespace_option(sync, server):
    server.members.add("team")
    folder = make_run(large=False)
    sync(folder, "--namespace", "team")
    assert server.only().place[0] == "team"
    done = sync(folder, "--namespace", "nobody", code=3)
    assert "nobody" in done.stderr


def test_all_folders_of_a_root(sync, server):
    for name in ("a", "b", "c"):
        make_run(name, large=False)
    report = json.loads(sync("--json").stdout)
    assert len(server.experiments) == 3
    assert {f["place"] for f in report["folders"]} == {f"ada/digits/{n}" for n in "abc"}
    assert all(f["filesLeft"] == 0 and f["error"] is None for f in report["folders"])


def test_damaged_and_missing_bytes_stop_nothing(sync, server):
    folder = make_run()
    by_name = {r["filename"]: r["id"] for r in records_of(folder) if r["type"] == "file"}
    paths = {p.name: p for p in folder.glob("files/**/*.*") if p.is_file()}
    paths["00.txt"].write_text("Text 0")
    paths["01.txt"].unlink()
    paths["02.txt"].unlink()
    paths["02.txt"].mkdir()
    data = bytearray(paths["big.bin"].read_bytes())
    data[2_000_000] ^= 1
    paths["big.bin"].write_bytes(data)
    done = sync(folder, code=1)
    lost = {by_name[n] for n in ("00.txt", "01.txt", "02.txt", "big.bin")}
    there = {r["id"] for r in records_of(folder) if r["type"] == "file"} - lost
    assert set(server.only().files) == there
    for name in ("00.txt", "01.txt", "02.txt", "big.bin"):
        assert f"{name} ({by_name[name]}) is not sent" in done.stderr
    assert "not sent: 4 files" in done.stdout


def test_a_large_file_that_cannot_be_opened_stops_nothing(sync, server):
    with Experiment("x", "digits", local_path=".ml-dash").run as e:
        for i in range(3):
            e.files.save_blob(bytes(200_000), to=f"{i}.bin")
    folder = Path(e.directory)
    path = next(folder.glob("files/**/0.bin"))
    path.unlink()
    path.mkdir()
    done = sync(folder, code=1)
    assert "0.bin" in done.stderr
    assert len(server.only().files) == 2


def test_replaced_versions_are_not_missed(sync, server):
    with Experiment("x", "digits", local_path=".ml-dash", keep=1).run as e:
        for i in range(8):
            e.files.save_text(f"version {i}", to="m.txt")
            e.flush()
    folder = Path(e.directory)
    assert len(files_of(folder)) < 8
    sync(folder)
    assert set(server.only().files) == set(files_of(folder))


def test_a_copy_that_was_resumed_is_another_experiment(sync, server, tmp_path):
    folder = make_run(large=False)
    copy = shutil.copytree(folder, tmp_path / "b" / "digits" / "first")
    sync(folder)
    for root, label in ((".ml-dash", "one"), ("b", "two")):
        with Experiment("first", "digits", local_path=root).run as e:
            fill(e, large=False, label=label)
    sync(folder)
    done = sync(copy)
    assert "another experiment" in done.stderr
    first, second = server.experiments.values()
    check_is_there(first, folder)
    check_is_there(second, copy)
    assert second.place[3] == "first (copy 2)"
    before = len(server.requests)
    sync(copy)  # and so it stays
    assert len(server.experiments) == 2
    assert server.count("POST", "/streams$") == sum(
        r.path.endswith("/streams") for r in server.requests[:before]
    )
    check_is_there(second, copy)


def test_an_older_copy_is_no_other_experiment(sync, server, tmp_path):
    folder = make_run(large=False)
    copy = shutil.copytree(folder, tmp_path / "backup")
    with Experiment("first", "digits", local_path=".ml-dash").run as e:
        fill(e, large=False, label="more")
    sync(folder)
    done = sync(copy)
    assert "another experiment" not in done.stderr
    assert len(server.experiments) == 1
    check_is_there(server.only(), folder)


def test_two_machines_with_the_same_id(sync, server, tmp_path):
    folder = make_run(large=False)
    ours = next(r for r in records_of(folder) if r["type"] == "file" and r["filename"] == "03.txt")
    sync(folder)
    theirs = dict(server.only().files[ours["id"]][0])
    theirs["sha256"], theirs["size_bytes"] = "0" * 64, 5
    server.only().files[ours["id"]] = (theirs, b"other")
    sync(folder)
    others = [a for a, _ in server.only().files.values() if a.get("as") == ours["id"]]
    assert len(others) == 1
    assert others[0]["sha256"] == ours["checksum"]
    records = [r for r in records_of(folder) if r["type"] == "stream"]
    assert others[0]["stream"] in {r["stream"] for r in records}
    sync(folder)  # the same again: it is known
    assert len([a for a, _ in server.only().files.values() if a.get("as") == ours["id"]]) == 1


def test_a_folder_without_records_waits(sync, server, tmp_path):
    folder = make_run(large=False)
    for path in folder.glob(".mldash/records*"):
        path.unlink()
    sync(folder)
    assert server.experiments == {}


def test_lines_of_other_tools_are_said(sync, server):
    folder = make_run(large=False)
    foreign = folder / "metrics" / "other"
    foreign.mkdir(parents=True)
    (foreign / "data.jsonl").write_text('{"index":0,"data":{"x":1},"createdAt":"2026-01-01"}\n')
    done = sync(folder)
    assert "metrics/other/data.jsonl" in done.stderr
