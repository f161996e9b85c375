"""Room on the disk of a home: how much there is, and when that is worth telling."""

from __future__ import annotations

import shutil
from pathlib import Path

FREE_BYTES_WARN = 1 << 30
FREE_BYTES_MIN = 64 << 20


def free_bytes(folder: Path) -> int:
    """Return how much a user may still write there."""
    return shutil.disk_usage(folder).free


def disk_problem(folder: Path) -> dict[str, str]:
    """Return, as a problem of the node, that little room is left; empty where there is enough."""
    free = free_bytes(folder)
    if free >= FREE_BYTES_MIN:
        return {}
    return {"disk": f"{free >> 20} MiB free: nothing more can be written soon; make room where the home lies"}
