"""How much of the membership log each admin may fill: so much that nobody keeps the others from removing it.

An entry that finds no room is left out without blame, as who passes it on may have had room. No cluster of correct
nodes comes near these bounds, so they change nothing about all nodes taking in the same entries. Within them:

- *Each admin* states at most `ISSUED_MAX` entries, and `LEANED_MAX` more where others, no junior to it, lean on them.
- *Who is nearer the founder has the last room.* Those an admin makes are farther than itself. So, however many of them
  it makes, they leave room for what removes them: one part for whom the founder made admins, one for the founder, and
  the last for the recovery key.
- *What removes an admin that flooded the log leans on none of the flood*, and neither does what follows. Other nodes
  may have taken in other parts of it, and would wait for ever for what is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cis.model import NodeId
from cis.trust.entries import Body
from cis.trust.log import Known
from cis.trust.rights import Rights
from cis.wire.membership import Grant, Revoke, Rotate

ENTRIES_MAX = 16_384
"""Entries told."""
HELD_MAX = 32_768
"""Entries held, those without effect included. An ancestry takes a bit for each entry, so this many take 64 MiB."""
RESERVED = 1024
"""Room for each of the three nearest distances from the founder."""
ISSUED_MAX = 4096
FLOOD_MIN = 2048
"""More entries than these by one admin, and those it made, or of no effect because of it, are taken for a flood."""
LEANED_MAX = 256


@dataclass(frozen=True, slots=True)
class Crowd:
    """The entries of a log that are told: how many, and by whom."""

    told: int
    issued: Mapping[NodeId, int]

    def admits(self, rights: Rights, issuer: NodeId, body: Body | None, backers: Iterable[NodeId] = ()) -> bool:
        """Tell whether there is room for one more; ``backers`` are members' nodes that state what follows it."""
        count = self.issued.get(issuer, 0)
        if count < ISSUED_MAX and self.told < _room(2, body):
            return True
        distance = rights.seniority(issuer)[0]
        leaning = [
            nearness for backer in backers if backer != issuer and (nearness := rights.seniority(backer)[0]) <= distance
        ]
        issued_max = ISSUED_MAX + LEANED_MAX * bool(leaning)
        return count < issued_max and self.told < max(_room(near, body) for near in (distance, *leaning))


def flood(known: Sequence[Known], rights: Rights, issuer: NodeId, subject: NodeId | None) -> int:
    """Return the places, as an ancestry, of what ``issuer`` is not to lean on, removing ``subject`` or later.

    That is all but the first entries of removed admins that flooded the log, and of the subject and those it made
    admins if they do; 0 as long as nobody does. ``known`` is the whole log.
    """
    made = rights.made_by(subject, issuer) if subject is not None else {}
    groups: dict[NodeId | None, list[int]] = {}
    for one in known:
        group = subject if one.entry.issuer in made else rights.blame(one)
        if group is not None:
            groups.setdefault(group, []).append(one.place)
    mask = bytearray(len(known) // 8 + 1)
    for places in groups.values():
        for place in places[LEANED_MAX:] if len(places) > FLOOD_MIN else ():
            mask[place // 8] |= 1 << place % 8
    return int.from_bytes(mask, "little")


def heads_beside(known: Iterable[Known], rights: Rights, shunned: int) -> list[Known]:
    """Return the latest entries with effect of those that follow nothing of ``shunned``."""
    heads, followed = [], 0
    for one in sorted(known, key=lambda one: -one.place):
        if not one.ancestry & shunned and rights.blame(one) is None:
            if not followed >> one.place & 1:
                heads.append(one)
            followed |= one.ancestry
    return heads


def _room(distance: int, body: Body | None) -> int:
    """Up to how many entries one may be added whose issuer is so far from the founder (the recovery key: -1)."""
    reserved = isinstance(body, Grant | Revoke | Rotate)
    return ENTRIES_MAX - RESERVED * (min(distance, 2) + 1 if reserved else 3)
