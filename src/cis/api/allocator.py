"""What the system's allocator may keep of memory that was freed: a node runs for weeks beside other things."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8
ARENAS_MAX = 2


def bound_arenas() -> bool:
    """Have all threads share few arenas (mallopt(3)), before there are threads; False where there is nothing to bound.

    glibc makes an arena for each thread that allocates while others do, up to eight for each processor, and none gives
    its memory to another: a node that rests would grow with every moment at which more threads than ever ran at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(_M_ARENA_MAX, ARENAS_MAX) == 1
