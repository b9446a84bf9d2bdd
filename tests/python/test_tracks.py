"""Tracks: entries by time."""

from __future__ import annotations

import json
import time

import pytest
from ml_dash.exceptions import InvalidInputError, NotFoundError, StorageError


def test_read_is_sorted_and_merged(experiment):
    track = experiment.tracks("robot/pose")
    assert track.append(x=3.0, _ts=3.0) is track
    track.append(x=1.0, _ts=1.0).append(y=10, _ts=1.0).append(x=2.0, q=[1, 2], _ts=2.0).flush()
    assert track.read() == {
        "entries": [
            {"timestamp": 1.0, "x": 1.0, "y": 10},
            {"timestamp": 2.0, "x": 2.0, "q": [1, 2]},
            {"timestamp": 3.0, "x": 3.0},
        ],
        "count": 3,
    }
    assert [e["timestamp"] for e in track.read(1.5, 3.0)["entries"]] == [2.0, 3.0]
    assert track.read(columns=["y"])["entries"][0] == {"timestamp": 1.0, "y": 10}
    assert track.list_entries() == track.read()["entries"]


def test_nested_fields_are_flat(experiment):
    experiment.tracks("t").append(pose={"p": {"x": 1}, "q": 2}, _ts=0.0)
    assert experiment.tracks("t").list_entries() == [{"timestamp": 0.0, "pose.p.x": 1, "pose.q": 2}]


def test_times(experiment):
    before = time.time()
    for i in range(100):
        experiment.tracks("a").append(i=i)
    experiment.tracks("b").append(i=0, _ts=-1)
    entries = experiment.tracks("a").list_entries()
    times = [entry["timestamp"] for entry in entries]
    assert [entry["i"] for entry in entries] == list(range(100))
    assert before <= times[0]
    assert len(set(times)) == 100
    assert experiment.tracks("b").list_entries()[0]["timestamp"] == times[-1]


def test_find_by_time(experiment):
    for i in range(10):
        experiment.tracks("t").append(i=i, _ts=float(i))
    found = experiment.tracks("t").slice(2.0, 8.0)
    assert len(found) == 7
    assert [e["i"] for e in found] == [2, 3, 4, 5, 6, 7, 8]
    assert found.findByTime(5.5)["i"] == 5
    assert found.findByTime(2)["i"] == 2
    assert found.find_by_time(100)["i"] == 8
    assert [e["i"] for e in found.findByTime([3.0, 7.9])] == [3, 7]
    with pytest.raises(StorageError):
        found.findByTime(1.9)
    with pytest.raises(NotFoundError):
        experiment.tracks("empty").slice().findByTime(1.0)


def test_formats(experiment):
    track = experiment.tracks("robot/pose", description="d", metadata={"fps": 60})
    track.append(x=1, _ts=1.0).append(x=2, y=3, _ts=2.0)
    lines = track.read(format="jsonl").splitlines()
    assert [json.loads(line) for line in lines] == track.list_entries()
    mocap = track.read(format="mocap")
    assert mocap["channels"] == ["x", "y"]
    assert mocap["frames"][1] == {"time": 2.0, "x": 2, "y": 3}
    assert mocap["metadata"]["topic"] == "robot/pose"
    assert mocap["metadata"]["fps"] == 60
    assert mocap["metadata"]["frameCount"] == 2
    assert mocap["metadata"]["duration"] == 1.0
    with pytest.raises(InvalidInputError, match="format"):
        track.read(format="csv")


def test_parquet(experiment):
    parquet = pytest.importorskip("pyarrow.parquet")
    import io

    experiment.tracks("t").append(x=1, _ts=1.0).append(y=2, _ts=2.0)
    table = parquet.read_table(io.BytesIO(experiment.tracks("t").read(format="parquet")))
    assert table.to_pylist() == [
        {"timestamp": 1.0, "x": 1, "y": None},
        {"timestamp": 2.0, "x": None, "y": 2},
    ]


def test_stats_and_list(experiment):
    experiment.tracks("b").append(x=1, _ts=5.0)
    experiment.tracks("a/b").append_batch([{"z": 1, "_ts": 2.0}, {"y": 1, "_ts": 3.0}])
    stats = experiment.tracks("a/b").stats()
    assert stats["topic"] == "a/b"
    assert stats["trackId"] == "local-track-a_b"
    assert stats["columns"] == ["y", "z"]
    assert (stats["totalEntries"], stats["firstTimestamp"], stats["lastTimestamp"]) == (2, 2.0, 3.0)
    assert [t["topic"] for t in experiment.tracks.list_all()] == ["a/b", "b"]
    experiment.tracks.flush()
