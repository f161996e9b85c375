"""What connections run on and what became of attempts at them, as users are told.

========= ===============================================================================
kind      the connection runs
========= ===============================================================================
lan       between two addresses of one private network
direct    to an address that is reachable as it stands
mapped    to an address a router forwards by UPnP, NAT-PMP or PCP
punched   through NATs that both ends opened at once (ICE)
relayed   over a TURN server
========= ===============================================================================
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cis.model import NodeId

if TYPE_CHECKING:
    from cis.net.paths import Path

ATTEMPTS_PER_NODE_MAX = 32
NODES_MAX = 256
_LOCAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)
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

    @property
    def relayed(self) -> bool:
        """Whether a relay carries it."""
        return self.kind == "relayed"


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
    if path.relayed:
        return "relayed"
    if mapped or "mapped" in kinds:
        return "mapped"
    if kinds & _BEHIND_NAT:
        return "punched"
    return "lan" if is_local(str(path.address[0])) else "direct"


def is_local(host: str) -> bool:
    """Tell whether an IP address means something on one network or machine alone."""
    address = ipaddress.ip_address(host.partition("%")[0])
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    found = inner or address
    return any(found in network for network in _LOCAL if network.version == found.version)
