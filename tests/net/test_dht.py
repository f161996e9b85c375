"""The Mainline DHT on loopback: nodes of one cluster find each other by it alone, strangers learn and cause nothing."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from cis.discovery.provider import Announcement, Sighting
from cis.model import Candidate
from cis.trust.beacons import ITEM_LENGTH, SLOT_S, beacon_key, beacon_slot
from cis.trust.identity import Identity
from cis.trust.records import sign_record
from tests.announcing import Recorded
from tests.net.cluster import cluster, put, running, until, value

pytest.importorskip("libtorrent", reason="the DHT needs libtorrent, for which there is no wheel here")

from cis.discovery.dht.loopback import LoopbackNetwork, loopback_network
from cis.discovery.dht.options import DhtOptions
from cis.discovery.dht.provider import DhtProvider
from cis.discovery.dht.session import DhtSession
from cis.errors import Unavailable
from tests.net.dht_watcher import Message, watchers

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 20
PATIENCE_S, POLL_S = 30.0, 0.02
FLOOD = int(os.environ.get("CIS_TEST_DHT_FLOOD", "20000"))
"""Malformed datagrams sent at the DHT; 226000 was tried by hand."""
LOOPBACK = "127.0.0.1"


async def eventually(condition: Callable[[], Awaitable[Any]], within_s: float = PATIENCE_S) -> Any:
    """Wait for what nothing announces, and return it."""
    async with asyncio.timeout(within_s):
        while not (found := await condition()):
            await asyncio.sleep(POLL_S)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network() -> AsyncIterator[LoopbackNetwork]:
    async with loopback_network(NODES) as found:
        yield found


def options(entries: tuple[tuple[str, int], ...], **more: Any) -> DhtOptions:
    return DhtOptions(host=LOOPBACK, bootstrap=entries, public=False, **more)


@asynccontextmanager
async def joined(entries: tuple[tuple[str, int], ...], **more: Any) -> AsyncIterator[DhtSession]:
    async with DhtSession(options(entries, **more)) as session, asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        try:
            await eventually(session.nodes)
            yield session
        finally:
            running.cancel()


def key_pair() -> tuple[bytes, Callable[[bytes], bytes]]:
    key = SigningKey.generate()
    return bytes(key.verify_key), lambda message: key.sign(message).signature


# --- nodes of a cluster -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def two_running(folder: Path, entries: tuple[tuple[str, int], ...]) -> AsyncIterator[tuple[Any, Any]]:
    """Two nodes of a cluster that know nothing of each other but through the DHT."""
    one, two = await cluster(folder, "ana", "ben")
    for local in (one, two):
        for name in ("peers.json", "bootstrap.json"):
            (local.home.folder / name).unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        drivers = []
        for local in (one, two):
            provider = DhtProvider(options(entries, state=local.home.folder / "dht-nodes.txt"), allow_loopback=True)
            drivers.append(await stack.enter_async_context(running(local, providers=(provider,))))
        yield drivers[0], drivers[1]
    for local in (one, two):
        local.close()


async def wait_connected(one: Any, two: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while two.local.identity.node not in one.core.connected():
            await one.wait_changed()


async def test_two_nodes_of_a_cluster_connect_with_nothing_but_the_dht(
    network: LoopbackNetwork, tmp_path: Path
) -> None:
    async with two_running(tmp_path, network.entries) as (one, two):
        await wait_connected(one, two)
        peers = [mine.core.book.get(other.local.identity.node) for mine, other in ((one, two), (two, one))]
        assert "dht" in {address.found_by for peer in peers if peer is not None for address in peer.addresses}


async def test_they_do_though_a_quarter_of_the_dht_is_dead_and_stay_whole_when_the_rest_of_it_dies(
    tmp_path: Path,
) -> None:
    async with loopback_network(NODES) as network:
        await network.kill(NODES // 4)
        async with two_running(tmp_path, network.entries) as (one, two):
            await wait_connected(one, two)
            await network.kill(len(network.sessions))
            await put(one.local, "afterwards", b"heard")
            await until(lambda: value(two.local, "afterwards") == b"heard")
            assert two.local.identity.node in one.core.connected()


async def test_what_was_known_of_the_dht_leads_back_into_it_when_every_entry_is_dead(tmp_path: Path) -> None:
    state = tmp_path / "dht-nodes.txt"
    async with loopback_network(8) as network:
        entries = network.entries
        async with joined(entries, state=state) as session:
            await eventually(lambda: enough(session, 5))
            ids = {one.id for one in await session.routing_table()}
        assert not any(id_ in state.read_bytes() for id_ in ids)
        network.sessions.reverse()
        await network.kill(3)
        async with joined(entries, state=state) as session:
            assert await session.nodes() >= 1


async def enough(session: DhtSession, count: int) -> bool:
    return await session.nodes() >= count


# --- items ------------------------------------------------------------------------------------------------------------


async def test_what_one_node_puts_any_other_gets_and_a_later_one_replaces_it(network: LoopbackNetwork) -> None:
    key, sign = key_pair()
    async with joined(network.entries) as session:
        assert await session.put(key, b"first", sign) == 8
        assert await session.put(key, b"second", sign) == 8
        assert await session.put(key, b"salted", sign, b"salt") == 8
        target, copies = await session.put_immutable(b"hashed")
    assert copies == 8
    for reader in network.sessions[::5]:
        item = await reader.get(key)
        assert item is not None
        assert (item.value, item.number) == (b"second", 2)
        salted, hashed = await reader.get(key, b"salt"), await reader.get_immutable(target)
        assert salted is not None
        assert hashed is not None
        assert (salted.value, hashed.value) == (b"salted", b"hashed")


async def test_nobody_but_the_keys_owner_writes_under_it(network: LoopbackNetwork) -> None:
    key, sign = key_pair()
    async with joined(network.entries) as session:
        await session.put(key, b"mine", sign)
        assert await session.put(key, b"forged", key_pair()[1]) == 0
        item = await network.sessions[4].get(key)
    assert item is not None
    assert item.value == b"mine"


async def test_what_nobody_has_is_not_found_and_the_closest_nodes_are(network: LoopbackNetwork) -> None:
    async with joined(network.entries) as session:
        assert await session.get(os.urandom(32)) is None
        assert await session.get_immutable(os.urandom(20)) is None
        target = os.urandom(20)
        found = [one.id for one in await session.closest(target)]
    assert len(found) >= 8
    far = [int.from_bytes(id_, "big") ^ int.from_bytes(target, "big") for id_ in found]
    assert far == sorted(far)


async def test_those_that_are_read_only_find_and_put_and_no_node_takes_them_in(network: LoopbackNetwork) -> None:
    key, sign = key_pair()
    async with joined(network.entries, read_only=True) as session:
        assert await session.put(key, b"value", sign) == 8
        assert await session.get(key) is not None
        port = session.addresses[0][1]
        for one in network.sessions:
            assert port not in {known.port for known in await one.routing_table()}


async def test_asking_leaves_nobody_in_the_tables_that_does_not_answer(network: LoopbackNetwork) -> None:
    key, sign = key_pair()
    async with joined(network.entries) as session:
        await session.put(key, b"value", sign)
        await session.get(os.urandom(32))
        ports = {one.addresses[0][1] for one in (*network.sessions, session)}
        known = {known.port for one in network.sessions for known in await one.routing_table()}
    assert not (known & {port for _, port in session.asking_from}), "the sockets that ask are no nodes"
    assert known & ports


async def test_two_sessions_cannot_have_one_port_and_the_second_says_so(network: LoopbackNetwork) -> None:
    with pytest.raises(Unavailable, match="cannot listen"):
        await DhtSession(options((), port=network.entries[0][1])).__aenter__()


async def test_an_entry_added_while_it_runs_is_used(network: LoopbackNetwork) -> None:
    async with DhtSession(options(())) as session, asyncio.TaskGroup() as group:
        assert await session.nodes() == 0
        running = group.create_task(session.run())
        session.add_bootstrap(*network.entries[0])
        assert await eventually(session.nodes) >= 1
        running.cancel()


async def test_the_dht_speaks_ipv6_too() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 on loopback")
    async with loopback_network(4, "::1") as network:
        key, sign = key_pair()
        assert await network.sessions[0].put(key, b"six", sign) >= 1
        item = await network.sessions[3].get(key)
        assert item is not None
        assert item.value == b"six"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


# --- observers and liars ----------------------------------------------------------------------------------------------


def announced(own: Identity, other: Identity, key: bytes) -> Recorded:
    """What a node of a cluster of two lets providers know."""
    return Recorded(own, [own.node, other.node], key)


def pair(seed: int) -> tuple[Identity, Identity, bytes]:
    rng = random.Random(seed)
    return Identity.generate(rng.randbytes), Identity.generate(rng.randbytes), rng.randbytes(32)


@asynccontextmanager
async def providing(
    announcement: Announcement, entries: tuple[tuple[str, int], ...], clock: Callable[[], float] = time.time
) -> AsyncIterator[tuple[DhtProvider, list[Sighting]]]:
    provider, sightings = DhtProvider(options(entries), allow_loopback=True, clock=clock), list[Sighting]()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(provider.run(announcement, sightings.append))
        try:
            yield provider, sightings
        finally:
            task.cancel()


async def test_an_observer_links_no_item_with_another_slots_nor_tells_two_clusters_apart() -> None:
    now = [beacon_slot(time.time()) * SLOT_S + 100.0]
    (ana, ben, key), (eve, dan, other_key) = pair(1), pair(2)
    async with watchers(4) as seen:
        entries = tuple(one.address for one in seen)

        async def shown(count: int) -> bool:
            return len({asked[b"k"] for one in seen for asked in one.puts()}) >= count

        mine, theirs = announced(ana, ben, key), announced(eve, dan, other_key)
        async with (
            providing(mine, entries, lambda: now[0]),
            providing(theirs, entries, lambda: now[0]),
        ):
            for slot in range(1, 4):
                await eventually(lambda slot=slot: shown(2 * slot))
                now[0] += SLOT_S
        items = {asked[b"k"]: asked for one in seen for asked in one.puts()}
        queries = [query for one in seen for query, _ in one.queries]
    assert {len(asked[b"v"]) for asked in items.values()} == {ITEM_LENGTH}, "all are of one size"
    assert {frozenset(asked) for asked in items.values()} == {frozenset({b"id", b"k", b"seq", b"sig", b"token", b"v"})}
    assert {asked[b"seq"] for asked in items.values()} == {1}, "numbers tell no clock"
    pieces = [piece for asked in items.values() for piece in pieces_of(asked)]
    assert len(pieces) == len(set(pieces)), "no eight bytes of a key, value or signature come again"
    for known in (ana.node, eve.node, key, other_key, mine.raw[:40], LOOPBACK.encode()):
        assert not any(known in asked[part] for asked in items.values() for part in (b"k", b"v", b"sig"))
    assert b"announce_peer" not in {query[b"q"] for query in queries}


def pieces_of(asked: Message) -> list[bytes]:
    whole = [asked[b"k"], asked[b"v"], asked[b"sig"]]
    return [one[at : at + 8] for one in whole for at in range(0, len(one) - 7, 8)]


async def test_members_find_each_other_through_nodes_that_are_not_ours_and_across_slots() -> None:
    ana, ben, key = pair(3)
    async with watchers(3) as seen:
        entries = tuple(one.address for one in seen)
        ahead = time.time() + SLOT_S
        async with (
            providing(announced(ana, ben, key), entries) as (_, found),
            providing(announced(ben, ana, key), entries, lambda: ahead) as (_, found_ahead),
        ):
            await eventually(lambda: both(found, found_ahead))
        assert {one.node for one in found} == {ben.node}
        assert {(one.node, one.host, one.port) for one in found_ahead} == {(ana.node, LOOPBACK, 7677)}


async def both(*found: list[Sighting]) -> bool:
    return all(found)


async def test_a_record_that_changes_is_put_again_under_a_higher_number() -> None:
    ana, ben, key = pair(4)
    shown = announced(ana, ben, key)
    public = beacon_key(key, beacon_slot(time.time()), ana.node)
    async with watchers(2) as seen:

        async def numbers() -> set[int]:
            return {asked[b"seq"] for one in seen for asked in one.puts() if asked[b"k"] == public}

        async with providing(shown, tuple(one.address for one in seen)) as (provider, _):
            await eventually(numbers)
            shown.raw = sign_record(ana, (Candidate(LOOPBACK, 7678, "direct"),), round(time.time() * 1000))
            await eventually(lambda: holds(numbers, {1, 2}))
            ports = provider.session.addresses if provider.session is not None else []
            provider.network_changed()
            await eventually(lambda: moved(provider, ports))


async def holds(numbers: Callable[[], Awaitable[set[int]]], wanted: set[int]) -> bool:
    return wanted <= await numbers()


async def moved(provider: DhtProvider, before: list[tuple[str, int]]) -> bool:
    return provider.session is not None and bool(provider.session.addresses) and provider.session.addresses != before


LIES: dict[str, Any] = {
    "silence": lambda query, reply: None,
    "noise": lambda query, reply: os.urandom(200),
    "nothing": lambda query, reply: b"",
    "huge": lambda query, reply: b"9" * 60_000,
    "deep": lambda query, reply: b"l" * 1500,
    "a list": lambda query, reply: [reply],
    "no reply": lambda query, reply: {**reply, b"r": []},
    "an error": lambda query, reply: {b"t": reply[b"t"], b"y": b"e", b"e": [203, b"no"]},
    "another number": lambda query, reply: {**reply, b"t": b"zzzz"},
    "a token too long": lambda query, reply: with_reply(reply, {b"token": b"x" * 1000}),
    "half a node": lambda query, reply: with_reply(reply, {b"nodes": b"x" * 30}),
    "many nodes": lambda query, reply: with_reply(reply, {b"nodes": os.urandom(26 * 50)}),
    "nodes of another kind": lambda query, reply: with_reply(reply, {b"nodes": 7, b"nodes6": {b"a": 1}}),
    "a value nobody signed": lambda query, reply: with_reply(reply, {b"v": b"x", b"seq": 1 << 62, b"sig": b"s" * 64}),
    "a value of no kind": lambda query, reply: with_reply(reply, {b"v": {b"a": [1]}, b"seq": b"no", b"sig": 7}),
    "a negative number": lambda query, reply: with_reply(reply, {b"v": b"x", b"seq": -1, b"sig": b"s" * 64}),
}


def with_reply(reply: Message, more: Message) -> Message:
    return {**reply, b"r": {**reply[b"r"], **more}}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "_"))
async def test_a_liar_among_honest_nodes_stops_nothing(lie: str) -> None:
    import libtorrent as lt

    def twist(query: Message, reply: Message) -> bytes | None:
        if query[b"q"] not in (b"get", b"put"):
            return lt.bencode(reply)
        told = LIES[lie](query, reply)
        return told if told is None or isinstance(told, bytes) else lt.bencode(told)

    key, sign = key_pair()
    async with watchers(3) as honest, watchers(1, twist) as (liar,):
        for one in honest:
            one._others.append(liar)
        async with joined(tuple(one.address for one in (*honest, liar))) as session:
            await eventually(lambda: enough(session, 4))
            assert await session.put(key, b"value", sign) >= 3
            item = await session.get(key)
            assert item is not None
            assert (item.value, item.number) == (b"value", 1)
            assert await session.get(os.urandom(32)) is None


async def test_a_flood_of_malformed_datagrams_does_no_harm_and_costs_no_memory(network: LoopbackNetwork) -> None:
    rng, key_and_sign = random.Random(7), key_pair()
    async with joined(network.entries) as session:
        before, target = resident_bytes(), session.addresses[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(target)
            for number in range(FLOOD):
                sender.send(malformed(rng, number))
                if number % 64 == 0:
                    await asyncio.sleep(0)
        assert await session.put(key_and_sign[0], b"alive", key_and_sign[1]) >= 1
        assert await eventually(session.nodes) >= 1
        grown = resident_bytes() - before
    print(f"{FLOOD} datagrams: {grown / 1e6:.1f} MB more")
    assert grown < 32 << 20


def malformed(rng: random.Random, number: int) -> bytes:
    query = b"d1:ad2:id20:" + rng.randbytes(20) + b"6:target20:" + rng.randbytes(20) + b"e1:q3:get1:t2:aa1:y1:qe"
    match number % 5:
        case 0:
            return rng.randbytes(rng.randrange(1, 600))
        case 1:
            return query[: rng.randrange(1, len(query))]
        case 2:
            at = rng.randrange(len(query))
            return query[:at] + rng.randbytes(1) + query[at + 1 :]
        case 3:
            return b"d" * rng.randrange(1, 1400)
        case _:
            return query


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_without_libtorrent_a_node_says_so_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (local,) = await cluster(tmp_path, "ana")
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    async with running(local, providers=(DhtProvider(options(())),)) as driver:
        await until(lambda: "dht" in driver.problems)
        assert "pip install 'cis-node[dht]'" in driver.problems["dht"]
        await put(local, "key", b"value")
        assert value(local, "key") == b"value"
    local.close()
