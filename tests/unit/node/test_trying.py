"""Dials that came too late, what became of each, and what paths are called."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cis.model import NodeId
from cis.net.paths import Path
from cis.node.paths.facts import ATTEMPTS_PER_NODE_MAX, NODES_MAX, Attempt, Attempts, kind_of
from cis.node.paths.trying import GIVEN_UP, Trying

PEER = NodeId(b"p" * 32)
CONNECTION: Any = object()


async def never() -> Any:
    await asyncio.Event().wait()


async def at_once() -> Any:
    return CONNECTION


async def dial(trying: Trying, where: str, how: Any, then: asyncio.Event | None = None) -> None:
    with trying.at(PEER, where) as one:
        await one.through(how)
        if then is not None:
            await then.wait()
        one.outcome = "connected"


async def test_a_dial_is_given_up_unless_its_handshake_has_begun() -> None:
    trying, greeted = Trying(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(dial(trying, "slow", never))
        greeting = group.create_task(dial(trying, "greeting", at_once, greeted))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert {one.where: one.outcome for one in trying.attempts.of(PEER)} == {"slow": "", "greeting": ""}
        trying.give_up(PEER)
        greeted.set()
    assert slow.cancelled()
    assert not greeting.cancelled()
    assert {one.where: one.outcome for one in trying.attempts.of(PEER)} == {"slow": GIVEN_UP, "greeting": "connected"}
    trying.give_up(PEER)  # nothing is under way


def test_what_is_kept_of_attempts_is_bounded() -> None:
    attempts = Attempts()
    for number in range(NODES_MAX + 5):
        attempts.note(NodeId(number.to_bytes(32, "big")), Attempt("x", "no", 0.0))
    assert attempts.of(NodeId((4).to_bytes(32, "big"))) == []
    for number in range(ATTEMPTS_PER_NODE_MAX + 5):
        attempts.note(PEER, Attempt("x", "no", float(number)))
    assert attempts.of(PEER)[0].at == 5.0


@pytest.mark.parametrize(
    ("host", "local", "remote", "relayed", "mapped", "kind"),
    [
        ("192.168.1.7", "host", "host", False, False, "lan"),
        ("fd00::7", "host", "host", False, False, "lan"),
        ("::ffff:10.0.0.7", "host", "host", False, False, "lan"),
        ("44.0.0.7", "host", "host", False, False, "direct"),
        ("44.0.0.7", "host", "host", False, True, "mapped"),
        ("44.0.0.7", "mapped", "srflx", False, False, "mapped"),
        ("44.0.0.7", "srflx", "host", False, False, "punched"),
        ("44.0.0.7", "host", "prflx", False, False, "punched"),
        ("44.0.0.7", "host", "relay", False, True, "relayed"),
        ("44.0.0.7", "relay", "host", True, False, "relayed"),
    ],
)
def test_a_path_is_called_by_what_carries_it(
    host: str, local: str, remote: str, relayed: bool, mapped: bool, kind: str
) -> None:
    carrier: Any = SimpleNamespace(relayed=relayed)
    assert kind_of(Path(carrier, (host, 7), local, remote), mapped=mapped) == kind
