"""Every exception of ml_dash: one hierarchy, and each also the built-in that one would catch.

try:
    experiment.files(file_id=some_id).download()
except FileNotFoundError: ...     # also ml_dash.exceptions.NotFoundError
"""

from __future__ import annotations

import errno as _errno
import io as _io


class MlDashError(Exception):
    """The base of all exceptions of ml_dash."""


class InvalidInputError(MlDashError, ValueError):
    """An argument that cannot be: metadata with NaN, tags that are not strings, fps <= 0."""


class InvalidNameError(InvalidInputError):
    """A name, prefix or path that cannot be stored: "..", NUL, control characters, too long."""


class NotJsonError(InvalidInputError, TypeError):
    """A value that JSON has no form for, such as a set."""


class TooLargeError(InvalidInputError):
    """A file over the experiment's `max_file_size`."""


class ConfigurationError(InvalidInputError):
    """Options of an Experiment that do not fit together, or that this version does not offer."""


class ExperimentError(MlDashError, RuntimeError):
    """Not possible in this state: a call before the run started, or a write after it ended."""


class MissingPackageError(MlDashError, ImportError):
    """An optional package (matplotlib, av, torch ...) is needed for this call."""


class AuthenticationError(MlDashError, PermissionError):
    """The server does not know who is asking."""


class NetworkError(MlDashError, ConnectionError):
    """The server could not be reached, or answered with an error."""


class RemoteUnavailable(NetworkError, TimeoutError):
    """The server did not answer in time; what was asked for is only there, or not yet."""


class BusyError(NetworkError):
    """The server has too much to do, or refuses more tries for now."""


class ConflictError(MlDashError, RuntimeError):
    """Somebody else changed it meanwhile."""


class StorageError(MlDashError, OSError):
    """Reading or writing the run folder failed."""

    _number: int | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if self._number is not None:
            self.errno = self._number


class NotFoundError(StorageError, FileNotFoundError):
    """No such file, version or experiment."""

    _number = _errno.ENOENT


class SupersededError(NotFoundError):
    """This version's bytes went for a newer version, whose id the message says."""


class ExistsError(StorageError, FileExistsError):
    """It exists already, and replacing was refused."""

    _number = _errno.EEXIST


class AccessError(StorageError, PermissionError):
    """The system does not permit it."""

    _number = _errno.EACCES


class NoSpaceError(StorageError):
    """The disk or the quota is full."""

    _number = _errno.ENOSPC


class ChecksumError(StorageError, ValueError):
    """Stored bytes are not those that were saved; nothing was left at the destination."""


class NotSeekableError(StorageError, _io.UnsupportedOperation):
    """A writer that was opened to be written in order."""


class DamagedError(StorageError):
    """Data of the run folder that cannot be read."""


class NotSentError(StorageError):
    """flush(remote=True): all else is at the server, but some files cannot be sent: damaged,
    missing, or refused there. `failures` has up to 100 pairs of name and reason."""

    def __init__(self, message: str, failures: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.failures = failures or []

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.failures)


class SourceChangedError(StorageError):
    """A file was written to while it was being saved."""


class FormatError(StorageError, ValueError):
    """A run folder that a newer version wrote, or that is none."""


class TimedOutError(MlDashError, TimeoutError):
    """Something took too long."""


class InterruptedByUserError(MlDashError, InterruptedError):
    """A progress callback stopped the call by returning False."""


class OutOfMemoryError(MlDashError, MemoryError):
    """The library could not allocate memory."""


class DamagedWarning(UserWarning):
    """Given when a run folder with torn or garbled lines is opened; verify() lists them."""


class RemoteWarning(UserWarning):
    """Given when the server is away (it is tried again), or a file cannot be sent there."""
