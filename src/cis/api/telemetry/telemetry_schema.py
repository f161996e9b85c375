"""What is asked of a running node about how it does: who is connected with whom, what goes over the wire, how fast."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request

Standing = Literal["self", "told", "silent", "away"]
"""``told``: it said whom it is connected with; ``silent``: it is up, and did not say; ``away``: it is not up."""


class TopologyMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member, and how long ago it said whom it is connected with."""

    name: str
    did: str
    standing: Standing
    told_s: float | None = None
    version: str | None = None


class TopologyTie(msgspec.Struct, frozen=True, kw_only=True):
    """A connection of two members, by name; ``told_by`` are those of them that say so.

    ``path`` is what it runs on, ``neighbour`` whether gossip goes over it.
    """

    ends: tuple[str, str]
    path: str
    neighbour: bool
    rtt_ms: float | None
    told_by: tuple[str, ...]


class Topology(msgspec.Struct, frozen=True):
    """Who is connected with whom; this node is the first member."""

    members: tuple[TopologyMember, ...]
    ties: tuple[TopologyTie, ...]


class GetTopology(Request[Topology], frozen=True, kw_only=True):
    """Ask all members that are up whom they are connected with, and wait so long for those that do not say."""

    path: ClassVar[str] = "p2p/topology"
    timeout_s: float = 5.0


class PeerLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips with one peer in milliseconds, sorted; ``error`` says why there are fewer than were asked for.

    Percentiles are those of these round trips, null where there is none.
    """

    name: str
    did: str
    path: str
    rtt_ms: tuple[float, ...]
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    error: str = ""


class LatencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips with every connected peer, measured at the same time, and of all of them together."""

    peers: tuple[PeerLatency, ...]
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class MeasureLatency(Request[LatencyReport], frozen=True, kw_only=True):
    """Measure ``count`` round trips with each connected peer, all peers at once, ``interval_s`` apart."""

    path: ClassVar[str] = "p2p/latency-test"
    count: int = 20
    interval_s: float = 0.1
    timeout_s: float = 5.0


class FlowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What passed: bytes of streams and messages each way, and for how long a limit of bandwidth held it up."""

    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    held_in_s: float
    held_out_s: float


class PeerFlows(msgspec.Struct, frozen=True, kw_only=True):
    """What passed between a peer and this node, by what it was for.

    ``did`` is null for what is nobody's: of strangers who did not become known as members.
    """

    name: str
    did: str | None
    connected: bool
    purposes: dict[str, FlowInfo]
    total: FlowInfo
    sessions: int
    changes_received: int


class PoolUse(msgspec.Struct, frozen=True, kw_only=True):
    """What became of connections: made, ended as idle or for another, turned away as all were in use.

    ``reused`` counts the streams that were begun over a connection there was already.
    """

    connected: int
    connections_max: int
    opened: int
    idled: int
    evicted: int
    turned_away: int
    reused: int


class BandwidthInForce(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in bytes a second as they are now, off-peak hours considered; 0 for none."""

    upload: int
    download: int
    peer_upload: int
    peer_download: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What passed since the node started; ``turned_away`` counts what limits refused or slowed down, by limit.

    Bytes of datagrams are those of all packets, handshakes and overhead of QUIC among them.
    """

    since_s: float
    peers: tuple[PeerFlows, ...]
    total: FlowInfo
    datagram_bytes_in: int
    datagram_bytes_out: int
    gossip_bodies: int
    gossip_duplicates: int
    pool: PoolUse
    bandwidth: BandwidthInForce
    turned_away: dict[str, int]


class GetStatistics(Request[Statistics], frozen=True, kw_only=True):
    """Say what passed between this node and its peers."""

    path: ClassVar[str] = "p2p/stats"
