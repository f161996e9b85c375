"""How this node exchanges spaces, as its settings say; it may be replaced while the node runs."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cis.store.log import CHANGESETS_PER_FRAME
from cis.store.placing import BEYOND_MAX


class Turn(enum.IntEnum):
    """When a space has its turn among those exchanged in one session."""

    FIRST = -1
    ANY = 0
    LAST = 1


@dataclass(frozen=True, slots=True)
class Exchange:
    """What goes into a frame, and what becomes of the public space."""

    changesets_per_frame: int = CHANGESETS_PER_FRAME
    beyond_max: int = BEYOND_MAX
    """how far past the end of a log a change may be to be kept"""
    public: bool = True
    """whether the public space is exchanged at all"""
    public_turn: Turn = Turn.ANY
