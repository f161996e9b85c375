"""The Mainline DHT is not only ours: we and the nodes of bittorrent-dht (npm) keep and find each other's items."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from cis.discovery.address import split_endpoint
from tests.interop.npm import npm_folder

pytest.importorskip("libtorrent", reason="the DHT needs libtorrent, for which there is no wheel here")

from cis.discovery.dht.asking import Sought
from cis.discovery.dht.session import DhtSession
from tests.net.test_dht import Shown as Announced
from tests.net.test_dht import both, eventually, joined, pair, providing, two_running, wait_connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 10
PATIENCE_S = 60.0


class Foreign:
    """Speaks with the process of the foreign nodes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.entries: tuple[tuple[str, int], ...] = ()

    async def begin(self) -> None:
        self.entries = tuple(split_endpoint(one) for one in (await self._answer())["addresses"][:3])

    async def do(self, command: str, **words: object) -> dict[str, Any]:
        """Have a command of nodes.mjs done, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **words}).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            found: dict[str, Any] = json.loads(await self._process.stdout.readline())
            return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def foreign() -> AsyncIterator[Foreign]:
    folder: Path = await asyncio.to_thread(npm_folder, "mainline")
    process = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        "nodes.mjs",
        str(NODES),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        made = Foreign(process)
        await made.begin()
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def ours(foreign: Foreign) -> AsyncIterator[DhtSession]:
    async with joined(foreign.entries) as session:
        yield session


async def test_what_we_put_they_get_and_a_later_one_replaces_it(foreign: Foreign) -> None:
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


async def test_what_they_put_we_get(foreign: Foreign) -> None:
    key = SigningKey.generate()
    async with ours(foreign) as session:
        for number, salt in ((1, ""), (2, ""), (7, "salt")):
            value = os.urandom(500)
            words = {"value": value.hex(), "seed": bytes(key).hex(), "number": number, "salt": salt}
            done = await foreign.do("put", node=1, **words)
            assert done.get("error") is None
            item = await session.get(bytes(key.verify_key), salt.encode())
            assert item is not None
            assert (item.value, item.number) == (value, number)
        done = await foreign.do("put", node=4, value=b"theirs".hex())
        found = await session.get_immutable(bytes.fromhex(done["target"]))
        assert found is not None
        assert found.value == b"theirs"


async def test_our_nodes_find_each_other_through_a_network_that_is_all_theirs(foreign: Foreign, tmp_path: Path) -> None:
    async with two_running(tmp_path, foreign.entries) as (one, two):
        await wait_connected(one, two)


async def test_their_nodes_do_not_take_in_the_sockets_that_only_ask(foreign: Foreign) -> None:
    ana, ben, key = pair(9)
    async with (
        providing(Announced(ana, ben, key), foreign.entries) as (provider, found),
        providing(Announced(ben, ana, key), foreign.entries) as (_, found_too),
    ):
        await eventually(lambda: both(found, found_too))
        assert provider.session is not None
        asking = {port for _, port in provider.session.asking_from}
        for node in range(NODES):
            known = (await foreign.do("known", node=node))["addresses"]
            assert not asking & {split_endpoint(one)[1] for one in known}
