"""Metrics in the calls of both generations."""

from __future__ import annotations

import time

import pytest
from ml_dash.exceptions import InvalidInputError


def points(metric) -> list[dict]:
    return [point["data"] for point in metric.read(limit=0)["data"]]


def test_append_answers(experiment):
    loss = experiment.metrics("loss")
    assert loss.append(value=0.5, epoch=1) == {
        "metricId": "local-metric-loss",
        "index": "0",
        "bufferedDataPoints": "1",
        "chunkSize": 10000,
    }
    assert loss.append(value=0.4)["index"] == "1"
    answer = loss.append_batch([{"value": i} for i in range(10)])
    assert (answer["startIndex"], answer["endIndex"], answer["count"]) == ("2", "11", 10)
    assert loss.append_batch([])["count"] == 0


def test_read(experiment):
    metric = experiment.metrics("m")
    metric.append_batch([{"value": i} for i in range(25)])
    page = metric.read(start_index=10, limit=5)
    assert [p["index"] for p in page["data"]] == [10, 11, 12, 13, 14]
    assert [p["data"]["value"] for p in page["data"]] == [10, 11, 12, 13, 14]
    assert all(p["createdAt"].endswith("Z") for p in page["data"])
    assert (page["startIndex"], page["endIndex"], page["total"]) == (10, 14, 5)
    assert page["hasMore"] is True
    last = metric.read(start_index=20, limit=100)
    assert (last["endIndex"], last["total"], last["hasMore"]) == (24, 5, False)
    assert [p["data"]["value"] for p in metric.read(start_index=-3)["data"]] == [22, 23, 24]
    empty = experiment.metrics("none").read()
    assert (empty["data"], empty["total"], empty["hasMore"]) == ([], 0, False)
    assert empty["endIndex"] == -1


def test_log_keeps_time(experiment):
    before = time.time()
    assert experiment.metrics("a").log(loss=0.5) is experiment.metrics("a")
    experiment.metrics("a").log(loss=0.4, _ts=12.5)
    experiment.metrics("b").log(other=1, _ts=-1)
    first, second = points(experiment.metrics("a"))
    assert before <= first["_ts"] <= time.time()
    assert second == {"loss": 0.4, "_ts": 12.5}
    assert points(experiment.metrics("b")) == [{"other": 1, "_ts": 12.5}]
    for bad in ("soon", float("nan"), [1]):
        with pytest.raises((InvalidInputError, TypeError)):
            experiment.metrics("a").log(loss=0.4, _ts=bad)
    assert len(points(experiment.metrics("a"))) == 2


def test_log_groups(experiment):
    metrics = experiment.metrics
    assert metrics.log(epoch=1, train={"loss": 0.5}, val={"loss": 0.6, "acc": 1}) is metrics
    train, val, unnamed = (points(metrics(name))[0] for name in ("train", "val", None))
    assert train.pop("_ts") == val.pop("_ts") == unnamed.pop("_ts")
    assert train == {"epoch": 1, "loss": 0.5}
    assert val == {"epoch": 1, "loss": 0.6, "acc": 1}
    assert unnamed == {"epoch": 1}
    metrics.log(epoch=2).flush()
    assert len(points(metrics(None))) == 2


def test_manager_append(experiment):
    experiment.metrics.append("loss", {"value": 1}, epoch=2)
    experiment.metrics.append(name="loss", data={"value": 2})
    experiment.metrics.append(value=3)
    experiment.metrics.append_batch("loss", [{"value": 4}, {"value": 5}])
    assert points(experiment.metrics("loss")) == [
        {"value": 1, "epoch": 2},
        {"value": 2},
        {"value": 4},
        {"value": 5},
    ]
    assert points(experiment.metrics()) == [{"value": 3}]


def test_stats_and_list(experiment):
    metric = experiment.metrics("train/loss", description="d", tags=["t"], metadata={"u": 1})
    metric.append(value=1, epoch=0)
    stats = metric.stats()
    assert stats["name"] == "train/loss"
    assert stats["metricId"] == "local-metric-train/loss"
    assert (stats["description"], stats["tags"], stats["metadata"]) == ("d", ["t"], {"u": 1})
    assert stats["totalDataPoints"] == "1"
    assert stats["columns"] == ["epoch", "value"]
    assert stats["totalChunks"] == 0
    experiment.metrics("acc").append(value=1)
    assert [m["name"] for m in metric.list_all()] == ["acc", "train/loss"]
    assert experiment.metrics("train/loss") is metric


def test_stats_of_fields(experiment):
    metric = experiment.metrics("loss")
    assert metric.stats()["fields"] == {}
    for step, value in enumerate((3.0, float("nan"), 1, float("inf"), 5)):
        metric.log(value=value, step=step)
    metric.append(note="text", flag=True, nothing=None, huge=10**400)
    fields = metric.stats()["fields"]
    none = {"min": None, "max": None, "mean": None}
    assert fields == {
        "flag": {"last": True, **none},
        "huge": {"last": 10**400, **none},
        "note": {"last": "text", **none},
        "nothing": {"last": None, **none},
        "step": {"last": 4, "min": 0, "max": 4, "mean": 2.0},
        "value": {"last": 5, "min": 1, "max": 5, "mean": 3.0},
    }
    metric.append(value=-1)
    assert metric.stats()["fields"]["value"] == {"last": -1, "min": -1, "max": 5, "mean": 2.0}
    many = experiment.metrics("many")
    many.append_batch([{"value": i} for i in range(25_000)])
    mean = 24_999 / 2
    assert many.stats()["fields"] == {
        "value": {"last": 24_999, "min": 0, "max": 24_999, "mean": mean}
    }


def test_summary_cache(experiment):
    cache = experiment.metrics("m").summary_cache
    for value in (1, 2, None, 3):
        cache.store(loss=value)
    cache.set(epoch=7)
    assert cache.peek("loss", limit=2) == {"loss": cache.peek()["loss"][-2:]}
    cache.summarize()
    cache.summarize()  # nothing left
    (point,) = points(experiment.metrics("m"))
    assert point == {
        "epoch": 7,
        "loss.mean": 2.0,
        "loss.min": 1.0,
        "loss.max": 3.0,
        "loss.count": 3,
        "loss.std": 1.0,
    }
    with pytest.raises(ValueError, match="number"):
        cache.store(loss="high")


def test_buffer_manager(experiment):
    metrics = experiment.metrics
    for value in range(1, 101):
        metrics("train").buffer(loss=value)
    metrics("val").buffer(acc=1)
    assert metrics.buffer.peek("train", limit=1) == {"loss": [100.0]}
    metrics.buffer.log_summary("mean", "p90", "first", "last", step=5)
    (train,) = points(metrics("train"))
    assert train == {
        "step": 5,
        "loss.mean": 50.5,
        "loss.p90": pytest.approx(90.1),
        "loss.first": 1.0,
        "loss.last": 100.0,
    }
    assert points(metrics("val"))[0]["acc.mean"] == 1.0
    metrics.buffer.log_summary()
    assert len(points(metrics("train"))) == 1
    with pytest.raises(ValueError, match="aggregate"):
        metrics.buffer.log_summary("average")


def test_not_made_by_hand():
    from ml_dash import _core
    from ml_dash.metrics import MetricBuilder

    with pytest.raises(TypeError, match="experiment"):
        MetricBuilder()
    with pytest.raises(TypeError):
        _core.Writer()


def test_threads(experiment):
    import threading

    def work(name):
        for i in range(500):
            experiment.metrics("shared").append(value=i, thread=name)
            experiment.metrics(f"own{name}").append(value=i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared = points(experiment.metrics("shared"))
    assert len(shared) == 2000
    for name in range(4):
        assert [p["value"] for p in shared if p["thread"] == name] == list(range(500))
        assert len(points(experiment.metrics(f"own{name}"))) == 500
