"""Times as people type them: a date, a date with a time of day, or how long ago."""

from __future__ import annotations

import re
import time
from datetime import datetime

from cis.errors import UsageError

_SPAN = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)(?:\s+ago)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
MS_MAX = 1 << 46


def moment_ms(text: str) -> int:
    """Return Unix milliseconds of ``2026-05-01``, ``2026-05-01T12:30`` (here) or ``7d``; `UsageError` for others."""
    span = _SPAN.fullmatch(text.strip().lower())
    if span is not None:
        return max(0, time.time_ns() // 1_000_000 - int(span[1]) * _SECONDS[span[2]] * 1000)
    try:
        ms = int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is no time: write 2026-05-01, 2026-05-01T12:30, or 7d for a week ago") from None
    if not 0 <= ms < MS_MAX:
        raise UsageError(f"{text!r} is no time that memories have")
    return ms
