"""Many nodes at one anchor: they meet within moments, and do not come all at the same one."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.anchor import client as client_module
from cis.anchor import line as line_module
from cis.anchor.client import AnchorClient
from cis.anchor.line import Line
from cis.anchor.place import AnchorPlace
from cis.discovery.anchor import AnchorProvider
from cis.errors import Unavailable
from tests.net.anchors import anchored
from tests.net.cluster import cluster, running, until

pytestmark = pytest.mark.timeout(60)
NODES = 200
SOON_S = 5.0
"""One second is the aim, on a machine that has nothing else to do."""


class Nothing:
    """Shows nothing and seeks nobody."""

    def own(self) -> list[object]:
        return []

    async def sought(self) -> list[bytes]:
        return []


async def test_nodes_that_look_for_each_other_through_an_anchor_authenticate_within_moments(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    for node in (first, second):
        node.home.bootstrap.unlink(missing_ok=True)
    async with anchored() as url:

        def options(client: AnchorClient) -> dict[str, object]:
            return {"providers": (AnchorProvider(client, allow_loopback=True),), "anchors": (client,)}

        client = AnchorClient(AnchorPlace(url))
        async with running(first, **options(client)) as one:
            await until(lambda: client.up)
            began = time.perf_counter()
            async with running(second, **options(AnchorClient(AnchorPlace(url)))) as two:
                await until(lambda: one.links and two.links)
                took_s = time.perf_counter() - began
    first.close()
    second.close()
    record_property("authenticated_s", round(took_s, 3))
    print(f"authenticated through an anchor in {took_s:.3f} s")
    assert took_s < SOON_S


async def test_nodes_that_lost_a_sound_anchor_at_once_come_back_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: dict[str, list[float]] = collections.defaultdict(list)

    @asynccontextmanager
    async def no_line(place: AnchorPlace) -> AsyncIterator[Line]:
        tried[place.host].append(asyncio.get_running_loop().time())
        raise Unavailable("it is being restarted")
        yield  # type: ignore[unreachable] # makes it a context manager

    monkeypatch.setattr(line_module, "open_line", no_line)
    monkeypatch.setattr(client_module, "STEADY_S", -1.0)
    clients = [AnchorClient(AnchorPlace(f"https://a{number}.example.net")) for number in range(NODES)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run(Nothing(), lambda tag, sealed: None)) for client in clients]
        await until(lambda: len(tried) == NODES and all(len(times) > 1 for times in tried.values()))
        for task in tasks:
            task.cancel()
    again = sorted(times[1] for times in tried.values())
    assert again[-1] - again[0] > 0.4 * client_module.RETURN_S
    most = max(sum(start <= at < start + 0.5 for at in again) for start in again)
    assert most < NODES / 3, "in no half second does a third of them come"


def test_what_is_shown_is_shown_again_at_no_common_beat() -> None:
    client = AnchorClient(AnchorPlace("https://anchor.example.net"), register_interval_s=300.0)
    drawn = [client._draw_interval_s() for _ in range(50)]
    assert all(225 <= one <= 300 for one in drawn)
    assert max(drawn) - min(drawn) > 30
