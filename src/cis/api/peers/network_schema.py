"""What is asked of a running node and its peers, and what it answers."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request
from cis.api.peers.peer_schema import AddressInfo, ScoreParts
from cis.api.peers.reach_schema import ReachStatus
from cis.node.home.renamed import Renamed

RoleName = Literal["admin", "writer", "reader", "blind"]
PeerState = Literal["connected", "up", "unknown", "active", "inactive"]
"""``up``: not connected, but it tells through others that it is there."""


class PeerGlance(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand with a connected member, in a few words; fields as those of `PeerInfo`."""

    name: str
    path: str
    rtt_ms: float | None
    syncing: bool
    in_step_s: float | None
    behind_here: int | None
    behind_there: int | None
    last_error: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node at a glance; ``problems`` says what does not work and why, ``remedies`` what to type about each."""

    running: bool
    name: str
    did: str
    cluster: str
    role: str
    home: str
    version: str
    members: tuple[str, ...]
    memories: int
    pid: int | None = None
    uptime_s: float | None = None
    listen: str | None = None
    networking: bool = False
    connected: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    """connected, and nothing is exchanged with them"""
    removed_by: str | None = None
    """who removed this node from its cluster, as far as it was told; null for a member"""
    removed_ms: int | None = None
    problems: dict[str, str] = {}
    remedies: dict[str, str] = {}
    peers: tuple[PeerGlance, ...] = ()
    """the connected ones, by name"""
    dht_ports: tuple[int, ...] = ()
    """where the DHT listens, by UDP, and by TCP that serves nothing"""
    reach: ReachStatus | None = None
    """how others are reached; null where no node runs, or it opens no socket"""
    problem_ages_s: dict[str, float] = {}
    """how long ago each problem arose last, for those of which it is known"""
    turned_away: dict[str, int] = {}
    """what was refused, slowed down or dropped because of a limit, since the start"""
    banned: dict[str, float] = {}
    """nodes shut out for breaking the protocol, by name, and for how many more seconds"""
    renamed: tuple[Renamed, ...] = ()
    """memories that took another key when this node joined its cluster, since it was started; the first thousand"""
    elsewhere: dict[str, int] = {}
    """bodies that are not on this device by choice, by space, for those of which it does not keep everything"""
    unbacked: tuple[str, ...] = ()
    """of these, those of which no other member is known to keep everything"""


class GetStatus(Request[NodeStatus], frozen=True, kw_only=True):
    """Say how the node is; with ``ask``, connected members are asked what they hold, for a second at most."""

    path: ClassVar[str] = "node/status"
    ask: bool = False


class Stopping(msgspec.Struct, frozen=True):
    """The node is about to end."""

    pid: int


class StopNode(Request[Stopping], frozen=True, kw_only=True):
    """End the node cleanly."""

    path: ClassVar[str] = "node/stop"


class Invited(msgspec.Struct, frozen=True):
    """A ticket for one node to join; whoever holds it may, until it expires or is used."""

    ticket: str
    expires_ms: int
    addresses: tuple[str, ...]


class Invite(Request[Invited], frozen=True, kw_only=True):
    """Make a ticket by which one other node can join the cluster, with that role in these spaces.

    Without ``spaces`` in the public one; an admin's role counts in all.
    """

    path: ClassVar[str] = "node/invite"
    name: str | None = None
    expires_s: float = 600.0
    role: RoleName = "writer"
    spaces: tuple[str, ...] = ()


class PeerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One peer: who, whether it is connected and over what address, and how synchronisation with it stands."""

    name: str
    did: str | None
    state: PeerState
    neighbour: bool
    """whether gossip is exchanged with it: it is in the active view"""
    address: str | None
    source: str | None
    connected_s: float | None
    rtt_ms: float | None
    """of the connection, or as it was smoothed over earlier ones"""
    skew_ms: int | None
    version: str | None
    """the version of cis it told all members it runs"""
    told_s: float | None
    """seconds since it last told all members that it is up"""
    sessions: int
    in_step_s: float | None
    """seconds since the last completed session"""
    syncing: bool
    changes_received: int
    bytes_received: int
    bytes_sent: int
    last_error: str
    successes: int
    """connections with it, whoever dialled"""
    failures: int
    """rounds of dials of it that led nowhere"""
    path: str
    """what the connection runs on, or the last one ran on: lan, direct, mapped, punched or relayed"""
    seen_s: float | None
    """seconds since it last did something this node saw"""
    found_by: str
    """who told of it first: a provider, gossip, invite or user; incoming where it came by itself"""
    score: float
    why: ScoreParts
    failed_in_row: int
    next_attempt_s: float | None
    """in how many seconds it may be dialled again; null while it is connected, or no way to it is known"""
    behind_here: int | None
    """changes it holds that are not here, of all spaces both share; null where it never said what it holds"""
    behind_there: int | None
    addresses: tuple[AddressInfo, ...]


class ListPeers(Request[tuple[PeerInfo, ...]], frozen=True, kw_only=True):
    """List peers, connected ones first; with ``ask``, those are asked what they hold, for a second at most."""

    path: ClassVar[str] = "p2p/peers"
    which: Literal["all", "connected", "discovered"] = "all"
    ask: bool = False


class Connected(msgspec.Struct, frozen=True):
    """Who answered; ``already`` when there was a connection before."""

    name: str
    did: str
    already: bool


class ConnectPeer(Request[Connected], frozen=True, kw_only=True):
    """Connect to a member by name or DID, or to whoever answers at DID@host:port or host:port."""

    path: ClassVar[str] = "p2p/connect"
    target: str
    timeout_s: float = 25.0


class Disconnected(msgspec.Struct, frozen=True):
    """Who was disconnected."""

    name: str


class DisconnectPeer(Request[Disconnected], frozen=True, kw_only=True):
    """Close the connection with a peer; this node does not dial it again until asked to or restarted."""

    path: ClassVar[str] = "p2p/disconnect"
    target: str


class PingReply(msgspec.Struct, frozen=True):
    """One round trip in milliseconds, the kind of path the connection ran on then, and the address at its end."""

    rtt_ms: float
    path: str
    address: str


class Pinged(msgspec.Struct, frozen=True):
    """Round trips in milliseconds, and how far the peer's clock is ahead."""

    name: str
    rtt_ms: tuple[float, ...]
    skew_ms: int
    replies: tuple[PingReply, ...] = ()


class PingPeer(Request[Pinged], frozen=True, kw_only=True):
    """Measure the round trip to a connected peer."""

    path: ClassVar[str] = "p2p/ping"
    target: str
    count: int = 4
    timeout_s: float = 5.0


class AuditTally(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found at one end: memories shown wrongly, how many of them are right now, bodies fetched.

    ``missing`` counts changes that are damaged and living changes without a body that the other end did not have.
    """

    wrong: int
    mended: int
    fetched: int
    missing: int


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing everything with one peer found and mended.

    ``checked`` changes of this node's own logs were verified before: ``damaged`` runs of them were not what was
    signed, and ``derived_anew`` memories were not shown as they say. ``unfinished`` when more differed than one audit
    takes: run it again.
    """

    compared: int
    checked: int
    damaged: int
    derived_anew: int
    here: AuditTally
    there: AuditTally
    unfinished: bool


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a session with one peer ended; ``error`` is empty where it succeeded. ``audit`` where it was asked for."""

    name: str
    changes_received: int
    bytes_received: int
    bytes_sent: int
    took_s: float
    error: str
    audit: AuditResult | None = None


class SyncNow(Request[tuple[SyncResult, ...]], frozen=True, kw_only=True):
    """Exchange with one connected peer, or all, what is missing, and wait; ``full`` compares everything afterwards."""

    path: ClassVar[str] = "p2p/sync"
    target: str | None = None
    timeout_s: float = 60.0
    full: bool = False
