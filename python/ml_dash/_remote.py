"""Remote mode: a thread of the library sends a run folder to a server while the run goes on.

Nothing that saves, appends or starts ever waits for the network. This is loaded only when an
Experiment names a server.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
import warnings

from ._core import Sync, find_server
from .exceptions import (
    AuthenticationError,
    ConfigurationError,
    ExperimentError,
    MlDashError,
    NotSentError,
    RemoteUnavailable,
    RemoteWarning,
    TimedOutError,
)

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any, Optional

    from ._progress import UploadLine

    Server = tuple[str, Optional[str]]  # URL; token, None: as the environment or the login says

PATIENCE_S = 60.0  # a server that is away for so long is not waited for
_SLICE_S = 0.1  # Ctrl-C is noticed, and a line drawn, after each
_AWAY = "MLD_EUNAVAILABLE"
_NAMED = 5  # failures that one message names


def url_of(remote: str | bool | None, dash_url: str | bool | None) -> str | bool | None:
    """What the two names of one option say: a URL, True (one is to be found), or None: local."""
    given = [url for url in (remote, dash_url) if url]
    if not given:
        return None
    url = given[0]
    if given[-1] != url:
        raise ConfigurationError("remote and dash_url are two names of one option")
    if url is True or (isinstance(url, str) and url.startswith(("http://", "https://"))):
        return url
    raise ConfigurationError(
        f"remote must be a URL, 'https://dash.example.org', or True, not {url!r}"
    )


def settle(url: str | bool, token: str | None) -> Server:
    """The server to use, looked up now. Raises when none, or no token, is known anywhere."""
    wanted = os.environ.get("ML_DASH_API_URL") or None if url is True else str(url)
    found, has_token = find_server(wanted, token)
    if found is None:
        raise ConfigurationError(
            "no server is known: give remote='https://...', set ML_DASH_URL, or log in once:"
            " ml-dash login --url https://..."
        )
    if not has_token:
        raise AuthenticationError(
            f"no token for {found}: log in once with `ml-dash login --url {found}`, or set"
            " ML_DASH_TOKEN"
        )
    return found.rstrip("/"), token


class Sender:
    """One run folder on its way to one server, for all experiments of a process that write it."""

    def __init__(self, directory: str, server: Server) -> None:
        self.directory = directory
        self.url = server[0]
        self.sync = Sync(directory, url=server[0], token=server[1])
        self.pid = os.getpid()
        self.users = 0

    @property
    def is_ours(self) -> bool:
        """False in a forked child: the parent's thread sends what it writes, too."""
        return self.pid == os.getpid()

    def warn(self, depth: int) -> None:
        """Gives the problems that came up since; `depth` frames above is the user's line."""
        if not self.sync.troubled or not self.is_ours:
            return
        lines, dropped = self.sync.problems()
        if dropped:
            lines.append(f"{dropped} more problems: `ml-dash sync {self.directory}` shows all")
        for line in lines:
            text = line if line.startswith(self.url) else f"{self.url}: {line}"
            warnings.warn(text, RemoteWarning, depth + 1)

    def wait(self, timeout: float | None, line: UploadLine | None = None) -> bool:
        """Whether all that is durable now arrived, within `timeout` seconds, or, with None, before
        the server was away for a minute. Raises what stops it for good."""
        ticket = self.sync.ask()
        watch = _Patience(timeout)
        while not self.sync.wait(ticket, watch.slice()):
            status = self.sync.status()
            if watch.is_over(status):
                return False
            if line is not None:
                line.draw(left(status), status["message"])
        return True

    def wait_for_file(self, file_id: str, timeout: float | None) -> bool:
        """Whether the file arrived; as wait()."""
        ticket = self.sync.ask()
        watch = _Patience(timeout)
        while not self.sync.is_there(file_id):
            if self.sync.wait(ticket, watch.slice()):
                return self.sync.is_there(file_id)  # all that will be sent was
            if watch.is_over(self.sync.status()):
                return False
        return True

    def fail(self) -> None:
        """Raises why a wait was in vain."""
        status = self.sync.status()
        why = f"; {status['message']}" if status["message"] else ""
        kind = RemoteUnavailable if status["error"] == _AWAY else TimedOutError
        raise kind(f"not everything is at {self.url} yet: {left(status)} to go{why}")

    def named_failures(self) -> str:
        """What cannot be sent, and why: the first few of them; "" when there are none."""
        count = self.sync.status()["filesFailed"]
        lines = [f"{name}: {reason}" for name, reason in self.sync.failures()[:_NAMED]]
        if count > len(lines):
            lines.append(f"and {count - len(lines)} more")
        return "; ".join(lines)

    def check_failures(self) -> None:
        """Raises when something cannot be sent."""
        named = self.named_failures()
        if named:
            message = f"not everything can be sent to {self.url}: {named}"
            raise NotSentError(message, self.sync.failures())


class _Patience:
    """How long a wait goes on: to its timeout; and not with a server that is away for a minute."""

    def __init__(self, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise ConfigurationError(f"a timeout must be seconds from 0 on, not {timeout!r}")
        self._moved_at = time.monotonic()
        self._end = None if timeout is None else self._moved_at + timeout
        self._moved: Any = None

    def slice(self) -> float:
        """Seconds of the next piece of the wait."""
        if self._end is None:
            return _SLICE_S
        return max(0.0, min(_SLICE_S, self._end - time.monotonic()))

    def is_over(self, status: dict[str, Any]) -> bool:
        """Looks at what arrived meanwhile."""
        now = time.monotonic()
        moved = [status[key] for key in ("filesSent", "filesThere", "bytesSent", "linesBytesSent")]
        if moved != self._moved or status["error"] != _AWAY:
            self._moved, self._moved_at = moved, now
        return (self._end is not None and now >= self._end) or now - self._moved_at >= PATIENCE_S


_running: dict[tuple[str, str, str | None], Sender] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """The child has none of the threads."""
    global _lock
    _lock = threading.Lock()
    _forgotten.extend(_running.values())
    _running.clear()


_forgotten: list[Sender] = []  # the parent's; kept, so that no destructor runs in a child
os.register_at_fork(after_in_child=_after_fork)


def acquire(directory: str, server: Server) -> Sender:
    """The sender of a folder, started when there is none in this process; give it to release()."""
    key = (os.path.realpath(directory), *server)
    with _lock:
        sender = _running.get(key)
        if sender is None or sender.sync.status()["failed"]:
            sender = _running[key] = Sender(directory, server)
        sender.users += 1
    return sender


def release(sender: Sender) -> None:
    """The last who gives it back stops its thread, within two seconds."""
    with _lock:
        sender.users -= 1
        last = sender.users == 0
        if last:
            for key in [key for key, value in _running.items() if value is sender]:
                del _running[key]
    if last:
        sender.sync.stop()


class Uplink:
    """The server of one open run: see Experiment.flush, .uploaded and .remote_status."""

    def __init__(self, directory: str, server: Server) -> None:
        self._sender: Sender | None = acquire(directory, server)
        self._directory = directory
        self._url = server[0]
        self._last: dict[str, Any] = {}
        self._all_sent = False

    def look(self, depth: int) -> None:
        """Turns problems that came up into warnings, at the line `depth` frames above."""
        if self._sender is not None and self._sender.sync.troubled:
            self._sender.warn(depth + 1)

    def status(self) -> dict[str, Any]:
        """The counters; after the end of the run, the last ones."""
        return self._last if self._sender is None else self._sender.sync.status()

    def flush(self, timeout: float | None) -> None:
        """See Experiment.flush."""
        if self._sender is None:
            raise ExperimentError(f"the run has ended: {self._command()} sends what is left")
        if not self._sender.wait(timeout):
            self._sender.fail()
        self._sender.check_failures()

    def has(self, file_id: str, timeout: float | None) -> bool:
        """See Experiment.uploaded."""
        if self._sender is None:
            if self._all_sent:
                return True
            raise ExperimentError(f"the run has ended: {self._command()} tells what is there")
        if timeout == 0:
            return self._sender.sync.is_there(file_id)
        return self._sender.wait_for_file(file_id, timeout)

    def finish(self, label: str, timeout: float, line: UploadLine | None) -> None:
        """At the end of a run, when its last line is durable: waits, stops, says what is left."""
        sender, self._sender = self._sender, None
        if sender is None or not sender.is_ours:
            return
        why = ""
        arrived = False
        try:
            arrived = sender.wait(timeout, line)
        except MlDashError as error:
            why = str(error)
        finally:  # Ctrl-C, too
            if line is not None:
                line.clear()
            self._last = sender.sync.status()
            failures = sender.named_failures()
            release(sender)
            reasons = (why or self._last["message"], failures)
            self._say(label, arrived, "; ".join(filter(None, reasons)))
            sender.warn(4)

    def _say(self, label: str, arrived: bool, why: str) -> None:
        """On stderr, when something is not there: what, why, and how to send it."""
        failed = self._last["filesFailed"]
        self._all_sent = arrived and not failed
        if self._all_sent:
            return
        rest = f"{failed} files that cannot be sent" if arrived else f"at least {left(self._last)}"
        because = f" ({why})" if why else ""
        print(
            f"ml_dash: {label} is not at {self._url} completely{because}: {rest} to go."
            f" All of it is kept here; to send it: {self._command()}",
            file=sys.stderr,
        )

    def _command(self) -> str:
        return f"ml-dash sync {shlex.quote(self._directory)} --url {shlex.quote(self._url)}"


def left(status: dict[str, Any]) -> str:
    """ "3 files (1.2 MB) and 4 kB of lines"."""
    parts = []
    if status["filesLeft"]:
        files = "1 file" if status["filesLeft"] == 1 else f"{status['filesLeft']} files"
        parts.append(f"{files} ({_size(status['bytesLeft'])})")
    if status["linesBytesLeft"]:
        parts.append(f"{_size(status['linesBytesLeft'])} of lines")
    return " and ".join(parts) or "the last lines"


def _size(count: int) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
