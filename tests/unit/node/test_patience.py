"""Whom a node goes on waiting for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cis.net import Flow
from cis.node.streams.patience import unless_stalled


async def test_who_sends_slowly_is_waited_for() -> None:
    stream = SimpleNamespace(flow=Flow())
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.5
    async with unless_stalled(stream, 0.2):
        while loop.time() < end:
            stream.flow.bytes_in += 1
            await asyncio.sleep(0)


async def test_who_neither_sends_nor_takes_anything_is_not() -> None:
    stream = SimpleNamespace(flow=Flow(bytes_in=10))
    with pytest.raises(TimeoutError):
        async with unless_stalled(stream, 0.1):
            await asyncio.Event().wait()
