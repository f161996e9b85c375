"""What a peer's segment must pass before the store looks at it: shape, signature, a shared space, a right to write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId, node_of
from cis.trust.signing import Verified, verify
from cis.wire.messages import decode
from cis.wire.segment import Segment

_log = logging.getLogger(__name__)

Judge = Callable[[NodeId, SpaceId, bytes], Fault | None]
"""May this node write to this space under this membership head? The fault is why not."""


def check(frame: bytes, shared: Collection[SpaceId], judge: Judge) -> Verified | PeerFault:
    """Return the verified segment of a frame, or the fault for which it is refused."""
    try:
        segment = decode(frame)
        if not isinstance(segment, Segment):
            raise PeerFault(Fault.MALFORMED, "expected a segment")
        verified = verify(segment)
        if verified.space not in shared:
            raise PeerFault(Fault.UNAUTHORISED, "changes of a space this node does not share")
        for authority in sorted(verified.authorities()):
            refusal = judge(node_of(verified.replica), verified.space, authority)
            if refusal is not None:
                raise PeerFault(refusal, "a change by a node that may not write to that space")
    except PeerFault as fault:
        return fault
    except Exception as error:  # noqa: BLE001 - the peer's boundary: a defect its frame finds is its fault alone
        _log.exception("a segment could not be checked")
        return PeerFault(Fault.INTERNAL, f"a segment could not be checked: {error!r}")
    return verified
