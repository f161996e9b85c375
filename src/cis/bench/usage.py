"""What this process uses: memory and processor time."""

from __future__ import annotations

import time
from pathlib import Path

_STATUS = Path("/proc/self/status")


def usage() -> dict[str, float]:
    """Return resident and peak memory (MB of 10⁶ bytes), processor seconds, and when that was."""
    resident, peak = _memory_kib()
    return {
        "rss_mb": resident * 1024 / 1e6,
        "peak_rss_mb": peak * 1024 / 1e6,
        "cpu_s": time.process_time(),
        "at_s": time.monotonic(),
    }


def _memory_kib() -> tuple[int, int]:
    """Return resident and peak; where the system tells only the peak, that twice (Linux's own may be the parent's)."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])
    try:
        import resource
    except ImportError:
        return 0, 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return peak, peak
