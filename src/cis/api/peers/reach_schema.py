"""What is asked about how this node reaches others, and what is answered."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request
from cis.reach.findings import Netcheck, Outlook

PathKind = Literal["lan", "direct", "mapped", "punched", "relayed", "tunnel"]


class PortMapping(msgspec.Struct, frozen=True, kw_only=True):
    """What a router answers to one of the protocols by which a port is mapped."""

    protocol: str
    outcome: str
    """ok, refused, no answer, or not asked"""
    latency_ms: float | None = None
    detail: str = ""


class NetReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the network here is, as measured from fresh sockets, and which peers can be reached through it how.

    ``forwarded`` is what a router forwards to the running node, ``relay`` whether a relay answers, null where none is
    configured; ``nat_name`` is what people call such a NAT, empty while its mapping is unknown.
    """

    measured: Netcheck
    nat_name: str
    gateway: str | None
    port_mapping: tuple[PortMapping, ...]
    mapping_used: bool
    """whether the settings let this node map a port"""
    forwarded: str | None
    relay: bool | None
    outlook: tuple[Outlook, ...]


class CheckNetwork(Request[NetReport], frozen=True, kw_only=True):
    """Measure the network this node is in."""

    path: ClassVar[str] = "p2p/netcheck"
    timeout_s: float = 30.0


class CandidateInfo(msgspec.Struct, frozen=True):
    """An address one end may be reached at: its own (host), as seen from outside, forwarded, or of a relay."""

    kind: str
    address: str


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A connection: with whom, over what, how well, and why it is not better where it could be.

    ``local`` and ``remote`` are the kinds of both ends' addresses, as in `CandidateInfo`; ``loss`` is the share of
    packets sent that were lost, null where too few were sent to tell.
    """

    name: str
    did: str
    kind: PathKind
    local: str
    remote: str
    address: str
    dialled: bool
    since_s: float
    rtt_ms: float | None
    packets_sent: int | None
    packets_lost: int
    loss: float | None
    suspect: bool
    why_not_better: str
    own: tuple[CandidateInfo, ...]
    theirs: tuple[CandidateInfo, ...]


class ListConnections(Request[tuple[ConnectionInfo, ...]], frozen=True, kw_only=True):
    """List the connections there are."""

    path: ClassVar[str] = "p2p/connections"


class AttemptInfo(msgspec.Struct, frozen=True):
    """One try at reaching a peer: at which address, or by ICE, how it ended, and when it began."""

    where: str
    outcome: str
    ago_s: float
    took_s: float


class ExplainPeer(Request[tuple[AttemptInfo, ...]], frozen=True, kw_only=True):
    """Say what became of the attempts at a member that were under way within these seconds, the oldest first."""

    path: ClassVar[str] = "p2p/explain"
    target: str
    within_s: float = 3600.0


class ReachStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How this node can reach others, in a few words for ``cis status`` and ``cis doctor``.

    ``relayed`` are the peers reached over a relay, ``mapping`` what the NAT here does, in the words of RFC 5780, null
    while that is unknown. Servers and anchors are counted: configured, and failing or up by now.
    """

    relayed: tuple[str, ...]
    mapping: str | None
    stun_servers: int
    stun_failing: int
    turn_servers: int
    turn_failing: int
    relay: bool
    forwarded: bool
    anchors: int
    anchors_up: int
