"""Endpoints on loopback, closed after each test; every test runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from cis.net import Certificate, Connection, Endpoint, NetLimits
from cis.node.home.local import LocalNode
from tests.net.cluster import cluster
from tests.net.loopback import Node, OpenNode

LoopFactories = dict[str, Callable[[], asyncio.AbstractEventLoop]]
_OWN = {"test_endpoint", "test_hostile", "test_streams"}
_TRUSTING = {
    "unauthenticated_bytes_max": 1 << 40,
    "unproven_listener_bytes_max": 1 << 40,
    "unauthenticated_streams_max": 1 << 40,
    "failed_per_address_burst": 1e6,
}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """The endpoint must run on both loops; other rooms' tests in this folder keep to the usual one."""
    usual: LoopFactories = {"asyncio": asyncio.new_event_loop}
    return {**usual, "uvloop": uvloop.new_event_loop} if item.path.stem in _OWN else usual


@pytest.fixture
async def node() -> AsyncIterator[OpenNode]:
    async with AsyncExitStack() as stack:

        async def open_node(limits: NetLimits = NetLimits(), host: str = "127.0.0.1") -> Node:  # noqa: B008 - frozen
            """Open one that lets strangers send in bulk, unless the limits given say otherwise."""
            if limits.unauthenticated_bytes_max == NetLimits().unauthenticated_bytes_max:
                limits = replace(limits, **_TRUSTING)
            accepted: asyncio.Queue[Connection] = asyncio.Queue()
            certificate = Certificate.generate()
            endpoint = await Endpoint.open(host, 0, certificate, limits=limits, on_connection=accepted.put_nowait)
            await stack.enter_async_context(endpoint)
            return Node(endpoint, certificate, accepted)

        yield open_node


@pytest.fixture
async def pair(node: OpenNode) -> tuple[Connection, Connection]:
    """A dialled connection and its other end."""
    a, b = await node(), await node()
    return await a.dial(b), await b.accepted.get()


@pytest.fixture
async def couple(tmp_path: Path) -> AsyncIterator[tuple[LocalNode, LocalNode]]:
    """Two nodes of one cluster, neither of them running."""
    first, second = await cluster(tmp_path, "first", "second")
    yield first, second
    first.close()
    second.close()
