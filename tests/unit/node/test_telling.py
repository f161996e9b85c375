"""Records are told on to peers that take them, and no peer is waited for without end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cis.node import meeting


async def test_a_peer_that_takes_no_record_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may grant no stream, and every newer record would wait for one beside those before."""
    monkeypatch.setattr(meeting, "TELL_ON_S", 0.01)
    never = asyncio.Event()

    async def introduce(_: list[bytes]) -> None:
        await never.wait()

    link: Any = SimpleNamespace(introduce=introduce)
    async with asyncio.timeout(2.0):
        await meeting._tell_on(link, b"record")
