"""What becomes of runs that a program started and did not end itself.

At a normal exit of the interpreter they are COMPLETED; after an exception that nobody caught,
FAILED, or CANCELLED for KeyboardInterrupt. Only the process that started a run ends it: a forked
child's exit, os._exit and a signal that kills leave it RUNNING, with everything that was written,
and opening it again resumes it.
"""

from __future__ import annotations

import atexit
import os
import sys

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from .experiment import Experiment

_open: dict[int, Experiment] = {}  # by id(): strong, so that a forgotten run still ends
_outcome = "COMPLETED"
_error: str | None = None
_installed = False


def opened(experiment: Experiment) -> None:
    """Remembers a run that was started here."""
    global _installed
    _open[id(experiment)] = experiment
    if not _installed:
        _installed = True
        atexit.register(_end_all)
        _watch_exceptions()


def ended(experiment: Experiment) -> None:
    """Forgets it."""
    _open.pop(id(experiment), None)


def _watch_exceptions() -> None:
    previous = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, traceback: Any) -> None:
        global _outcome, _error
        _outcome, _error = outcome_of(kind, value), text_of(value)
        previous(kind, value, traceback)

    sys.excepthook = hook


def outcome_of(kind: type[BaseException] | None, value: BaseException | None) -> str:
    """The status of a run whose body ended with this exception, or none."""
    if kind is None:
        return "COMPLETED"
    if issubclass(kind, KeyboardInterrupt):
        return "CANCELLED"
    if issubclass(kind, SystemExit) and getattr(value, "code", 1) in (None, 0):
        return "COMPLETED"
    return "FAILED"


def _end_all() -> None:
    for experiment in list(_open.values()):
        if experiment._pid != os.getpid():
            continue
        try:
            experiment._close(_outcome, _error)
        except Exception as error:
            notes = getattr(error, "__notes__", ())
            for line in (f"ending {experiment!r}: {text_of(error)}", *notes):
                print(f"ml_dash: {line}", file=sys.stderr)


def text_of(error: BaseException) -> str:
    """ "ValueError: what it says", as at the end of a traceback, whatever str() of it does."""
    try:
        message = str(error)
    except Exception:
        message = "<its message cannot be read>"
    kind = type(error)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{home}{kind.__qualname__}: {message}" if message else f"{home}{kind.__qualname__}"


def reason_of(error: BaseException | str | None) -> str | None:
    """What the library is told of an error: text that is UTF-8 and has no NUL."""
    if error is None:
        return None
    text = text_of(error) if isinstance(error, BaseException) else error
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", " ")


def add_note(error: BaseException, note: str) -> None:
    """Adds a line to what is shown of an exception; before Python 3.11, writes it to stderr."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        print(f"ml_dash: {note}", file=sys.stderr)
