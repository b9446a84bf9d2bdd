"""A published client goes on in a folder of ours, and we go on after it."""

from __future__ import annotations

import json

import pytest
from ml_dash import _core


@pytest.fixture
def changed(client):
    """Ours, then theirs: parameters, tags, log, points, a replaced, a new and a deleted file."""
    run = client.open_ours(tags=["ours"])
    run.params_set({"lr": 0.1, "kept": 2})
    run.log("info", "ours")
    loss = run.series(_core.Series, _core.METRIC, "loss", description="d")
    for i in range(3):
        loss.append(value=float(i))
    files = {
        name: run.save_bytes(name.encode(), f"{name}.txt", prefix="/m", tags=["t"])
        for name in ("stays", "replaced", "deleted", "updated")
    }
    run.end("COMPLETED")
    run.close()
    changes = {"folder": "/m", "name": "replaced.txt"}
    if not client.old:  # 0.6.1 can neither delete nor update
        changes["delete"] = files["deleted"]["id"]
        changes["update"] = files["updated"]["id"]
    client.run("change", changes)
    return files


def check(run, client, files):
    info = run.info()
    assert info["tags"] == ["theirs"]
    assert run.params_get() == {"lr": 0.5, "kept": 2, "theirs": 1}
    assert [line["message"] for line in run.log_read()[0]] == ["ours", "theirs"]
    points = run.series(_core.Series, _core.METRIC, "loss").read_points()[0]
    assert [point["index"] for point in points] == list(range(5))
    assert [point["data"]["value"] for point in points] == [0.0, 1.0, 2.0, 100.0, 200.0]
    listed = {record["filename"]: record for record in run.list()}
    names = {"stays.txt", "replaced.txt", "updated.txt", "new.txt"}
    assert listed.keys() == (names | {"deleted.txt"} if client.old else names)
    assert run.read_bytes(listed["stays.txt"]["id"]) == b"stays"
    assert run.read_bytes(listed["replaced.txt"]["id"]) == b"their version"
    assert listed["replaced.txt"]["id"] != files["replaced"]["id"]
    assert run.read_bytes(listed["new.txt"]["id"]) == b"their new one"
    if not client.old:
        assert listed["updated.txt"]["description"] == "updated"
        assert listed["updated.txt"]["tags"] == ["u"]
        assert run.get(files["deleted"]["id"])["deletedAt"] is not None
    with pytest.raises(FileNotFoundError):
        run.get(files["replaced"]["id"])  # its bytes went with their version
    assert run.verify()["findings"] == []


def test_read_only(client, changed):
    before = {path: path.stat().st_mtime_ns for path in client.root.rglob("*")}
    run = client.open_ours(read_only=True)
    check(run, client, changed)
    run.close()
    assert {path: path.stat().st_mtime_ns for path in client.root.rglob("*")} == before


def test_resumed(client, changed):
    run = client.open_ours()
    check(run, client, changed)
    run.close()  # as after a crash: no end, no views
    run = client.open_ours()
    check(run, client, changed)
    loss = run.series(_core.Series, _core.METRIC, "loss")
    loss.append(value=300.0)
    run.params_set({"lr": 0.9})
    newer = run.save_bytes(b"ours again", "replaced.txt", prefix="/m")
    run.end("COMPLETED")
    run.close()
    found = client.run("read", {"metrics": ["loss"], "tracks": []})
    assert [int(point["index"]) for point in found["metrics"]["loss"]["data"]] == list(range(6))
    assert found["params"] == {"lr": 0.9, "kept": 2, "theirs": 1}
    theirs = {record["filename"]: record for record in found["files"]}
    assert theirs["replaced.txt"]["id"] == newer["id"]
    assert found["contents"][newer["id"]] == "ours again"
    assert found["metric_list"][0]["description"] == "d"


def test_we_change_nothing_back(client, changed):
    """What they set stays when we only open and end, and later changes of ours win."""
    for _ in range(2):
        run = client.open_ours()
        run.end("COMPLETED")
        run.close()
    run = client.open_ours(read_only=True)
    check(run, client, changed)
    run.close()
    run = client.open_ours(tags=["ours again"])
    run.params_set({"lr": 7})
    run.end("COMPLETED")
    run.close()
    client.run("change", {"folder": "/other", "name": "x.txt"})
    run = client.open_ours(read_only=True)
    assert run.params_get() == {"lr": 0.5, "kept": 2, "theirs": 1}  # they set lr after us
    run.close()


def test_stale_views_do_not_win(client):
    """A killed run left old views. What the other tool carries over in them is not news."""
    run = client.open_ours()
    run.params_set({"a": 1, "b": 1})
    file = run.save_bytes(b"x", "a.txt", description="old")
    run.end("COMPLETED")
    run.close()
    run = client.open_ours()
    run.params_set({"a": 2})
    run.update_file(file["id"], description="new")
    later = run.save_bytes(b"later", "later.txt")
    run.close()  # views not written
    client.run("change", {"folder": "/", "name": "other.txt"})
    view = json.loads((client.directory / "parameters.json").read_text())
    assert view["data"]["a"] == 1 and view["data"]["theirs"] == 1
    for read_only in (True, False, True):
        run = client.open_ours(read_only=read_only)
        assert run.params_get() == {"a": 2, "b": 1, "lr": 0.5, "theirs": 1}
        assert run.get(file["id"])["description"] == "new"
        assert run.read_bytes(later["id"]) == b"later"
        assert len(run.list()) == 4
        run.close()


def test_beside_a_writer_of_ours(client):
    """What they save while our run is open is not lost from their list when it ends."""
    run = client.open_ours()
    ours = run.save_bytes(b"ours", "ours.txt")
    run.write_views()
    client.run("change", {"folder": "/", "name": "theirs.txt"})
    run.save_bytes(b"more", "more.txt")
    run.end("COMPLETED")
    names = {"ours.txt", "theirs.txt", "new.txt", "more.txt"}
    assert {record["filename"] for record in run.list()} == names
    run.close()
    found = client.run("read", {"metrics": [], "tracks": []})
    assert {record["filename"] for record in found["files"]} == names
    assert found["contents"][ours["id"]] == "ours"
    assert found["params"] == {"lr": 0.5, "theirs": 1}
