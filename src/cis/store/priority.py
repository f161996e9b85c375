"""What threads that only follow do first: let everything else go before them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def be_nice(niceness: int) -> None:
    """Give this thread a lower priority; threads have one of their own on Linux alone."""
    setter: Callable[[int, int, int], None] | None = getattr(os, "setpriority", None)
    if setter is not None and os.uname().sysname == "Linux":
        setter(os.PRIO_PROCESS, threading.get_native_id(), niceness)
