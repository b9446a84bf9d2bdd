"""JSON as the run folder keeps it: NaN where it is allowed, numpy and torch as plain values."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any


def plain(value: Any) -> Any:
    """A plain form of what JSON does not know: arrays, numpy scalars, paths, dates, enums."""
    for method in ("tolist", "item", "isoformat", "__index__", "__float__", "__fspath__"):
        convert = getattr(value, method, None)
        if convert is not None and not isinstance(value, type):
            return convert()
    if hasattr(type(value), "__members__"):
        return value.value
    raise TypeError(f"a {type(value).__name__} has no form in JSON: {value!r:.100}")


encode = json.JSONEncoder(default=plain, allow_nan=True, separators=(",", ":")).encode
encode_strict = json.JSONEncoder(default=plain, allow_nan=False, separators=(",", ":")).encode
decode = json.JSONDecoder().decode
