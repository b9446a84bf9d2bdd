"""Says so, once, when reading a run folder meets lines that are torn or garbled."""

from __future__ import annotations

import warnings

from .exceptions import DamagedWarning

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from ._core import Experiment as RunFolder


class DamageWatch:
    """Looks after opening, and after the first read of each series, how much was skipped."""

    def __init__(self, core: RunFolder) -> None:
        self._core = core
        self._known = 0

    def look(self, depth: int) -> None:
        """Warns about problems that are new; `depth` frames above this one is the user's line."""
        info = self._core.info()
        if info["problems"] > self._known:
            self._known = info["problems"]
            warnings.warn(info["warning"], DamagedWarning, depth + 1)
