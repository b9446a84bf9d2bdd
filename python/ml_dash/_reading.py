"""Reading in remote mode: what the server has, and what is still local.

A second, read-only handle of the run folder sees the folder and a mirror of what others sent to the
server (see docs/run-folder.md). Lists ask the server first; what is looked up by name or id asks it
only when nothing is found here. The handle that writes knows nothing of this, and never waits.
"""

from __future__ import annotations

import os
import time

from . import _core, _remote
from .exceptions import (
    ConfigurationError,
    ExperimentError,
    NotFoundError,
    RemoteUnavailable,
    SupersededError,
)

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from ._core import Experiment as RunFolder
    from .experiment import Experiment

    Answer = TypeVar("Answer")

PATIENCE_S = 10.0  # for a server that does not answer
_OWN_PATIENCE_S = 2.0  # the same, when there is an answer of our own
_AWAY_S = 30.0  # for so long a server that was away is not asked about what is ours


def patience_of(given: float | None) -> float:
    """Seconds that a read waits: as given, else the environment's, else 10."""
    text = os.environ.get("ML_DASH_READ_TIMEOUT") if given is None else given
    if text is None or text == "":
        return PATIENCE_S
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise ConfigurationError(f"read_timeout must be seconds from 0 to a day, not {text!r}")
    return seconds


class Reading:
    """What one experiment reads from."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        server: _remote.Server | None,
        patience: float,
    ) -> None:
        """folder: the experiment's own handle; a mirrored one is read itself. server: None: it is
        looked up when it is first needed."""
        self._experiment = experiment
        self._own = folder
        self._server = server
        self._patience = patience
        self._reader: RunFolder | None = None
        self._attached = False
        self._remote_id: str | None = None
        self._away_until = 0.0

    def core(self) -> RunFolder:
        """The handle to read from, as it is: for what the server need not be asked."""
        if self._reader is None:
            self._open()
        assert self._reader is not None
        return self._reader

    def _open(self) -> None:
        experiment = self._experiment
        if experiment._read_only:
            reader = self._own
        else:
            reader = _core.Experiment(directory=experiment.directory, read_only=True, mirrored=True)
            if experiment._damage is not None:
                experiment._damage.add(reader)
        if self._server is not None:
            reader.attach(*self._server, self._patience)
            self._attached = True
        self._reader = reader

    def fresh(self, patience: float | None = None) -> RunFolder:
        """The handle to read from, with all that the server has. Raises RemoteUnavailable when it
        does not answer within the experiment's `read_timeout`."""
        reader = self.core()
        if not self._attached:
            assert self._experiment._url is not None
            self._server = _remote.settle(self._experiment._url, self._experiment._token)
            reader.attach(*self._server, self._patience)
            self._attached = True
        try:
            self._refresh(reader, patience)
        except ExperimentError:
            if self._experiment._read_only or reader.closed:
                raise
            self._open()  # the server keeps this run apart now: what was mirrored was another's
            reader = self.core()
            self._refresh(reader, patience)
        return reader

    def _refresh(self, reader: RunFolder, patience: float | None) -> None:
        self._remote_id = self._current_id()
        try:
            reader.refresh(self._remote_id, patience)
        except RemoteUnavailable:
            self._away_until = time.monotonic() + _AWAY_S
            raise
        self._away_until = 0.0

    def _current_id(self) -> str | None:
        """The experiment's id at the server, as the sender knows it."""
        uplink = self._experiment._uplink
        if uplink is None:
            return self._remote_id
        try:
            return uplink.status()["experiment"] or self._remote_id
        except ExperimentError:  # in a forked child
            return self._remote_id

    def look_up(self, ask: Callable[[RunFolder], Answer]) -> Answer:
        """What is asked for by name or id: the folder's answer, else the server's."""
        try:
            return ask(self.core())
        except SupersededError:
            raise
        except NotFoundError:
            return ask(self.fresh())

    def has_file(self, file_id: str) -> bool:
        """Whether a file is known here, without asking the server."""
        try:
            self.core().get(file_id)
        except NotFoundError:
            return False
        return True

    def fresh_or_own(self, has_own: Callable[[RunFolder], Any]) -> RunFolder:
        """As fresh(), but without a server it is what is known here, when this folder has some of
        it itself: `has_own` tells, of the experiment's own handle."""
        if not has_own(self._own):
            return self.fresh()
        if self._is_away():
            return self.core()
        try:
            return self.fresh(min(self._patience, _OWN_PATIENCE_S))
        except RemoteUnavailable:
            return self.core()

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def series(self, own: _core.Series, kind: int) -> _core.Series:
        """The metric or track of this name, to be read."""
        core = self.fresh_or_own(lambda _: not self._experiment._read_only and own.info()["total"])
        return core.series(_core.Series, kind, own.name)

    def close(self) -> None:
        """Gives the handle back."""
        if self._reader is not None and self._reader is not self._own:
            self._reader.close()
