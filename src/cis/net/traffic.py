"""What passed between this node and others: bytes and frames each way, by peer and by what they were for.

Bytes are those of streams; QUIC, UDP and IP add some percent, which `EndpointStatistics` counts for all together. What
is said before a peer is known to be a member is nobody's and counts as ``hello``; once it is known, as that peer's::

    for (peer, purpose), flow in endpoint.traffic.flows().items(): ...
    endpoint.traffic.by_purpose()["sync"].bytes_in
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from cis.model import NodeId

    class Counted(Protocol):
        """What counts in a flow (``stream.Stream``)."""

        stream_id: int
        flow: Flow

        @property
        def unread_bytes(self) -> int: ...


_Key = tuple["NodeId | None", str]
_Group = TypeVar("_Group")

HELLO, OTHER = "hello", "other"
PURPOSES = ("sync", "audit", "vectors", "bodies", "records", "signal", "gossip", "ping", HELLO, OTHER)
"""What streams are for; those of any other purpose count as ``other``."""
PEERS_MAX = 1024
"""Beyond these, what was counted of the peer that began no stream for longest is counted as nobody's."""


UNAIMED_MAX = 512
"""Streams of a connection, ended ones too, of which it may yet be said what they were for."""


@dataclass(slots=True)
class Flow:
    """What passed for one peer and purpose."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    """frames"""
    messages_out: int = 0
    held_in_s: float = 0.0
    """for how long reading stopped because of a limit"""
    held_out_s: float = 0.0
    """for how long writing waited for its turn because of a limit"""
    streams: int = 0
    """begun by either side over a connection that was there already, the handshake's apart"""

    def add(self, other: Flow) -> None:
        """Count what another counted."""
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.messages_in += other.messages_in
        self.messages_out += other.messages_out
        self.held_in_s += other.held_in_s
        self.held_out_s += other.held_out_s
        self.streams += other.streams


class Traffic:
    """Counts since the start."""

    def __init__(self) -> None:
        self._peers: OrderedDict[NodeId | None, dict[str, Flow]] = OrderedDict({None: {}})

    def flow(self, peer: NodeId | None, purpose: str) -> Flow:
        """Return where to count what passes for a peer (None: nobody known) and purpose."""
        flows = self._peers.get(peer)
        if flows is None:
            if len(self._peers) > PEERS_MAX:
                self._forget_one()
            flows = self._peers[peer] = {}
        self._peers.move_to_end(peer)
        return flows.setdefault(purpose if purpose in PURPOSES else OTHER, Flow())

    def flows(self) -> Mapping[tuple[NodeId | None, str], Flow]:
        """Return all there is, by peer and purpose."""
        return {(peer, purpose): flow for peer, flows in self._peers.items() for purpose, flow in flows.items()}

    def by_peer(self) -> Mapping[NodeId | None, Flow]:
        """Sum up by peer; None is whoever did not become known as a member, or was forgotten."""
        return _summed(self.flows(), lambda key: key[0])

    def by_purpose(self) -> Mapping[str, Flow]:
        """Sum up by purpose."""
        return _summed(self.flows(), lambda key: key[1])

    def total(self) -> Flow:
        """Sum up everything."""
        return _summed(self.flows(), lambda _: None).get(None, Flow())

    def _forget_one(self) -> None:
        oldest = next(peer for peer in self._peers if peer is not None)
        for purpose, flow in self._peers.pop(oldest).items():
            self._peers[None].setdefault(purpose, Flow()).add(flow)


class Ledger:
    """Which flow each stream of one connection counts in; whose connection it is shows later, or never."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.peer: NodeId | None = None
        self._nobodys: Flow | None = Flow()
        """of all streams, until it is known whose they are"""
        self._unaimed: dict[int, Counted] = {}

    def enter(self, stream: Counted) -> None:
        """Count what passes on a new stream."""
        if self._nobodys is not None:
            stream.flow = self._nobodys
        if len(self._unaimed) >= UNAIMED_MAX:
            oldest = next(iter(self._unaimed.values()))
            self.aim(oldest, OTHER)
            self._unaimed.pop(oldest.stream_id, None)
        self._unaimed[stream.stream_id] = stream

    def identify(self, peer: NodeId) -> None:
        """Count what passed so far as the peer's hello, and what passes from now on by its purpose."""
        if self._nobodys is None:
            return
        self.peer = peer
        hello = self._traffic.flow(peer, HELLO)
        hello.add(self._nobodys)
        self._nobodys = None
        for stream in self._unaimed.values():
            stream.flow = hello
        self._unaimed.clear()

    def aim(self, stream: Counted, purpose: str) -> None:
        """Count a stream by its purpose, with what passed on it already."""
        if self._nobodys is None and self._unaimed.pop(stream.stream_id, None) is stream:
            flow = self._traffic.flow(self.peer, purpose)
            flow.add(stream.flow)
            flow.streams += 1
            stream.flow = flow

    def leave(self, stream: Counted) -> None:
        """A stream has ended; unless what it was for is yet to be read, it was for something else."""
        if not stream.unread_bytes:
            self.aim(stream, OTHER)
            self._unaimed.pop(stream.stream_id, None)

    def close(self) -> None:
        """The connection has ended; what was never anybody's is a stranger's."""
        if self._nobodys is not None:
            self._traffic.flow(None, HELLO).add(self._nobodys)
            self._nobodys = None


def _summed(flows: Mapping[_Key, Flow], group_of: Callable[[_Key], _Group]) -> Mapping[_Group, Flow]:
    sums: dict[_Group, Flow] = {}
    for key, flow in flows.items():
        sums.setdefault(group_of(key), Flow()).add(flow)
    return sums
