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
        self._known = [(core, 0)]

    def add(self, core: RunFolder) -> None:
        """Another handle of the folder: what it knows at its opening was told."""
        self._known.append((core, core.info()["problems"]))

    def look(self, depth: int) -> None:
        """Warns about problems that are new; `depth` frames above this one is the user's line."""
        for place, (core, known) in enumerate(self._known):
            info = core.info()
            if info["problems"] > known:
                self._known[place] = (core, info["problems"])
                warnings.warn(info["warning"], DamagedWarning, depth + 1)
