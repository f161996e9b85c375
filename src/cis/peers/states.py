"""Where a peer stands: three states, four things that happen, and one table of what becomes of it.

======== ========= ======== ====================================================================
state    what      becomes  what it means
======== ========= ======== ====================================================================
unknown  recalled  inactive an earlier run reached it
unknown  connected active   it was reached for the first time
unknown  failed    unknown  nobody has shown yet that it can be reached at all
unknown  lost      inactive a connection nobody told of ended: it was there
inactive recalled  inactive
inactive connected active   it is back
inactive failed    inactive
inactive lost      inactive
active   recalled  active   what is now counts more than what was
active   connected active   a second connection with it
active   failed    active   another way to it came to nothing
active   lost      inactive its last connection ended
======== ========= ======== ====================================================================
"""

from __future__ import annotations

import enum
from types import MappingProxyType


class State(enum.StrEnum):
    """Where a peer stands."""

    UNKNOWN = "unknown"
    INACTIVE = "inactive"
    ACTIVE = "active"


class Happening(enum.StrEnum):
    """What moves a peer from one state to another."""

    RECALLED = "recalled"
    """an earlier run of this node wrote down that it was reached"""
    CONNECTED = "connected"
    FAILED = "failed"
    """all ways to it came to nothing"""
    LOST = "lost"


TRANSITIONS = MappingProxyType(
    {
        (State.UNKNOWN, Happening.RECALLED): State.INACTIVE,
        (State.UNKNOWN, Happening.CONNECTED): State.ACTIVE,
        (State.UNKNOWN, Happening.FAILED): State.UNKNOWN,
        (State.UNKNOWN, Happening.LOST): State.INACTIVE,
        (State.INACTIVE, Happening.RECALLED): State.INACTIVE,
        (State.INACTIVE, Happening.CONNECTED): State.ACTIVE,
        (State.INACTIVE, Happening.FAILED): State.INACTIVE,
        (State.INACTIVE, Happening.LOST): State.INACTIVE,
        (State.ACTIVE, Happening.RECALLED): State.ACTIVE,
        (State.ACTIVE, Happening.CONNECTED): State.ACTIVE,
        (State.ACTIVE, Happening.FAILED): State.ACTIVE,
        (State.ACTIVE, Happening.LOST): State.INACTIVE,
    }
)
