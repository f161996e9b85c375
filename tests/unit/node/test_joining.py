"""A joiner takes what the issuer of its ticket sends within bounds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cis.errors import Fault, PeerFault
from cis.node.entry import joining
from cis.wire.joining import JoinGranted, encode_join


async def test_a_log_without_end_is_given_up_though_its_entries_hold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "LOG_BYTES_MAX", 10_000)
    frame = encode_join(JoinGranted((b"",) * 100, more=True))

    async def read_frame(_: int) -> bytes:
        await asyncio.sleep(0)
        return frame

    stream: Any = SimpleNamespace(read_frame=read_frame)
    async with asyncio.timeout(20):
        with pytest.raises(PeerFault) as refused:
            await joining._read_log(stream)
    assert refused.value.fault is Fault.TOO_LARGE
