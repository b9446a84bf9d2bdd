"""Metrics: experiment.metrics("loss").append(value=0.5, epoch=3)."""

from __future__ import annotations

import time

from . import _core
from .summaries import BufferManager, SummaryCache

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from ._damage import DamageWatch
    from ._reading import Reading

_CHUNK_SIZE = 10_000  # what the published clients report; points are kept in lines here


class MetricBuilder(_core.Series):
    """One metric: points in order, each with any fields.

    append(**fields) and append_batch(list of dicts) are written when they return: a kill -9 loses
    nothing. Values are numbers (NaN and infinities, too), strings, booleans, None, arrays and
    anything that JSON has a form for; fields may differ from point to point. `_ts` is the point's
    time in seconds since the epoch, or -1: that of this thread's last append.
    """

    _manager: MetricsManager
    _cache: SummaryCache | None = None
    _looked = False

    def log(self, **fields: Any) -> MetricBuilder:
        """Appends a point with its time (`_ts`); returns itself."""
        fields.setdefault("_ts", time.time())
        self.append(**fields)
        return self

    def buffer(self, **values: Any) -> MetricBuilder:
        """Collects numbers for metrics.buffer.log_summary()."""
        self._manager.buffer._store(self.name, values)
        return self

    def flush(self) -> MetricBuilder:
        """Nothing is left to write: append() wrote it. See Experiment.flush."""
        return self

    def read(self, start_index: int = 0, limit: int = 1000) -> dict[str, Any]:
        """Points [start_index, start_index + limit); limit 0 is all, a negative start counts
        from the end.

        Returns {"data": [{"index", "data", "createdAt"}], "startIndex", "endIndex", "total",
        "hasMore"}; total is the number of points returned.
        """
        points, _, more = self._source().read_points(start_index, limit)
        if not self._looked and self._manager._damage is not None:
            self._looked = True
            self._manager._damage.look(2)
        first = points[0]["index"] if points else start_index
        last = points[-1]["index"] if points else start_index - 1
        return {
            "data": points,
            "startIndex": first,
            "endIndex": last,
            "total": len(points),
            "hasMore": more,
        }

    def stats(self) -> dict[str, Any]:
        """Name, description, tags, metadata, the number of points and times of this metric.

        "fields" has {"last", "min", "max", "mean"} of each field; the latter three are of its
        finite numbers, None when there is none. Reads all points.
        """
        info, fields = self._source().summary()
        return {**_stats(info), "fields": fields}

    def _source(self) -> _core.Series:
        """What is read: this, or with a server the metric with all that others appended."""
        reading = self._manager._reading
        return self if reading is None else reading.series(self, _core.METRIC)

    def list_all(self) -> list[dict[str, Any]]:
        """A summary of every metric of the experiment."""
        return self._manager.list_all()

    @property
    def summary_cache(self) -> SummaryCache:
        """Values to be summarized: see SummaryCache."""
        if self._cache is None:
            self._cache = SummaryCache(self)
        return self._cache


class MetricsManager:
    """experiment.metrics: call it with a name, or log to several metrics at once."""

    def __init__(
        self,
        core: _core.Experiment,
        damage: DamageWatch | None = None,
        reading: Reading | None = None,
    ) -> None:
        self._core = core
        self._damage = damage
        self._reading = reading
        self._metrics: dict[str | None, MetricBuilder] = {}
        self._buffer: BufferManager | None = None

    def __call__(
        self,
        name: str | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> MetricBuilder:
        """The metric of this name (None: the unnamed one), which may have "/" in it.

        description, tags, metadata: kept from the first call that gives them.
        """
        try:
            if description is tags is metadata is None:
                return self._metrics[name]
        except KeyError:
            pass
        metric = self._core.series(
            MetricBuilder,
            _core.METRIC,
            name,
            description=description,
            tags=tags,
            metadata=metadata,
        )
        metric._manager = self
        return self._metrics.setdefault(name, metric)

    def append(
        self, name: str | None = None, data: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Appends one point, given as a dict, by name, or both."""
        return self(name).append(**(data or {}), **fields)

    def append_batch(
        self,
        name: str | None = None,
        data_points: list[dict[str, Any]] | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Appends a list of points: all of them, or none after an error."""
        return self(name, description, tags, metadata).append_batch(data_points or [])

    def log(self, _flush: bool = False, **values: Any) -> MetricsManager:
        """Scalars go to the unnamed metric; a dict goes to the metric of its name, with them.

        metrics.log(epoch=3, train={"loss": 0.1}, val={"loss": 0.2})
        """
        time_s = values.pop("_ts", None) or time.time()
        groups = {key: value for key, value in values.items() if isinstance(value, dict)}
        scalars = {key: value for key, value in values.items() if key not in groups}
        if scalars:
            self(None).append(**scalars, _ts=time_s)
        for name, fields in groups.items():
            self(name).append(**{"_ts": time_s, **scalars, **fields})
        return self

    def flush(self) -> MetricsManager:
        """Nothing is left to write: append() wrote it. See Experiment.flush."""
        return self

    def list_all(self) -> list[dict[str, Any]]:
        """[{metricId, name, description, tags, totalDataPoints, createdAt ...}] by name."""
        core = self._core if self._reading is None else self._reading.fresh()
        return [_stats(info) for info in core.series_list(_core.METRIC)]

    @property
    def buffer(self) -> BufferManager:
        """Values of all metrics, to be logged as statistics: see BufferManager."""
        if self._buffer is None:
            self._buffer = BufferManager(self)
        return self._buffer


def _stats(info: dict[str, Any]) -> dict[str, Any]:
    """The shape and the digit strings of the published clients."""
    total = str(info["total"])
    return {
        "metricId": f"local-metric-{info['name']}",
        "name": info["name"],
        "description": info["description"],
        "tags": info["tags"],
        "metadata": info["metadata"],
        "totalDataPoints": total,
        "bufferedDataPoints": total,
        "chunkedDataPoints": "0",
        "totalChunks": 0,
        "chunkSize": _CHUNK_SIZE,
        "firstDataAt": info["createdAt"],
        "lastDataAt": info["updatedAt"],
        "createdAt": info["createdAt"],
        "updatedAt": info["updatedAt"],
        "columns": info["columns"],
    }
