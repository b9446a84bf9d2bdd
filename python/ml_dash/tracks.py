"""Tracks: entries with times: experiment.tracks("robot/pose").append(x=1.0, _ts=0.5)."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from . import _core
from .exceptions import InvalidInputError, MissingPackageError, NotFoundError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ._damage import DamageWatch
    from ._reading import Reading

_FPS = 30  # of the mocap format, whose frames carry their own time as well


class TrackBuilder(_core.Series):
    """One track: entries {timestamp, fields}, read in order of time.

    append(**fields) is written when it returns: a kill -9 loses nothing. `_ts` is the entry's time
    in seconds; without it the entry gets the time now, with -1 that of this thread's last append.
    Nested dicts are flattened to dotted names, arrays become lists, entries of one time are one.
    """

    _manager: TracksManager
    _looked = False

    def flush(self) -> TrackBuilder:
        """Nothing is left to write: append() wrote it. See Experiment.flush."""
        return self

    def read(
        self,
        start_timestamp: float | None = None,
        end_timestamp: float | None = None,
        columns: Sequence[str] | None = None,
        format: str = "json",
    ) -> Any:
        """Entries from start to end (both included, None: open), sorted by time.

        columns: only these fields (the timestamp always).
        format: "json" is {"entries": [{"timestamp", ...}], "count"}; "jsonl" is bytes, one entry a
            line; "parquet" is bytes (needs pyarrow); "mocap" is a dict with channels and frames.
        """
        source = self._source()
        entries, _, _ = source.slice_points(start_timestamp, end_timestamp)
        if not self._looked and self._manager._damage is not None:
            self._looked = True
            self._manager._damage.look(2)
        if columns is not None:
            wanted = {"timestamp", *columns}
            entries = [{k: v for k, v in entry.items() if k in wanted} for entry in entries]
        if format == "json":
            return {"entries": entries, "count": len(entries)}
        if format == "jsonl":
            from ._json import encode

            return b"".join(encode(entry).encode() + b"\n" for entry in entries)
        if format == "parquet":
            return _parquet(entries)
        if format == "mocap":
            return _mocap(source.info(), entries)
        raise InvalidInputError(f"no format {format!r}; there are json, jsonl, parquet and mocap")

    def list_entries(self) -> list[dict[str, Any]]:
        """All entries, sorted by time."""
        entries: list[dict[str, Any]] = self.read()["entries"]
        return entries

    def slice(
        self, start_timestamp: float | None = None, end_timestamp: float | None = None
    ) -> TrackSlice:
        """Entries of a time span, to iterate over and to search by time; read at first use."""
        return TrackSlice(self, start_timestamp, end_timestamp)

    def stats(self) -> dict[str, Any]:
        """Topic, fields, number of entries and times of this track."""
        return _stats(self._source().info())

    def _source(self) -> _core.Series:
        """What is read: this, or with a server the track with all that others appended."""
        reading = self._manager._reading
        return self if reading is None else reading.series(self, _core.TRACK)


class TrackSlice:
    """The entries of a time span: an iterable with len(), and findByTime()."""

    def __init__(self, track: TrackBuilder, start: float | None, end: float | None) -> None:
        self._track = track
        self._start = start
        self._end = end
        self._loaded: list[dict[str, Any]] | None = None
        self._times: list[float] = []

    def _entries(self) -> list[dict[str, Any]]:
        if self._loaded is None:
            self._loaded = self._track.read(self._start, self._end)["entries"]
            self._times = [entry["timestamp"] for entry in self._loaded]
        return self._loaded

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._entries()[index]

    def findByTime(self, timestamp: float | Sequence[float], neighborhood_size: int = 10) -> Any:
        """The last entry at or before a time, or a list of them for a list of times.

        Raises NotFoundError (a StorageError) when all entries are later. neighborhood_size is
        accepted for the published clients; the search is binary.
        """
        entries = self._entries()
        if not isinstance(timestamp, (int, float)):
            return [self.findByTime(one, neighborhood_size) for one in timestamp]
        position = bisect.bisect_right(self._times, timestamp)
        if position == 0:
            first = f"the first is at {self._times[0]}" if self._times else "there are none"
            raise NotFoundError(f"{self._track.name}: no entry at or before {timestamp}: {first}")
        return entries[position - 1]

    find_by_time = findByTime

    def __repr__(self) -> str:
        return f"TrackSlice({self._track.name!r}, start={self._start}, end={self._end})"


class TracksManager:
    """experiment.tracks: call it with a topic."""

    def __init__(
        self,
        core: _core.Experiment,
        damage: DamageWatch | None = None,
        reading: Reading | None = None,
    ) -> None:
        self._core = core
        self._damage = damage
        self._reading = reading
        self._tracks: dict[str, TrackBuilder] = {}

    def __call__(
        self,
        topic: str,
        description: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> TrackBuilder:
        """The track of this topic, such as "robot/pose"."""
        if topic in self._tracks and description is tags is metadata is None:
            return self._tracks[topic]
        if topic is None:
            raise InvalidInputError("a track needs a topic: experiment.tracks('robot/pose')")
        track = self._core.series(
            TrackBuilder,
            _core.TRACK,
            topic,
            description=description,
            tags=tags,
            metadata=metadata,
        )
        track._manager = self
        return self._tracks.setdefault(topic, track)

    def flush(self) -> TracksManager:
        """Nothing is left to write: append() wrote it. See Experiment.flush."""
        return self

    def list_all(self) -> list[dict[str, Any]]:
        """[{topic, totalEntries, columns, firstTimestamp, lastTimestamp ...}] by topic."""
        core = self._core if self._reading is None else self._reading.fresh()
        return [_stats(info) for info in core.series_list(_core.TRACK)]


def _stats(info: dict[str, Any]) -> dict[str, Any]:
    return {
        "trackId": f"local-track-{info['name'].replace('/', '_')}",
        "topic": info["name"],
        "description": info["description"],
        "tags": info["tags"],
        "metadata": info["metadata"],
        "columns": info["columns"],
        "totalEntries": info["total"],
        "firstTimestamp": info["firstTime"],
        "lastTimestamp": info["lastTime"],
        "createdAt": info["createdAt"],
    }


def _parquet(entries: list[dict[str, Any]]) -> bytes:
    import io

    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError("format='parquet' needs pyarrow: pip install pyarrow") from error
    columns: dict[str, None] = {}
    for entry in entries:
        columns.update(dict.fromkeys(entry))
    table = pyarrow.table({name: [entry.get(name) for entry in entries] for name in columns})
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _mocap(info: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    start = entries[0]["timestamp"] if entries else 0.0
    end = entries[-1]["timestamp"] if entries else 0.0
    metadata = info["metadata"] or {}
    channels = sorted({name for entry in entries for name in entry if name != "timestamp"})
    return {
        "version": "1.0",
        "metadata": {
            "topic": info["name"],
            "description": info["description"],
            "tags": info["tags"],
            "fps": metadata.get("fps", _FPS),
            "duration": end - start,
            "frameCount": len(entries),
            "startTime": start,
            "endTime": end,
        },
        "channels": channels,
        "frames": [
            {"time": entry["timestamp"], **{k: v for k, v in entry.items() if k != "timestamp"}}
            for entry in entries
        ],
    }
