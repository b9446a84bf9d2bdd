"""A progress bar on a terminal for saves and downloads that take a while."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Callable, Union

    Progress = Callable[[int, int], object]
    ProgressOption = Union[bool, Progress, None]

SMALLEST = 64 * 1024 * 1024  # bytes; below that a bar would only flicker
_OFF = ("0", "false", "no", "off")


def for_call(option: ProgressOption, label: str) -> Progress | None:
    """What to hand to the library: the user's own callback, a bar, or nothing.

    option: False is off, a callable is called with (done_bytes, total_bytes) and stops the call
    by returning False; True and None are a bar when stderr is a terminal, unless the environment
    variable ML_DASH_PROGRESS is 0.
    """
    if option is False:
        return None
    if callable(option):
        return option
    return Bar(label) if _is_wanted() else None


def for_upload(option: ProgressOption, label: str) -> UploadLine | None:
    """The line of what waits for a server, or nothing: as for_call, but for callables, which
    count bytes of one file."""
    if option is False or callable(option) or not _is_wanted() or not _is_terminal():
        return None
    return UploadLine(label)


def _is_wanted() -> bool:
    return os.environ.get("ML_DASH_PROGRESS", "").lower() not in _OFF


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stderr, or a closed one
        return False


class Bar:
    """One line on stderr, drawn anew at most ten times a second and removed at the end."""

    def __init__(self, label: str) -> None:
        self._label = label if len(label) <= 30 else label[:29] + "…"
        self._start = time.monotonic()
        self._drawn = 0.0
        self._shown: bool | None = None  # asked when first called: small saves never are

    def __call__(self, done: int, total: int) -> None:
        if total < SMALLEST:
            return
        if self._shown is None:
            self._shown = _is_terminal()
        if not self._shown:
            return
        now = time.monotonic()
        if done >= total:
            sys.stderr.write("\r\033[K")
        elif now - self._drawn >= 0.1:
            self._drawn = now
            sys.stderr.write("\r" + self._line(done, total, now - self._start) + "\033[K")
        else:
            return
        sys.stderr.flush()

    def _line(self, done: int, total: int, seconds: float) -> str:
        filled = 24 * done // total
        rate = done / 1e6 / max(seconds, 1e-3)
        left = (total - done) / 1e6 / max(rate, 1e-3)
        bar = "█" * filled + "░" * (24 - filled)
        return (
            f"{self._label} {bar} {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            f"  {rate:,.0f} MB/s  {left:.0f} s left"
        )


class UploadLine:
    """One line on stderr: what a server still lacks. Call clear() at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = time.monotonic()
        self._shown = False

    def draw(self, left: str, why: str) -> None:
        """Draws it anew: what is left, and the last failure or ""; short waits show none."""
        if time.monotonic() - self._start < 0.5:
            return
        self._shown = True
        because = f" ({why[:60]})" if why else ""
        sys.stderr.write(f"\r{self._label}: {left} to be sent{because}\033[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Removes the line."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
