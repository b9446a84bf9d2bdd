"""Log lines: experiment.log("text"), experiment.logs.info("text", step=3)."""

from __future__ import annotations

import sys
from enum import Enum

from .exceptions import InvalidInputError

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .experiment import Experiment


class LogLevel(Enum):
    """The five levels. "warning" is taken for "warn", too, and stored as that."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    FATAL = "fatal"

    @classmethod
    def validate(cls, level: str | LogLevel) -> str:
        """The level in lower case; InvalidInputError (a ValueError) when there is no such."""
        if isinstance(level, LogLevel):
            return str(level.value)
        name = _ALIASES.get(level.lower(), level.lower()) if isinstance(level, str) else level
        if name in _LEVELS:
            return name
        raise InvalidInputError(f"no log level {level!r}; there are {', '.join(_LEVELS)}")


_LEVELS = tuple(level.value for level in LogLevel)
_ALIASES = {"warning": "warn"}


def write(
    experiment: Experiment, level: str | LogLevel, message: str, fields: dict[str, Any] | None
) -> None:
    """Writes one line, and prints it when the experiment was made with echo_logs."""
    checked = LogLevel.validate(level)
    experiment._core.log(checked, message, fields or None)
    if experiment._echo_logs:
        extra = "".join(f" {key}={value}" for key, value in (fields or {}).items())
        stream = sys.stderr if checked in ("error", "fatal") else sys.stdout
        print(f"[{checked.upper()}] {message}{extra}", file=stream)


class LogBuilder:
    """Writes at a level: .debug, .info, .warn (or .warning), .error, .fatal; each takes more fields
    by name."""

    def __init__(self, experiment: Experiment, metadata: dict[str, Any] | None = None) -> None:
        self._experiment = experiment
        self._metadata = metadata

    def _write(self, level: str, message: str, extra: dict[str, Any]) -> None:
        fields = {**self._metadata, **extra} if self._metadata else extra
        write(self._experiment, level, message, fields)

    def debug(self, message: str, **extra: Any) -> None:
        """For whoever looks for a mistake."""
        self._write("debug", message, extra)

    def info(self, message: str, **extra: Any) -> None:
        """What happens."""
        self._write("info", message, extra)

    def warn(self, message: str, **extra: Any) -> None:
        """What may be wrong."""
        self._write("warn", message, extra)

    warning = warn

    def error(self, message: str, **extra: Any) -> None:
        """What went wrong."""
        self._write("error", message, extra)

    def fatal(self, message: str, **extra: Any) -> None:
        """What ends the run."""
        self._write("fatal", message, extra)

    def read(
        self, level: str | LogLevel | None = None, start: int = 0, limit: int = 0
    ) -> list[dict[str, Any]]:
        """Lines from position `start` on (0 of `limit`: all), of one level or of any.

        Each is {sequenceNumber, timestamp, level, message} and, where given, metadata.
        """
        checked = None if level is None else LogLevel.validate(level)
        core = self._experiment._fresh_or_own(lambda core: core.log_read(None, 0, 1)[0])
        lines, _ = core.log_read(checked, start, limit)
        if self._experiment._damage is not None:
            self._experiment._damage.look(2)
        return lines
