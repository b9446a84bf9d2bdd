"""Values collected in memory and logged as statistics, for what happens too often to keep."""

from __future__ import annotations

import math

from .exceptions import InvalidInputError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any, Callable

    from .metrics import MetricBuilder, MetricsManager


def _number(key: str, value: Any) -> float:
    """None is NaN, which statistics leave out."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"{key}={value!r} is not a number; experiment.log() takes anything"
        ) from None


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _std(values: list[float]) -> float:
    """The sample's standard deviation; 0.0 of one value."""
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _percentile(percent: int) -> Callable[[list[float]], float]:
    """Between the two nearest values, in proportion."""

    def compute(values: list[float]) -> float:
        ordered = sorted(values)
        position = (len(ordered) - 1) * percent / 100
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    return compute


AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "mean": _mean,
    "std": _std,
    "min": min,
    "max": max,
    "count": len,
    "sum": math.fsum,
    "median": _percentile(50),
    "p50": _percentile(50),
    "p90": _percentile(90),
    "p95": _percentile(95),
    "p99": _percentile(99),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def _aggregate(buffer: dict[str, list[float]], names: tuple[str, ...]) -> dict[str, float]:
    """{"loss.mean": ...} of every key that has values other than NaN."""
    result: dict[str, float] = {}
    for key, values in buffer.items():
        clean = [value for value in values if value == value]
        if clean:
            result.update({f"{key}.{name}": AGGREGATES[name](clean) for name in names})
    return result


def _store(buffer: dict[str, list[float]], values: dict[str, Any]) -> None:
    numbers = {key: _number(key, value) for key, value in values.items()}
    for key, number in numbers.items():
        buffer.setdefault(key, []).append(number)


def _tail(
    buffer: dict[str, list[float]], keys: tuple[str, ...], limit: int
) -> dict[str, list[float]]:
    return {key: buffer[key][-limit:] for key in (keys or buffer) if key in buffer}


class SummaryCache:
    """Values of one metric: store() many times, summarize() now and then."""

    def __init__(self, metric: MetricBuilder) -> None:
        self._metric = metric
        self._buffer: dict[str, list[float]] = {}
        self._fixed: dict[str, Any] = {}

    def store(self, **values: Any) -> None:
        """Adds a value to each key; nothing is written."""
        _store(self._buffer, values)

    def set(self, **values: Any) -> None:
        """Values that the next summary has as they are: epoch, learning rate."""
        self._fixed.update(values)

    def summarize(self, clear: bool = True) -> None:
        """Appends a point with key.mean, .min, .max, .count and .std of every key.

        clear: begin anew; otherwise the next summary has these values, too.
        """
        names = ("mean", "min", "max", "count", "std")
        point = {**self._fixed, **_aggregate(self._buffer, names)}
        if point:
            self._metric.append(**point)
        if clear:
            self._buffer.clear()
            self._fixed.clear()

    def peek(self, *keys: str, limit: int = 5) -> dict[str, list[float]]:
        """The last `limit` values of these keys (of all), without taking them."""
        return _tail(self._buffer, keys, limit)


class BufferManager:
    """Values of all metrics: metrics(name).buffer(...) many times, log_summary() now and then."""

    def __init__(self, metrics: MetricsManager) -> None:
        self._metrics = metrics
        self._buffers: dict[str | None, dict[str, list[float]]] = {}

    def _store(self, name: str | None, values: dict[str, Any]) -> None:
        _store(self._buffers.setdefault(name, {}), values)

    def log_summary(self, *aggregates: str, **extra: Any) -> None:
        """Appends a point with key.mean (or what `aggregates` name) to every metric that has
        values, together with `extra`, and begins anew.

        Aggregates: mean, std, min, max, count, sum, median, p50, p90, p95, p99, first, last.
        """
        for name in aggregates:
            if name not in AGGREGATES:
                known = ", ".join(AGGREGATES)
                raise InvalidInputError(f"no aggregate {name!r}; there are {known}")
        for metric, buffer in list(self._buffers.items()):
            summary = _aggregate(buffer, aggregates or ("mean",))
            if summary:
                self._metrics(metric).append(**{**extra, **summary})
            buffer.clear()

    def peek(self, name: str | None = None, *keys: str, limit: int = 5) -> dict[str, list[float]]:
        """The last `limit` values of one metric's keys, without taking them."""
        return _tail(self._buffers.get(name, {}), keys, limit)
