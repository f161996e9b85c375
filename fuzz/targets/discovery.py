"""What strangers say on the local network, in hash tables and in lists of nodes: hints or nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

from cis.discovery import instances
from cis.discovery.address import Source, dialable
from cis.discovery.dht.asking import Asker, Found, Sought, signed_part
from cis.discovery.dht.lookup import Known, Lookup
from cis.discovery.dht.options import load_libtorrent
from cis.discovery.instances import Instance
from cis.discovery.mdns import INSTANCES_MAX, Mdns, Segment
from cis.discovery.multicast import Interface
from cis.discovery.pace import Pace
from cis.discovery.provider import Announcement, Sighting
from cis.errors import Unavailable
from cis.model import NodeId
from fuzz.target import Target, on_loop, script, steps_in
from fuzz.targets.trust import cluster

SERVICE = "_cis._udp.local."
TAG = b"T" * 16
MEMBER = NodeId(b"m" * 32)
NAME = "0123456789abcdef0123456789abcdef"


class _Announcement(Announcement):
    def port(self) -> int:
        return 7677

    def own_tag(self, slot: int) -> bytes | None:
        return b"O" * 16 if slot else None

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        return MEMBER if tag == TAG and slot else None


class _Silent:
    """Stands for a socket."""

    def send(self, _: bytes) -> bool:
        return True

    def close(self) -> None:
        pass


def mdns(data: bytes) -> None:
    """Datagrams of a network that anybody is on: what is told of is a member where it may be."""
    on_loop(_hear(data))


async def _hear(data: bytes) -> None:
    told: list[Sighting] = []
    provider = Mdns(rng=Random(1), clock=lambda: 1_800_000_000.0)
    provider._announcement, provider._found = _Announcement(), told.append
    segment = Segment(_interface(), Pace(Random(1), 30.0, 0.0), name=f"{NAME}.{SERVICE}", tag=b"O" * 16)
    segment.channels = [_Silent()]  # type: ignore[list-item]  # what a segment asks of one
    provider._segments[1] = segment
    for number, datagram in steps_in(data):
        instances.read(datagram, SERVICE)
        provider._on_datagram(segment, datagram)
        if number & 1:
            provider._speak(segment, float(number))
    assert len(segment.heard) <= INSTANCES_MAX
    for one in told:
        assert one.node == MEMBER
        assert dialable(one.host.partition("%")[0], Source.MDNS) or dialable(one.host, Source.MDNS)


def dht(data: bytes) -> None:
    """Replies of nodes of a hash table: an item counts with its signature alone."""
    lt = _libtorrent()
    if lt is None:
        return
    ana = cluster().ana
    asker, sought = Asker(lt, public=True), Sought.mutable(ana.node)
    search, found = Lookup(sought.target, _nodes(), spread=True), Found()
    for number, raw in steps_in(data):
        try:
            reply = lt.bdecode(raw)
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError):
            continue
        if not isinstance(reply, dict):
            continue
        if number & 1 and b"v" in reply and isinstance(reply.get(b"seq"), int):
            with suppress(TypeError, ValueError, RuntimeError, OverflowError):
                encoded = lt.bencode(reply[b"v"])
                reply[b"sig"] = _sign(signed_part(encoded, reply[b"seq"], b""))
        for node in search.due():
            search.on_reply(node, asker._told(reply, 2 if number & 2 else 10))
            asker._keep(node, reply, sought, found)
        assert search.answered() is not None


def _sign(message: bytes) -> bytes:
    from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

    _, secret = crypto_sign_seed_keypair(cluster().ana.seed)
    return bytes(crypto_sign(message, secret)[:64])


@cache
def _libtorrent() -> Any:  # noqa: ANN401 - the library, or None where it is not installed
    try:
        return load_libtorrent()
    except Unavailable:
        return None


@cache
def _interface() -> Interface:
    return Interface(1, "eth0", (ipaddress.ip_interface("192.0.2.9/24"), ipaddress.ip_interface("fe80::9/64")))


def _nodes() -> list[Known]:
    return [Known(bytes([number]) * 20, f"198.51.{number}.1", 6881) for number in range(1, 9)]


def _mdns_seeds() -> Iterable[bytes]:
    other = Instance(f"f{NAME[1:]}.{SERVICE}", TAG, 7677, ("192.0.2.7", "fe80::7", "2001:db8::7"), 120)
    said = instances.announcement(SERVICE, other)
    yield script((1, said), (1, instances.goodbye(SERVICE, other.name)))
    yield script((1, instances.question(SERVICE, other)), (0, instances.question(SERVICE, None)), (0, said))


def _dht_seeds() -> Iterable[bytes]:
    lt = _libtorrent()
    if lt is None:
        return
    nodes = bytes(20) + bytes([198, 51, 100, 1, 26, 225])
    reply = {b"id": bytes(20), b"nodes": nodes * 8, b"nodes6": bytes(38), b"token": b"abcd", b"v": b"value", b"seq": 3}
    yield script((1, lt.bencode(reply)), (2, lt.bencode(reply)))
    yield script((1, lt.bencode({**reply, b"v": [1, {b"a": b""}], b"sig": bytes(64), b"k": bytes(32)})))


TARGETS = (
    Target("discovery.mdns", mdns, _mdns_seeds),
    Target("discovery.dht", dht, _dht_seeds),
)
