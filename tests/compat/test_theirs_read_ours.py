"""A published client reads all that we wrote, with its own code."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys

import pytest
from ml_dash import _core

NAN = float("nan")


def write_ours(client):
    """Everything a client knows of, and versions, aliases and deletions, which it does not."""
    run = client.open_ours(
        description="what it is", tags=["a"], bindrs=["x"], metadata={"seed": 7, "k": [1, None]}
    )
    run.params_set({"lr": 0.1, "model": {"name": "néť"}, "worst": math.inf, "nan": NAN})
    run.log("info", "first", {"k": 1})
    run.log("warn", "zweite Zeile: äöü \u2603")
    loss = run.series(_core.Series, _core.METRIC, "loss", description="d", tags=["t"])
    for i in range(5):
        loss.append(value=1 / (i + 1), step=i)
    loss.append_batch([{"value": float(i)} for i in range(1500)])
    run.series(_core.Series, _core.METRIC, None).append(epoch=1)
    track = run.series(_core.Series, _core.TRACK, "robot/pos")
    track.append(x=1, p={"y": 2}, _ts=10.0)
    track.append(x=2, p={"y": 4}, _ts=11.5)
    kept = [
        run.save_bytes(b"hello a", "a.txt", prefix="/models/best", description="d", tags=["t1"]),
        run.save_bytes(bytes(range(256)), "b.bin", metadata={"k": [1, 2]}),
    ]
    run.save_bytes(b"one", "v.txt", prefix="models", keep=2)
    kept.append(run.save_bytes(b"two", "v.txt", prefix="models", keep=2))
    run.delete(run.save_bytes(b"to be deleted", "gone.txt")["id"])
    return run, kept


def read_theirs(client):
    return client.run("read", {"metrics": ["loss", "None"], "tracks": ["robot/pos"]})


def check_data(found, client):
    assert json.dumps(found["params"], sort_keys=True) == json.dumps(
        {"lr": 0.1, "model.name": "néť", "worst": math.inf, "nan": NAN}, sort_keys=True
    )
    loss = found["metrics"]["loss"]
    assert [int(point["index"]) for point in loss["data"]] == list(range(1505))
    values = [1 / (i + 1) for i in range(5)] + [float(i) for i in range(1500)]
    assert [point["data"]["value"] for point in loss["data"]] == values
    assert not loss["hasMore"]
    assert [point["data"] for point in found["metrics"]["None"]["data"]] == [{"epoch": 1}]
    told = {metric["name"]: metric for metric in found["metric_list"]}
    assert told.keys() == {"loss", None}
    assert (told["loss"]["description"], told["loss"]["tags"]) == ("d", ["t"])
    assert told["loss"]["totalDataPoints"] == "1505"
    assert found["stats"]["loss"]["lastDataAt"] == loss["data"][-1]["createdAt"]
    logs = found["logs"]
    assert [line["sequenceNumber"] for line in logs] == [0, 1]
    assert [line["message"] for line in logs] == ["first", "zweite Zeile: äöü \u2603"]
    assert logs[0]["metadata"] == {"k": 1}
    if not client.old:
        (track,) = found["tracks"]
        assert (track["topic"], track["totalEntries"]) == ("robot/pos", 2)
        assert (track["firstTimestamp"], track["lastTimestamp"]) == (10.0, 11.5)
        assert track["columns"] == ["p.y", "x"]
        entries = [{"timestamp": 10.0, "x": 1, "p.y": 2}, {"timestamp": 11.5, "x": 2, "p.y": 4}]
        assert found["entries"]["robot/pos"] == entries


def check_files(found, kept):
    assert [record["id"] for record in found["files"]] == [record["id"] for record in kept]
    for theirs, ours in zip(found["files"], kept):
        for key in ("path", "filename", "description", "tags", "contentType", "sizeBytes"):
            assert theirs[key] == ours[key], key
        assert (theirs["checksum"], theirs["metadata"]) == (ours["checksum"], ours["metadata"])
        content = found["contents"][ours["id"]].encode("latin-1")
        assert hashlib.sha256(content).hexdigest() == ours["checksum"]


@pytest.mark.parametrize("leave", ["end", "write_views"])
def test_everything(client, leave):
    run, kept = write_ours(client)
    if leave == "end":
        run.end("COMPLETED")
    else:
        run.write_views()
    found = read_theirs(client)
    check_data(found, client)
    check_files(found, kept)
    told = found["experiment"]
    assert (told["name"], told["project"], told["description"]) == ("run", "proj", "what it is")
    assert told["metadata"] == {"seed": 7, "k": [1, None]}
    run.close()


def test_names_with_slashes(client):
    """Their directories have one level; a metric of ours may have more."""
    run = client.open_ours()
    run.series(_core.Series, _core.METRIC, "train/loss").append(value=1.5)
    run.end("COMPLETED")
    run.close()
    found = client.run("read", {"metrics": ["train/loss"], "tracks": []})
    assert [point["data"]["value"] for point in found["metrics"]["train/loss"]["data"]] == [1.5]


def test_after_a_kill(client):
    """Views are written at the end of a run, so a killed one shows the next time it is ended."""
    program = (
        "import os, sys, json; from ml_dash import _core\n"
        "run = _core.Experiment(**json.loads(sys.argv[1]))\n"
        "run.save_bytes(b'saved', 'a.txt'); run.params_set({'lr': 1})\n"
        "run.series(_core.Series, _core.METRIC, 'loss').append(value=1)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    place = {"name": "run", "project": "proj", "folder": "group"}
    if not client.old:
        place = {"prefix": "alice/proj/group/run"}
    options = json.dumps({"root": str(client.root), **place})
    done = subprocess.run([sys.executable, "-c", program, options], env=dict(os.environ))
    assert done.returncode == -9
    run = client.open_ours()
    run.end("FAILED")
    run.close()
    found = client.run("read", {"metrics": ["loss"], "tracks": []})
    assert [record["filename"] for record in found["files"]] == ["a.txt"]
    assert found["params"] == {"lr": 1}
    assert [point["data"] for point in found["metrics"]["loss"]["data"]] == [{"value": 1}]
