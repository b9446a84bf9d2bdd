"""The run folder, in C. Use ml_dash; this module is its engine.

Strings of the shape {...} below are keys of returned dicts. Every call may raise the classes of
ml_dash.exceptions. Calls that are long release the GIL and look at signals.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, final

from typing_extensions import Buffer

version: str
METRIC: int
TRACK: int

_Path = str | os.PathLike[str]
_File = dict[str, Any]
_list = list
_Progress = Callable[[int, int], object] | None
_Series = TypeVar("_Series", bound=Series)

def find_experiments(root: _Path, /) -> list[str]:
    """The run folders at or below a folder, as paths."""

def find_server(url: str | None, token: str | None, /) -> tuple[str | None, bool]:
    """The URL to use, or None, and whether a token is known: from the arguments, else the
    environment, else the files of `ml-dash login`."""
@final
class Experiment:
    """An open run folder."""

    def __new__(
        cls,
        *,
        name: str | None = None,
        project: str | None = None,
        folder: str | None = None,
        prefix: str | None = None,
        root: _Path | None = None,
        directory: _Path | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
        keep: int | str | None = None,
        max_file_bytes: int | None = None,
        read_only: bool = False,
        mirrored: bool = False,
    ) -> Experiment: ...
    @property
    def closed(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def end(self, status: str, error: str | None = None) -> None:
        """Ends the run: COMPLETED, FAILED or CANCELLED. error: why it FAILED, without NUL."""
    def close(self) -> None:
        """Gives the handle back; the status stays. Calls under way end first."""
    def attach(
        self, url: str | None = None, token: str | None = None, patience: float | None = None
    ) -> None:
        """Gives a reader that was opened with `mirrored` its server, which is waited for `patience`
        seconds (10 unless told). No request yet."""
    def refresh(self, remote_id: str | None = None, patience: float | None = None) -> None:
        """Takes what is new at the server of other folders' lines. remote_id: of the experiment
        there; unless told the one at this place. Raises RemoteUnavailable and the like."""
    def flush(self) -> None:
        """Returns once everything so far survives power loss."""
    def write_views(self) -> None:
        """Writes the files that other tools read."""
    def info(self) -> dict[str, Any]:
        """{id, name, project, folder, prefix, directory, description, tags, bindrs, metadata,
        status, createdAt, startedAt, endedAt, error, lost, files, metrics, tracks, fileBytes,
        problems, warning}"""
    def update(
        self,
        *,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
    ) -> None:
        """Changes what is not None."""
    def save(
        self,
        path: _Path,
        *,
        filename: str | None = None,
        prefix: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
        content_type: str | None = None,
        keep: int | str | None = None,
        durable: bool = False,
        progress: _Progress = None,
        move: bool = False,
    ) -> _File:
        """Saves a copy of a file by its path."""
    def save_bytes(
        self,
        data: Buffer,
        filename: str,
        *,
        prefix: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
        content_type: str | None = None,
        keep: int | str | None = None,
        durable: bool = False,
        progress: _Progress = None,
    ) -> _File:
        """Saves bytes of memory."""
    def writer(
        self,
        filename: str,
        *,
        prefix: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
        content_type: str | None = None,
        keep: int | str | None = None,
        durable: bool = False,
        progress: _Progress = None,
        seekable: bool = False,
    ) -> Writer:
        """Opens a file that is written piece by piece."""
    def list(
        self,
        *,
        prefix: str | None = None,
        glob: str | None = None,
        filename: str | None = None,
        any_tags: Iterable[str] | None = None,
        all_tags: Iterable[str] | None = None,
        bindr: str | None = None,
        metadata: Any = None,
        versions: bool = False,
        deleted: bool = False,
        offset: int = 0,
        limit: int = 0,
    ) -> _list[_File]:
        """File records that fit all conditions, in order of saving."""
    def get(self, id: str) -> _File:
        """One file record by id, a deleted one, too."""
    def find(self, prefix: str, filename: str, alias: str | None = None) -> _File:
        """One file record by name: the newest version, or the one with an alias."""
    def download(
        self,
        *,
        id: str | None = None,
        prefix: str | None = None,
        filename: str | None = None,
        alias: str | None = None,
        destination: _Path | None = None,
        refuse_existing: bool = False,
        progress: _Progress = None,
    ) -> str:
        """Copies a file out, checked; returns its path."""
    def read(self, id: str, sink: Callable[[memoryview], object]) -> None:
        """Streams a file's bytes into a callable; a view is valid during its call."""
    def read_bytes(self, id: str) -> bytes:
        """A file's bytes, checked."""
    def stored_path(self, id: str) -> str:
        """Where the stored bytes are: only to be read."""
    def update_file(
        self,
        id: str,
        *,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        bindrs: Iterable[str] | None = None,
        metadata: Any = None,
    ) -> _File:
        """Changes what is not None of a record."""
    def delete(self, id: str) -> _File:
        """Marks a file as deleted."""
    def restore(self, id: str) -> _File:
        """Takes a deletion back."""
    def duplicate(self, id: str, prefix: str, filename: str) -> _File:
        """The same bytes under another name."""
    def set_alias(self, id: str, alias: str) -> None:
        """Names a version."""
    def remove_alias(self, prefix: str, filename: str, alias: str) -> None:
        """Removes a version's name."""
    def params_set(self, params: dict[str, Any]) -> None:
        """Sets parameters; nested dicts are flattened to names with dots."""
    def params_get(self) -> dict[str, Any]:
        """All parameters by their flat names."""
    def log(
        self,
        level: str,
        message: str,
        fields: dict[str, Any] | None = None,
        time: float | None = None,
    ) -> None:
        """Writes a log line; time is in seconds since the epoch, None: now."""
    def log_read(
        self, level: str | None = None, start: int = 0, limit: int = 0
    ) -> tuple[_list[dict[str, Any]], bool]:
        """(lines, has_more); a line is {sequenceNumber, timestamp, level, message, metadata}."""
    def series(
        self,
        type: type[_Series],
        kind: int,
        name: str | None,
        *,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Any = None,
    ) -> _Series:
        """A metric or track by name, as an instance of `type`."""
    def series_list(self, kind: int) -> _list[dict[str, Any]]:
        """Of each series what Series.info says."""
    def verify(self, *, quick: bool = False, progress: _Progress = None) -> dict[str, Any]:
        """{findings: [{problem, name, detail, offset, bytes, loss}], losses, filesChecked,
        bytesChecked, linesChecked, filesRemoved, bytesFreed, bytesReclaimable}"""
    def gc(
        self, *, offline: bool = False, dry_run: bool = False, orphan_age: int = 0
    ) -> dict[str, Any]:
        """As verify; frees bytes that nothing needs. orphan_age: seconds, 0 is 3,600."""

class Series:
    """One metric or track of an experiment."""

    @property
    def name(self) -> str | None: ...
    def append(self, **fields: Any) -> Any:
        """Appends one point: append(value=0.5, epoch=3), written when it returns.

        `_ts` is its time in seconds since the epoch, or -1: that of this thread's last append.
        A metric returns {metricId, index, bufferedDataPoints, chunkSize} (numbers but the last as
        digit strings, as the published clients do), a track itself.
        """
    def append_batch(self, data_points: Iterable[dict[str, Any]], /) -> Any:
        """Appends a list of dicts, one a point: all of them, or none after an error."""
    def read_points(self, start: int = 0, limit: int = 0) -> tuple[list[dict[str, Any]], int, bool]:
        """Points by index: (points, total, has_more). Of a metric {index, data, createdAt}, of a
        track {timestamp, fields}."""
    def slice_points(
        self, start: float | None = None, end: float | None = None
    ) -> tuple[list[dict[str, Any]], int, bool]:
        """Points by time, both ends included, as read_points."""
    def info(self) -> dict[str, Any]:
        """{name, description, tags, metadata, total, bytes, createdAt, updatedAt, firstTime,
        lastTime, columns}"""
    def summary(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """(info, {field: {last, min, max, mean}}); the latter three of its finite numbers, None
        when there is none. Reads all points."""

@final
class Writer:
    """A file that is written piece by piece, as a binary file object.

    commit() makes it exist; abandon(), an exception in the with block, and forgetting the writer
    remove what was written.
    """

    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def record(self) -> _File:
        """What commit() returned; None before."""
    def write(self, data: Buffer, /) -> int:
        """Writes a bytes-like object; returns its length in bytes."""
    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte offset; only when seekable."""
    def tell(self) -> int: ...
    def read(self, size: int = -1) -> bytes:
        """Reads back; only when seekable."""
    def truncate(self, size: int | None = None) -> int:
        """Cuts to a size; only when seekable."""
    def flush(self) -> None: ...
    def commit(self) -> _File:
        """Makes the file exist; returns its record."""
    def abandon(self) -> None:
        """Removes what was written. Twice is fine."""
    def seekable(self) -> bool: ...
    def readable(self) -> bool: ...
    def writable(self) -> bool: ...
    def __enter__(self) -> Writer: ...
    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None: ...

@final
class Sync:
    """A run folder that a thread of its own sends to a server, from now on.

    Never waits for the network here. Raises InvalidInputError without a URL, AuthenticationError
    without a token. In a forked child every call but stop() and problems() raises ExperimentError.
    """

    def __new__(
        cls,
        directory: _Path,
        *,
        url: str | None = None,
        token: str | None = None,
        namespace: str | None = None,
    ) -> Sync: ...
    @property
    def troubled(self) -> bool:
        """Whether problems() has any."""
    def ask(self) -> int:
        """A ticket for wait(): all that survives power loss now."""
    def wait(self, ticket: int, timeout: float, /) -> bool:
        """Whether all of it, but what failures() has, arrived in `timeout` seconds; raises what
        stops it for good. Releases the GIL, but does not look at signals: to be called for moments,
        again and again."""
    def is_there(self, file_id: str, /) -> bool:
        """Whether a file's bytes are acknowledged; raises what stops it for good."""
    def status(self) -> dict[str, Any]:
        """{filesSent, filesThere, filesLeft, filesFailed, bytesSent, bytesLeft, linesBytesSent,
        linesBytesLeft, requests, done, failed, error, message, experiment, place}; error is the
        name of the last failure, "MLD_EUNAVAILABLE", or None."""
    def problems(self) -> tuple[list[str], int]:
        """Takes the lines that are new, and how many more had no place (100 are kept)."""
    def failures(self) -> list[tuple[str, str]]:
        """The first 100 of status()["filesFailed"]: name and reason of what cannot be sent."""
    def stop(self) -> None:
        """Ends the thread within two seconds; calls under way end first. Twice is fine."""
