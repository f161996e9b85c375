"""What one endpoint allows, and what it counted (DESIGN §9).

Every number here is a bound somebody could otherwise push without end; each is enforced where its name is
used and has a test that fails without it.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cis.net.paths import Path


@dataclass(frozen=True, slots=True)
class NetLimits:
    """Bounds of an endpoint and of each of its connections."""

    handshake_timeout_s: float = 5.0
    """For one attempt; a dial makes ``1 + handshake_retries`` of them."""
    handshake_retries: int = 2
    idle_timeout_s: float = 30.0
    keepalive_s: float = 10.0
    connections_max: int = 64
    connections_per_address_max: int = 8
    unauthenticated_max: int = 32
    """Accepted connections that have not passed ``mark_authenticated`` yet."""
    unauthenticated_bytes_max: int = 64 << 10
    """What an accepted connection may send before ``mark_authenticated``: a handshake and no more."""
    unauthenticated_streams_max: int = 1
    """Streams an accepted connection may open before ``mark_authenticated``."""
    unproven_listener_bytes_max: int = 1 << 20
    """What a listener may send before ``mark_authenticated``; it may speak on as soon as it is done with us."""
    failed_per_address_burst: float = 32.0
    """Connections from one address that come to nothing before it has to wait; who proves itself spends nothing."""
    failed_per_address_per_s: float = 2.0
    dialling_max: int = 32
    """Dials under way; they take no place that a newcomer could have, and more wait for their turn."""
    expected_max: int = 128
    """Paths on which a peer is expected, at once; each lets in only a few connections."""
    retry_above: int = 16
    """From this many unauthenticated ones on, newcomers must first prove their address (RFC 9000 §8.1.2)."""
    streams_max: int = 256
    """Open at once, in each direction of opening; qh3 itself grants a peer 100 more than it has finished."""
    buffered_per_connection_max_bytes: int = 64 << 20
    buffered_in_all_max_bytes: int = 512 << 20
    """Unread in all connections; beyond it the one that holds most is closed."""
    stream_window_bytes: int = 16 << 20
    send_high_water_bytes: int = 512 << 10

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could move."""
        if self.window_bytes < 1 << 16:
            raise UsageError("stream_window_bytes and buffered_per_connection_max_bytes / 4 must be at least 65536")
        if not self.handshake_timeout_s > 0 or not self.keepalive_s > 0 or not self.idle_timeout_s > 0:
            raise UsageError("handshake_timeout_s, keepalive_s and idle_timeout_s must be positive")

    @property
    def window_bytes(self) -> int:
        """Flow control window of a stream and of the connection."""
        return min(self.stream_window_bytes, self.buffered_per_connection_max_bytes // 4)

    @property
    def buffered_noticed_bytes(self) -> int:
        """Unread bytes of one connection from which the sum over all is worth taking."""
        return self.buffered_in_all_max_bytes // (2 * self.connections_max)

    @property
    def pause_above_bytes(self) -> int:
        """Unread bytes above which the core is no longer drained.

        One window may still be in the core when draining resumes, and another be sent after it: hence the two
        windows of distance to the bound.
        """
        return self.buffered_per_connection_max_bytes - 2 * self.window_bytes


class Drop(enum.StrEnum):
    """Why a datagram was thrown away."""

    NOT_QUIC = "not_quic"
    MALFORMED = "malformed"
    UNKNOWN_CONNECTION = "unknown_connection"
    SHORT = "short"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a counter's name
    CRASHED_CORE = "crashed_core"
    UNSENDABLE = "unsendable"


class Refusal(enum.StrEnum):
    """Why a newcomer was not let in."""

    CONNECTIONS = "connections_max"
    ADDRESS = "connections_per_address_max"
    UNAUTHENTICATED = "unauthenticated_max"
    FAILED = "failed_per_address"


class Cut(enum.StrEnum):
    """Why a connection was ended for taking too much."""

    EVICTED = "evicted_for_another_address"
    UNPROVEN = "unauthenticated_bytes_or_streams_max"
    STREAMS = "streams_max"
    BUFFERED = "buffered_in_all_max_bytes"


@dataclass(slots=True)
class EndpointCounters:
    """What the endpoint counts as it runs; read it through ``Endpoint.statistics()``."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    retries_sent: int = 0
    version_negotiations_sent: int = 0
    handshakes_timed_out: int = 0
    dials_unanswered: int = 0
    stun_in: int = 0
    moves: int = 0
    suspicions: int = 0
    paused: int = 0
    dropped: Counter[Drop] = field(default_factory=Counter)
    refused: Counter[Refusal] = field(default_factory=Counter)
    cut: Counter[Cut] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """A snapshot of an endpoint."""

    datagrams_in: int
    datagrams_out: int
    bytes_in: int
    bytes_out: int
    retries_sent: int
    version_negotiations_sent: int
    handshakes_timed_out: int
    """Strangers let in who did not finish the handshake."""
    dials_unanswered: int
    """Attempts of our own that nobody answered."""
    stun_in: int
    moves: int
    """How often a connection was put on another path."""
    suspicions: int
    """How often a path was suspected to be dead."""
    paused: int
    """How often a peer had to stop because too much of what it sent lay unread."""
    dropped: Mapping[Drop, int]
    refused: Mapping[Refusal, int]
    cut: Mapping[Cut, int]
    connections: int
    handshaking: int
    unauthenticated: int


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """A snapshot of one connection."""

    bytes_in: int
    bytes_out: int
    unread_bytes: int
    streams_local: int
    streams_remote: int
    datagrams_in: int
    datagrams_out: int
    packets_lost: int
    """Of those sent, as far as known by now."""
    probe_timeouts: int
    rtt_s: float | None
    paused: bool
    path: Path
