"""What is told of the ways to a peer, and of why one peer is preferred to another; and the list kept between runs."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from cis.api.control.protocol import Request


class ScoreParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a score from 0 to 1 is the sum of (docs/peers.md): at most 0.45, 0.25, 0.15 and 0.15."""

    worked: float
    recent: float
    near: float
    path: float


class AddressInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a peer and how it fared; ``address`` is ICE for the one that is negotiated. Ages in seconds."""

    address: str
    found_by: str
    source: str
    path: str
    """what the last connection by it ran on"""
    score: float
    successes: int
    failures: int
    last_success_s: float | None
    last_failure_s: float | None
    told_s: float | None
    rtt_ms: float | None
    in_use: bool
    dialling: bool
    last_error: str


class BootstrapPeer(msgspec.Struct, frozen=True, kw_only=True):
    """One member as it stands in the list, best first."""

    name: str
    did: str
    state: str
    score: float
    why: ScoreParts
    path: str
    rtt_ms: float | None
    successes: int
    failures: int
    seen_s: float | None
    found_by: str
    addresses: tuple[AddressInfo, ...]


class Aside(msgspec.Struct, frozen=True):
    """An entry that made no sense: when it was found, why, and as it stood there."""

    at: str
    why: str
    entry: Any


class BootstrapList(msgspec.Struct, frozen=True):
    """The list, its file, and what was kept aside of it."""

    file: str
    peers: tuple[BootstrapPeer, ...]
    aside: tuple[Aside, ...] = ()


class ListBootstrap(Request[BootstrapList], frozen=True, kw_only=True):
    """Show where members are looked for after a restart, in order."""

    path: ClassVar[str] = "bootstrap/list"


class BootstrapAdded(msgspec.Struct, frozen=True):
    """The addresses that were added, as DID@host:port."""

    added: tuple[str, ...]


class AddBootstrap(Request[BootstrapAdded], frozen=True, kw_only=True):
    """Add addresses of members, each as DID@host:port or NAME@host:port; all of them or none."""

    path: ClassVar[str] = "bootstrap/add"
    entries: tuple[str, ...]


class BootstrapRemoved(msgspec.Struct, frozen=True):
    """Whose addresses are forgotten, and how many there were."""

    name: str
    addresses: int


class RemoveBootstrap(Request[BootstrapRemoved], frozen=True, kw_only=True):
    """Forget a member's addresses and how they fared."""

    path: ClassVar[str] = "bootstrap/remove"
    target: str
