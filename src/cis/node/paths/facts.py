"""What connections run on and what became of attempts at them, as users are told.

========= ===============================================================================
kind      the connection runs
========= ===============================================================================
lan       between two addresses of one private network
direct    to an address that is reachable as it stands
mapped    to an address a router forwards by UPnP, NAT-PMP or PCP
punched   through NATs that both ends opened at once (ICE)
relayed   over a TURN server
tunnel    over another transport: in a WebSocket through an anchor
========= ===============================================================================
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cis.model import NodeId
from cis.peers.places import is_local
from cis.reach.transports import TUNNEL

if TYPE_CHECKING:
    from cis.net.paths import Path

ATTEMPTS_PER_NODE_MAX = 32
NODES_MAX = 256
_BEHIND_NAT = frozenset({"srflx", "prflx"})


class CandidateFacts(NamedTuple):
    """An address one end may be reached at; ``kind`` is host, srflx, prflx, mapped or relay."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PathFacts:
    """How a connection runs; ``since`` is by the loop's clock."""

    node: NodeId
    kind: str
    """see the module"""
    local: str
    """kind of this end's candidate, as in `CandidateFacts`"""
    remote: str
    address: tuple[str, int]
    """the peer's, or the relay's where the peer is behind one"""
    dialled: bool
    """whether this node dialled it"""
    since: float
    rtt_s: float | None
    packets_sent: int | None
    packets_lost: int
    suspect: bool
    """what was sent lately has gone unanswered"""
    why_not_better: str
    """empty where nothing better is to be had"""
    own: tuple[CandidateFacts, ...]
    theirs: tuple[CandidateFacts, ...]
    by_way_of: str = ""
    """where a tunnel runs, and how; empty for every other path"""

    @property
    def relayed(self) -> bool:
        """Whether a relay carries it."""
        return self.kind in {"relayed", TUNNEL}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at reaching a node; ``outcome`` is empty while it is under way. ``at`` is by the loop's clock."""

    where: str
    """the address that was dialled, or ``ICE``"""
    outcome: str
    at: float
    took_s: float = 0.0


class Attempts:
    """The last attempts at each node, the oldest first; bounded by `NODES_MAX` and `ATTEMPTS_PER_NODE_MAX`."""

    def __init__(self) -> None:
        self._by_node: OrderedDict[NodeId, deque[Attempt]] = OrderedDict()

    def note(self, node: NodeId, attempt: Attempt) -> None:
        """Keep an attempt; it takes the place of the same one while that was under way."""
        kept = self._by_node.setdefault(node, deque(maxlen=ATTEMPTS_PER_NODE_MAX))
        self._by_node.move_to_end(node)
        if len(self._by_node) > NODES_MAX:
            self._by_node.popitem(last=False)
        begun = next((one for one in kept if (one.where, one.at, one.outcome) == (attempt.where, attempt.at, "")), None)
        if begun is not None:
            kept.remove(begun)
        kept.append(attempt)

    def of(self, node: NodeId) -> list[Attempt]:
        """Return the attempts at a node."""
        return list(self._by_node.get(node, ()))


def kind_of(path: Path, *, mapped: bool = False) -> str:
    """Name what a connection runs on; ``mapped`` where it was dialled to an address that a router forwards."""
    kinds = {path.local, path.remote}
    if path.local == TUNNEL:
        return TUNNEL
    if path.relayed:
        return "relayed"
    if mapped or "mapped" in kinds:
        return "mapped"
    if kinds & _BEHIND_NAT:
        return "punched"
    return "lan" if is_local(str(path.address[0])) else "direct"
