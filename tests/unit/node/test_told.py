"""What a member tells that cannot be read says nothing, and harms nobody who hears it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from cis.node.bulletins.presence import PRESENCE, Presence
from cis.node.bulletins.stability import STABILITY, Stability
from cis.node.bulletins.topics import MEMBERSHIP, Topics
from cis.trust.bulletins import Told, seal_bulletin
from cis.wire.membership import Role
from tests.unit.node.households import close, household
from tests.unit.trust.cluster import entropy

DEEP = b"\x91" * 5000 + b"\xc0"
NO_TEXT = b"\x94\xc3\xc2\xa1\xff\x90"


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (PRESENCE, NO_TEXT),
        (PRESENCE, b"\x95\xc3\xc2\xa1a\x90" + DEEP),
        (STABILITY, b"\x93\xc4\x10" + bytes(16) + b"\x90" + DEEP),
        (MEMBERSHIP, DEEP),
    ],
    ids=["no text", "a deep presence", "a deep report", "deep entries"],
)
async def test_what_cannot_be_read_is_passed_over(tmp_path: Path, topic: str, payload: bytes) -> None:
    founder, member = household(tmp_path, ("eve", Role.WRITER))
    try:
        topics = Topics(founder, lambda _: None, asyncio.get_running_loop())
        presence, stability = Presence(founder, topics, Random(1), tuple), Stability(founder)
        topics.read_system(STABILITY, lambda message: stability.take(message.author, message.payload))
        keys = member.cluster.keys.spaces[member.cluster.public]
        told = Told(bytes(8), 1, founder.clock_ms(), topic, payload)
        assert topics.take(seal_bulletin(member.identity, keys, told, entropy(1))).sound
        assert presence.of(member.identity.node) is None
        topics.close()
    finally:
        close([founder, member])
