"""Settings in a running node: what they keep from being exchanged, and what is taken up while it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cis.api.configuration.acting import take_up
from cis.api.configuration.settings import load
from cis.discovery.static import StaticPeers
from cis.model import Kind, SpaceId
from cis.node.core.events import SyncAsked
from cis.node.driver import Driver
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.wire.content import Content
from tests.net.cluster import PATIENCE_S, meet, put, running, until, value

pytestmark = pytest.mark.timeout(60)


async def mark(giver: LocalNode, taker: LocalNode, space: SpaceId, key: str) -> None:
    """Write into a space, and wait until it came over."""
    await asyncio.wrap_future(giver.store.write([Write(space, Kind.PUT, Content(key, b"mark"))]))
    await until(lambda: taker.store.reader.recall(space, key) is not None)


async def session(driver: Driver, other: LocalNode) -> None:
    """Have a session from beginning to end."""
    status = driver.core.status[other.identity.node]
    before = status.sessions
    driver.report(SyncAsked(other.identity.node))
    await until(lambda: status.sessions > before)


async def test_a_public_space_that_is_off_stays_where_it_is_until_it_is_on_again(
    couple: tuple[LocalNode, LocalNode],
) -> None:
    off, on = couple
    off.cluster.exchange = replace(off.cluster.exchange, public=False)
    space = off.create_space("shared", [on.identity.node])
    await put(off, "before", b"off")
    await put(on, "before too", b"on")
    async with running(off) as here, running(on) as there:
        meet(here, there)
        await until(lambda: here.core.overlay.neighbours and there.core.overlay.neighbours)
        await until(lambda: space in on.cluster.shared())
        await put(off, "live", b"off")
        await put(on, "live too", b"on")
        await mark(off, on, space, "from here")
        await mark(on, off, space, "from there")
        await session(here, on)
        await session(there, off)
        assert [value(on, key) for key in ("before", "live")] == [None, None]
        assert [value(off, key) for key in ("before too", "live too")] == [None, None]
        assert not here.problems
        assert not there.problems
        off.cluster.exchange = replace(off.cluster.exchange, public=True)
        async with asyncio.timeout(PATIENCE_S):
            while value(on, "live") is None:  # a session that had begun before is still the old one
                await session(here, on)
        assert [value(on, key) for key in ("before", "live")] == [b"off", b"off"]
        assert [value(off, key) for key in ("before too", "live too")] == [b"on", b"on"]


async def test_what_a_running_node_can_take_up_it_does(couple: tuple[LocalNode, LocalNode], tmp_path: Path) -> None:
    local, other = couple
    before = load(tmp_path)
    async with running(local, providers=(StaticPeers([]),)) as driver, running(other) as there:
        (tmp_path / "config.toml").write_text(
            "[p2p.sync]\ninterval = 7\ncollect_history = true\nbatch_size = 3\n"
            "[p2p.sync.public_memory]\nenabled = false\n"
            "[p2p.limits]\nban_minutes = 1\nconnections_per_peer = 5\nreordered_per_replica = 99\n"
            f"[p2p.peers]\nstatic_peers = ['did:cis:second@127.0.0.1:{there.endpoint.address[1]}']\n"
        )
        take_up(before, load(tmp_path), local, driver)
        core, exchange = driver.core, local.cluster.exchange
        assert (core.dialling.ban_s, core.table.per_node_max, driver.stability.collects) == (60, 5, True)
        assert driver.options.sync_interval_s == 7
        assert (exchange.public, exchange.changesets_per_frame, exchange.beyond_max) == (False, 3, 99)
        await until(lambda: other.identity.node in core.connected())
