"""A folder that a published client wrote opens with everything in it."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from ml_dash import _core


def same(a, b):
    """Equality in which NaN is itself."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def check_experiment(info, client):
    assert (info["name"], info["project"]) == ("run", "proj")
    assert info["prefix"] == (None if client.old else "alice/proj/group/run")
    assert info["folder"] == ("group" if client.old else None)
    assert info["description"] == "what it is"
    assert (info["tags"], info["bindrs"]) == (["a", "b"], ["x"])
    nan = float("nan")
    assert same(info["metadata"], {"seed": 7, "nested": {"k": [1, None]}, "bad": nan})
    view = json.loads((client.directory / "experiment.json").read_text())
    assert info["createdAt"] == view["created_at"]
    assert info["problems"] == 0, info["warning"]


def check_data(run, client):
    assert run.params_get() == {
        "lr": 0.1,
        "model.depth": 3,
        "model.name": "néť",
        "worst": math.inf,
    }
    lines, more = run.log_read()
    assert not more
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "first"),
        ("warn", "second"),
        ("error", "dritte Zeile: äöü \u2603"),
    ]
    assert lines[0]["metadata"] == {"k": 1} and lines[1]["metadata"] == {"code": 2}
    loss = run.series(_core.Series, _core.METRIC, "loss")
    points, total, more = loss.read_points()
    assert (total, more) == (8, False)
    assert [point["index"] for point in points] == list(range(8))
    assert [point["data"]["value"] for point in points[:7]] == [1 / (i + 1) for i in range(7)]
    assert math.isnan(points[7]["data"]["value"])
    info = loss.info()
    assert (info["description"], info["tags"], info["metadata"]) == ("d", ["t"], {"unit": 1})
    unnamed = run.series(_core.Series, _core.METRIC, None).read_points()[0]
    assert [point["data"]["epoch"] for point in unnamed] == [1]
    assert [s["name"] for s in run.series_list(_core.METRIC)] == [None, "loss"]
    topics = [s["name"] for s in run.series_list(_core.TRACK)]
    assert topics == ([] if client.old else ["robot/pos"])
    if not client.old:
        track = run.series(_core.Series, _core.TRACK, "robot/pos")
        entries = track.read_points()[0]
        assert [entry["timestamp"] for entry in entries] == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
        assert entries[0]["x"] == 5 and entries[0]["p.y"] == 10


def check_files(run, client, tmp_path):
    view = json.loads((client.directory / "files/.files_metadata.json").read_text())
    theirs = {record["id"]: record for record in view["files"]}
    ours = {record["id"]: record for record in run.list(deleted=True)}
    assert ours.keys() == theirs.keys() and len(ours) == 4
    for id, record in theirs.items():
        mine = ours[id]
        for key in ("filename", "sizeBytes", "checksum", "description", "tags", "uploadedAt"):
            assert mine[key] == record[key], key
        assert mine["contentType"] == record["contentType"]
        assert mine["updatedAt"] == record["updatedAt"] and mine["deletedAt"] == record["deletedAt"]
        assert same(mine["metadata"], record["metadata"])
        assert mine["path"] == "/" + record["path"].strip("/")
        assert hashlib.sha256(run.read_bytes(id)).hexdigest() == record["checksum"]
    listed = [(record["path"], record["filename"]) for record in run.list()]
    expected = [("/models/best", "a.txt"), ("/", "metadata.json"), ("/models", "v.txt")]
    assert listed == expected + ([("/models", "gone.txt")] if client.old else [])
    assert run.read_bytes(run.find("/models", "v.txt")["id"]) == b"two"
    copy = run.download(prefix="models/best", filename="a.txt", destination=tmp_path / "copy")
    with open(copy) as f:
        assert f.read() == "hello a"


def check_all(run, client, tmp_path):
    check_experiment(run.info(), client)
    check_data(run, client)
    check_files(run, client, tmp_path)


def test_read_only(client, tmp_path):
    client.run("write")
    before = sorted(path for path in client.root.rglob("*"))
    run = client.open_ours(read_only=True)
    check_all(run, client, tmp_path)
    assert run.info()["status"] == "UNKNOWN"
    report = run.verify()
    assert report["findings"] == [] and report["losses"] == 0
    assert report["filesChecked"] == 4
    run.close()
    assert sorted(path for path in client.root.rglob("*")) == before
    assert _core.find_experiments(client.root) == [str(client.directory)]


@pytest.mark.parametrize("leave", ["end", "close"])
def test_resumed(client, tmp_path, leave):
    """Opening it for writing records what they wrote, so that it stays without their views."""
    client.run("write")
    run = client.open_ours()
    check_all(run, client, tmp_path)
    if leave == "end":
        run.end("COMPLETED")
    run.close()
    run = client.open_ours(read_only=True)
    check_all(run, client, tmp_path)
    assert run.verify()["findings"] == []
    run.close()
    for view in ("parameters.json", "files/.files_metadata.json"):
        (client.directory / view).unlink()
    run = client.open_ours(read_only=True)
    assert run.params_get()["lr"] == 0.1
    assert len(run.list(deleted=True)) == 4
    assert run.verify()["findings"] == []


def test_torn_views_are_told(client):
    client.run("write")
    for view in ("experiment.json", "parameters.json", "files/.files_metadata.json"):
        path = client.directory / view
        path.write_bytes(path.read_bytes()[:-7])
    run = client.open_ours(read_only=True)
    report = run.verify()
    told = [(f["problem"], f["name"]) for f in report["findings"] if f["problem"] == "view"]
    assert sorted(name for _, name in told) == [
        "experiment.json",
        "files/.files_metadata.json",
        "parameters.json",
    ]
    assert len(run.series(_core.Series, _core.METRIC, "loss").read_points()[0]) == 8
