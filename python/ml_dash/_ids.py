"""Snowflake ids: milliseconds since 2024, the process, a sequence; later ones are larger."""

from __future__ import annotations

import _thread
import os
import time

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
_lock = _thread.allocate_lock()
_last = (0, 0)  # milliseconds, sequence


def generate_snowflake_id() -> str:
    """A new id as a decimal string, unique in this process and ordered by time."""
    global _last
    with _lock:
        now = time.time_ns() // 1_000_000 - _EPOCH_MS
        last_ms, sequence = _last
        if now > last_ms:
            _last = (now, 0)
        elif sequence < 0xFFF:
            _last = (last_ms, sequence + 1)
        else:
            _last = (last_ms + 1, 0)
        ms, sequence = _last
    return str(ms << 22 | (os.getpid() & 0x3FF) << 12 | sequence)
