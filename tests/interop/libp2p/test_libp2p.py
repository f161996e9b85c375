"""libp2p's hash table, with js-libp2p as all its other nodes: members find each other through it, and nobody else."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.discovery.libp2p.messages import PROTOCOL
from cis.discovery.libp2p.options import Libp2pOptions
from cis.discovery.libp2p.places import read_place
from cis.discovery.libp2p.provider import Libp2pProvider
from cis.discovery.provider import Announcement, Sighting
from cis.discovery.sealed import SealedRecords
from cis.model import Candidate
from cis.node.home.local import LocalNode
from cis.trust.identity import Identity
from tests.announcing import Recorded
from tests.interop.libp2p.needs import PATIENCE_S, POLL_S, needs_libp2p
from tests.interop.npm import Network, network
from tests.net.cluster import cluster, put, running, value

pytestmark = [needs_libp2p, pytest.mark.timeout(240)]
KEY = bytes(range(32))
ONE, TWO, THREE = Identity(b"1" * 32), Identity(b"2" * 32), Identity(b"3" * 32)
MEMBERS = (ONE.node, TWO.node, THREE.node)


class Shown(Recorded):
    """What a member lets others know: that it is at a port of loopback."""

    def __init__(self, own: Identity, port: int) -> None:
        super().__init__(own, MEMBERS, KEY, (Candidate("127.0.0.1", port, "direct"),))


def provider(entries: Sequence[str]) -> Libp2pProvider:
    options = Libp2pOptions(tuple(entries), public_bootstrap=False, listen="127.0.0.1", allow_loopback=True)
    return Libp2pProvider(options, look_s=0.5)


@asynccontextmanager
async def searching(shown: Announcement, entries: Sequence[str]) -> AsyncIterator[list[Sighting]]:
    """Run the provider of a member; yields what it has found."""
    found: list[Sighting] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(provider(entries).run(shown, found.append))
        try:
            yield found
        finally:
            task.cancel()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(POLL_S)


def key_of(tag: bytes) -> str:
    """The key of a tag as docs/protocol.md has it."""
    return "1220" + hashlib.sha256(PROTOCOL.encode() + b"\0" + tag).hexdigest()


def finds(found: Sequence[Sighting], other: Identity, port: int) -> bool:
    return any((one.node, one.port) == (other.node, port) for one in found)


async def provided(js: Network, tag: bytes) -> str:
    """Wait until somebody provides a tag, and return where, as js-libp2p has it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for _, addresses in (await js.do("providers", node=2, key=key_of(tag)))["providers"]:
                if addresses:
                    return str(addresses[0])
            await asyncio.sleep(POLL_S)


async def test_members_find_each_other_through_js_nodes_and_newcomers_do_so_when_the_entry_points_are_dead() -> None:
    async with (
        network("libp2p", 6) as js,
        searching(Shown(ONE, 1001), js.addresses[:1]) as first,
        searching(Shown(TWO, 1002), js.addresses[1:2]) as second,
    ):
        await until(lambda: finds(first, TWO, 1002) and finds(second, ONE, 1001))
        await js.do("stop", nodes=[0, 1])
        async with searching(Shown(THREE, 1003), js.addresses[3:4]) as third:
            await until(lambda: finds(third, ONE, 1001) and finds(third, TWO, 1002))
            await until(lambda: finds(first, THREE, 1003) and finds(second, THREE, 1003))


async def test_a_js_node_fetches_the_record_by_its_tag_and_by_no_other() -> None:
    shown = Shown(ONE, 1001)
    tag = SealedRecords(shown).own()[0].tag
    async with network("libp2p", 4) as js, searching(shown, js.addresses[:1]):
        address = await provided(js, tag)
        answer = bytes.fromhex((await js.do("ask", node=3, address=address, tag=tag.hex()))["answer"])
        assert int.from_bytes(answer[:2], "big") == len(answer) - 2
        looking = SealedRecords(Shown(TWO, 1002), allow_loopback=True)
        await looking.sought()
        assert [one.node for one in looking.sightings(tag, answer[2:])] == [ONE.node]
        for wrong in (bytes(16), tag[:8], tag[:-1] + bytes([tag[-1] ^ 1])):
            assert (await js.do("ask", node=3, address=address, tag=wrong.hex()))["answer"] == ""


async def test_the_record_of_a_js_node_is_fetched_and_its_junk_does_no_harm() -> None:
    shown = Shown(TWO, 1002)
    records = SealedRecords(shown)
    beacon = records.own()[0]
    sealed = records.sealed(beacon)
    async with network("libp2p", 4) as js:
        for node, answer in ((2, b"\xff\xff" + bytes(70_000)), (3, len(sealed).to_bytes(2, "big") + sealed)):
            await js.do("serve", node=node, answer=answer.hex())
            assert (await js.do("provide", node=node, key=key_of(beacon.tag)))["told"] > 0
        async with searching(Shown(ONE, 1001), js.addresses[:1]) as found:
            await until(lambda: finds(found, TWO, 1002))
        assert beacon.tag.hex() in (await js.do("asked"))["asked"]


async def test_a_worker_is_a_client_of_the_table_that_says_no_more_of_itself_than_it_must() -> None:
    shown = Shown(ONE, 1001)
    tag = SealedRecords(shown).own()[0].tag
    async with network("libp2p", 4) as js, searching(shown, js.addresses[:1]):
        address = await provided(js, tag)
        told = await js.do("protocols", node=3, address=address)
    assert PROTOCOL in told["protocols"]
    assert not [one for one in told["protocols"] if "kad" in one or "relay" in one]
    places = [read_place(one) for one in told["addresses"]]
    assert {(place.host, place.peer) for place in places if place is not None} <= {
        ("127.0.0.1", ""),
        ("127.0.0.1", address.rpartition("/")[2]),
    }


async def test_nodes_of_a_cluster_authenticate_each_other_by_nothing_but_a_network_of_js_nodes(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    _forget_peers(first, second)
    async with network("libp2p", 6) as js:
        entries = js.addresses
        async with (
            running(first, providers=(provider(entries[:1]),)),
            running(second, providers=(provider(entries[1:2]),)),
        ):
            await put(first, "editor", b"dark")
            await until(lambda: value(second, "editor") == b"dark")
            await js.do("stop", nodes=[0, 1])
            await put(second, "editor", b"light")
            await until(lambda: value(first, "editor") == b"light")
    first.close()
    second.close()


def _forget_peers(*nodes: LocalNode) -> None:
    for node in nodes:
        for name in ("peers.json", "bootstrap.json"):
            (node.home.folder / name).unlink(missing_ok=True)
