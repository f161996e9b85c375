"""What a process that runs a node sets for itself: how its threads share memory and the interpreter."""

from __future__ import annotations

import ctypes
import sys

SWITCH_S = 0.0002
"""After so long a thread gives way to others that wait. With CPython's 5 ms the one that serves the network waits for
the one that writes, each time it needs the interpreter: an empty node pulls memories a quarter slower."""
_M_ARENA_MAX = -8
ARENAS_MAX = 2


def prepare_process() -> None:
    """Set up the whole process, before it has threads."""
    sys.setswitchinterval(SWITCH_S)
    bound_arenas()


def bound_arenas() -> bool:
    """Have all threads share few arenas (mallopt(3)), before there are threads; False where there is nothing to bound.

    glibc makes an arena for each thread that allocates while others do, up to eight for each processor, and none gives
    its memory to another: a node that rests would grow with every moment at which more threads than ever ran at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(_M_ARENA_MAX, ARENAS_MAX) == 1
