"""The Mainline DHT is not only ours: we and the nodes of bittorrent-dht (npm) keep and find each other's items."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from cis.discovery.address import split_endpoint
from tests.interop.npm import Network, network

pytest.importorskip("libtorrent", reason="the DHT needs libtorrent, for which there is no wheel here")

from cis.discovery.dht.asking import Sought
from cis.discovery.dht.session import DhtSession
from tests.net.test_dht import announced, both, eventually, joined, pair, providing, two_running, wait_connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def foreign() -> AsyncIterator[Network]:
    async with network("mainline", NODES) as made:
        yield made


def entries_of(foreign: Network) -> tuple[tuple[str, int], ...]:
    return tuple(split_endpoint(one) for one in foreign.addresses[:3])


@asynccontextmanager
async def ours(foreign: Network) -> AsyncIterator[DhtSession]:
    async with joined(entries_of(foreign)) as session:
        yield session


async def test_what_we_put_they_get_and_a_later_one_replaces_it(foreign: Network) -> None:
    key = SigningKey.generate()
    public = bytes(key.verify_key)
    async with ours(foreign) as session:
        for value, salt in ((b"first", b""), (os.urandom(996), b""), (b"salted", b"salt")):
            assert await session.put(public, value, lambda message: key.sign(message).signature, salt) >= 4
            target = Sought.mutable(public, salt).target.hex()
            got = await foreign.do("get", node=NODES - 1, target=target, salt=salt.decode())
            assert got.get("value") == value.hex()
        assert (await foreign.do("get", node=2, target=Sought.mutable(public).target.hex()))["number"] == 2
        hashed, copies = await session.put_immutable(b"hashed")
        assert copies >= 4
        assert (await foreign.do("get", node=5, target=hashed.hex()))["value"] == b"hashed".hex()


async def test_what_they_put_we_get(foreign: Network) -> None:
    key = SigningKey.generate()
    async with ours(foreign) as session:
        for number, salt in ((1, ""), (2, ""), (7, "salt")):
            value = os.urandom(500)
            words = {"value": value.hex(), "seed": bytes(key).hex(), "number": number, "salt": salt}
            await foreign.do("put", node=1, **words)
            item = await session.get(bytes(key.verify_key), salt.encode())
            assert item is not None
            assert (item.value, item.number) == (value, number)
        done = await foreign.do("put", node=4, value=b"theirs".hex())
        found = await session.get_immutable(bytes.fromhex(done["target"]))
        assert found is not None
        assert found.value == b"theirs"


async def test_our_nodes_find_each_other_through_a_network_that_is_all_theirs(foreign: Network, tmp_path: Path) -> None:
    async with two_running(tmp_path, entries_of(foreign)) as (one, two):
        await wait_connected(one, two)


async def test_their_nodes_do_not_take_in_the_sockets_that_only_ask(foreign: Network) -> None:
    ana, ben, key = pair(9)
    async with (
        providing(announced(ana, ben, key), entries_of(foreign)) as (provider, found),
        providing(announced(ben, ana, key), entries_of(foreign)) as (_, found_too),
    ):
        await eventually(lambda: both(found, found_too))
        assert provider.session is not None
        asking = {port for _, port in provider.session.asking_from}
        for node in range(NODES):
            known = (await foreign.do("known", node=node))["addresses"]
            assert not asking & {split_endpoint(one)[1] for one in known}
