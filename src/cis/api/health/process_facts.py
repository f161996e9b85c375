"""What this process takes of the machine, where the system tells (Linux does)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


def resident_bytes() -> int | None:
    """Return the memory the process holds."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def open_files() -> int | None:
    """Return how many files and sockets the process has open, the one for counting them left out."""
    try:
        return len(list(_DESCRIPTORS.iterdir())) - 1
    except OSError:
        return None


def running_tasks() -> int | None:
    """Return how many tasks the event loop of this thread has, None where none runs."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return None


def allocated_blocks() -> int:
    """Return how many pieces of memory Python's own allocator has given out (those of libraries are not among them)."""
    return sys.getallocatedblocks()
