"""What is asked of a running node about the Mainline DHT, and what it answers."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cis.api.control.protocol import Request


class DhtStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How this node stands in the DHT; all but ``on`` and ``installed`` is of a DHT that is on."""

    on: bool
    installed: bool
    """whether libtorrent is there"""
    public: bool = True
    read_only: bool = False
    entries: tuple[str, ...] = ()
    """entry points of one's own"""
    addresses: tuple[str, ...] = ()
    nodes: int = 0
    """nodes in the routing table"""
    items: int = 0
    """items kept for others"""
    bytes_in: int = 0
    bytes_out: int = 0
    copies: int | None = None
    """how many nodes took this node's item of the present slot; null before it was put"""
    put_s: float | None = None
    """how many seconds ago that was"""
    looked: int = 0
    """searches for members since the start"""
    found: int = 0
    """how many of them found one"""
    problem: str = ""


class GetDhtStatus(Request[DhtStatus], frozen=True, kw_only=True):
    """Say how this node stands in the DHT."""

    path: ClassVar[str] = "dht/status"


class DhtNode(msgspec.Struct, frozen=True):
    """A node of the DHT: its id there in hexadecimal, and its address."""

    id: str
    address: str


class ListDhtNodes(Request[tuple[DhtNode, ...]], frozen=True, kw_only=True):
    """List the nodes in the routing table."""

    path: ClassVar[str] = "dht/nodes"


class FindDhtNodes(Request[tuple[DhtNode, ...]], frozen=True, kw_only=True):
    """Search for an id of 40 hexadecimal digits, and list the nodes that answer closest to it."""

    path: ClassVar[str] = "dht/find"
    id: str


class DhtItem(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the DHT under a target; ``text`` where it is printable UTF-8, ``hex`` for other bytes."""

    target: str
    number: int | None
    """of a mutable item: it grows with each change"""
    size: int
    text: str | None = None
    hex: str | None = None


class GetDhtItem(Request[DhtItem], frozen=True, kw_only=True):
    """Read an item: by its hash (40 hexadecimal digits), or a mutable one by its public key (64)."""

    path: ClassVar[str] = "dht/get"
    target: str
    salt: str = ""


class DhtStored(msgspec.Struct, frozen=True, kw_only=True):
    """What an item is read by, and how many nodes took it."""

    target: str
    copies: int


class PutDhtItem(Request[DhtStored], frozen=True, kw_only=True):
    """Put a text of 996 bytes at most into the DHT, for all to read.

    With ``seed``, 32 bytes in hexadecimal, under the Ed25519 key made from it; else under its own hash.
    """

    path: ClassVar[str] = "dht/put"
    value: str
    seed: str | None = None
    salt: str = ""


class DhtAnnounced(msgspec.Struct, frozen=True):
    """How many nodes took this node's item."""

    copies: int


class AnnounceInDht(Request[DhtAnnounced], frozen=True, kw_only=True):
    """Put this node's sealed record of the present slot now."""

    path: ClassVar[str] = "dht/announce"


class DhtEntered(msgspec.Struct, frozen=True):
    """The entry points of one's own that are known now, and whether the DHT is on to use them."""

    entries: tuple[str, ...]
    on: bool


class EnterDht(Request[DhtEntered], frozen=True, kw_only=True):
    """Use another entry point from now on; it was written to the settings before."""

    path: ClassVar[str] = "dht/enter"
    entry: str
