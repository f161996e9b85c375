"""Messages of the `audit` stream: two nodes find out where what they hold differs, and mend it.

An item is a living change as the state hash counts it: memory (16) ‖ replica (40) ‖ number (8). Ranges of items are
half open, their bounds prefixes of items in byte order; `LAST_BOUND` lies behind every item.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.wire.decoding import Space

ITEM_LENGTH = 64
FINGERPRINT_LENGTH = 16
LAST_BOUND = b"\xff" * ITEM_LENGTH
RANGES_MAX = 4096
"""Ranges of one kind in one message."""
LISTED_ITEMS_MAX = 32
"""A range that holds no more on one side is listed in place of being divided."""
VERDICTS_MAX = 2048
SPACES_MAX = 256

Bound = Annotated[bytes, msgspec.Meta(max_length=ITEM_LENGTH)]
Fingerprint = Annotated[bytes, msgspec.Meta(min_length=FINGERPRINT_LENGTH, max_length=FINGERPRINT_LENGTH)]
Item = Annotated[bytes, msgspec.Meta(min_length=ITEM_LENGTH, max_length=ITEM_LENGTH)]
Replica = Annotated[bytes, msgspec.Meta(min_length=40, max_length=40)]
Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 40)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Listed = Annotated[bytes, msgspec.Meta(max_length=ITEM_LENGTH * LISTED_ITEMS_MAX)]
Items = Annotated[bytes, msgspec.Meta(max_length=1 << 19)]
"""Items one after the other, in order."""


class AuditOpening(msgspec.Struct, array_like=True, tag=20, frozen=True):
    """The spaces the sender can compare; their vectors follow in this order, as `cis.wire.messages.Vector` pages."""

    spaces: Annotated[list[Space], msgspec.Meta(max_length=SPACES_MAX)]


class Ranges(msgspec.Struct, array_like=True, tag=21, frozen=True):
    """One turn of comparing a space; empty where the sender has nothing to ask or to answer.

    ``prints`` are (lower, upper, fingerprint, count); ``asked`` (lower, upper) wants its items listed; ``listed``
    (lower, upper, items) is answered by what differs: ``held`` by the sender alone, ``lacked`` by it alone.
    """

    space: Space
    prints: Annotated[list[tuple[Bound, Bound, Fingerprint, Count]], msgspec.Meta(max_length=RANGES_MAX)] = []
    asked: Annotated[list[tuple[Bound, Bound]], msgspec.Meta(max_length=RANGES_MAX)] = []
    listed: Annotated[list[tuple[Bound, Bound, Listed]], msgspec.Meta(max_length=RANGES_MAX)] = []
    held: Items = b""
    lacked: Items = b""


class Verdicts(msgspec.Struct, array_like=True, tag=22, frozen=True):
    """Items of the receiver that are not alive at the sender: ``replaced`` by a change the receiver says it holds.

    ``dead`` are items the sender has collected. ``more`` until the last page of the last space.
    """

    space: Space
    replaced: Annotated[list[tuple[Item, Replica, Number]], msgspec.Meta(max_length=VERDICTS_MAX)] = []
    dead: Items = b""
    more: bool = False


class Want(msgspec.Struct, array_like=True, tag=23, frozen=True):
    """Asks for one segment that holds ``first``; answered, in order, by a segment or by `Absent`."""

    space: Space
    replica: Replica
    first: Number
    last: Number


class Absent(msgspec.Struct, array_like=True, tag=24, frozen=True):
    """What was wanted is not whole here either, up to ``last``."""

    last: Number


class Outcome(msgspec.Struct, array_like=True, tag=25, frozen=True):
    """The sender wants no more: what was wrong with it, what of that is mended, bodies fetched and still missing."""

    wrong: Count
    mended: Count
    fetched: Count
    missing: Count


AuditMessage = AuditOpening | Ranges | Verdicts | Want | Absent | Outcome
