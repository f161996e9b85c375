"""What a peer's segment must pass before the store looks at it: shape, signature, a shared space, a right to write.

A log whose author was removed ends at a cut: what lies beyond is left out, and what came before is taken. Nothing that
lies below this node's stable floor is cut off (RULES of authority, 3): all members have had it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cis.arrays import np
from cis.errors import Fault, PeerFault
from cis.model import ReplicaId, SpaceId
from cis.trust.signing import Verified, shortened, verify
from cis.wire.messages import decode
from cis.wire.segment import Segment

if TYPE_CHECKING:
    import numpy.typing as npt

_log = logging.getLogger(__name__)


class Limited(Protocol):
    """A cut as far as the store needs it."""

    @property
    def seq(self) -> int:
        """The last number that stays."""


Judge = Callable[[ReplicaId, SpaceId, bytes, int], Fault | None]
"""May this replica's changeset, under this membership head and from this number on, be in the space?

The fault is why not: CUT where a removal voids it, which a later entry may change; any other stays so.
"""
Limit = Callable[[SpaceId, ReplicaId], Limited | None]
"""Where this replica's log in the space is cut, None where it is not."""
_CUT_OFF = "beyond the cut of its author's removal from that space"


class Gate(NamedTuple):
    """Whose changes are taken in, and how far; ``stable`` is up to where all members have reported to have a log."""

    judge: Judge
    limit: Limit
    stable: Callable[[SpaceId, ReplicaId], int]


def check(frame: bytes, shared: Collection[SpaceId], gate: Gate) -> Verified | PeerFault:
    """Return what may be taken in of a frame's segment, or the fault for which it is refused."""
    try:
        segment = decode(frame)
        if not isinstance(segment, Segment):
            raise PeerFault(Fault.MALFORMED, "expected a segment")
        verified = verify(segment)
        if verified.space not in shared:
            raise PeerFault(Fault.UNAUTHORISED, "changes of a space this node does not share")
        standing = _standing(verified, gate)
        if standing == 0:
            raise PeerFault(Fault.CUT, _CUT_OFF)
        return verified if standing == len(verified.links) else shortened(verified, standing)
    except PeerFault as fault:
        return fault
    except Exception as error:  # noqa: BLE001 - the peer's boundary: a defect its frame finds is its fault alone
        _log.exception("a segment could not be checked")
        return PeerFault(Fault.INTERNAL, f"a segment could not be checked: {error!r}")


def _standing(verified: Verified, gate: Gate) -> int:
    """Return how many changesets from the first no cut voids; `PeerFault` where one of them has no right."""
    space, replica, authorities = verified.space, verified.replica, verified.authorities()
    ends = verified.segment.first - 1 + np.cumsum(verified.layout.counts)
    firsts = ends - verified.layout.counts + 1
    lifted = int(np.searchsorted(firsts, gate.stable(space, replica), side="right"))
    standing = _within(ends, lifted, gate.limit(space, replica))
    judged: dict[bytes, None] = {}
    for at, authority in enumerate(authorities):
        if at >= standing:
            break
        if authority in judged:
            continue
        refusal = gate.judge(replica, space, authority, int(firsts[at]))
        if refusal is Fault.CUT and at < lifted:
            continue
        if refusal is Fault.CUT:
            return at
        if refusal is not None:
            raise PeerFault(refusal, "a change by a node that may not write to that space")
        judged[authority] = None
    return standing


def _within(ends: npt.NDArray[np.int64], lifted: int, limit: Limited | None) -> int:
    """Return how many changesets end before a limit, or begin below the floor, which lifts it."""
    if limit is None:
        return len(ends)
    return max(lifted, int(np.searchsorted(ends, limit.seq, side="right")))
