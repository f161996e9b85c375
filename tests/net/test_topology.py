"""Who is connected with whom, asked of whole nodes over real QUIC; and how long round trips take."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cis import __version__
from cis.api.telemetry.latency import LatencyOperations
from cis.api.telemetry.statistics import StatisticsOperations
from cis.api.telemetry.telemetry_schema import GetStatistics, GetTopology, MeasureLatency
from cis.api.telemetry.topology import TopologyOperations
from cis.errors import Unavailable, UsageError
from cis.node.bulletins.presence import PRESENCE, TIES_MAX
from cis.node.core.events import PartingAsked
from cis.node.driver import Driver
from tests.net.cluster import until
from tests.net.test_gossip import line

pytestmark = pytest.mark.timeout(90)


async def test_a_node_learns_of_connections_between_others_it_has_none_with(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b", "c", "d") as (first, *others):
        await until(lambda: all(first.presence.of(one.local.identity.node) for one in others))
        found = await TopologyOperations(first).topology(GetTopology())
        assert [tie.ends for tie in found.ties] == [("a", "b"), ("b", "c"), ("c", "d")]
        assert [tie.told_by for tie in found.ties] == [("a", "b"), ("b", "c"), ("c", "d")]
        assert {tie.path for tie in found.ties} == {"lan"}
        assert all(tie.neighbour for tie in found.ties)
        assert [(one.name, one.standing, one.version) for one in found.members] == [
            ("a", "self", None),
            *((name, "told", __version__) for name in "bcd"),
        ]


async def test_who_is_gone_is_no_more_in_it_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b", "c") as (first, second, third):
        leaving = third.local.identity.node
        await until(lambda: first.presence.of(leaving))
        third.stop()
        await until(lambda: (told := first.presence.of(leaving)) is not None and not told.here)
        await until(lambda: second.core.link_to(leaving) is None)
        first.presence._asked_at = None  # as if asked long ago
        found = await TopologyOperations(first).topology(GetTopology(timeout_s=60.0))
        assert [tie.ends for tie in found.ties] == [("a", "b")]
        assert found.members[2].standing == "away"


async def test_what_is_no_list_of_connections_is_not_believed_and_harms_nobody(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b") as (first, second):
        liar = second.local.identity.node
        await until(lambda: first.presence.of(liar))
        told = first.presence.of(liar)
        many = [[bytes([number]) * 32, "lan", True, 1] for number in range(TIES_MAX + 1)]
        for ties in (
            many,
            [[b"short", "lan", True, 1]],
            [[bytes(32), "l" * 1000, True, 1]],
            [[bytes(32), "", True, -1]],
            7,
        ):
            second.topics.tell_system(PRESENCE, msgspec.msgpack.encode([True, False, "9", ties]))
        second.topics.tell_system(PRESENCE, msgspec.msgpack.encode([True, False, "9"]))
        await until(lambda: first.presence.of(liar) != told)
        believed = first.presence.of(liar)
        assert believed is not None
        assert (believed.version, believed.ties) == ("9", ())
        assert first.core.link_to(liar) is not None


async def test_round_trips_are_measured_with_all_peers_at_once_and_one_that_fails_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(tmp_path, "a", "b", "c") as (first, second, third):

        async def dumb() -> tuple[float, int]:
            raise Unavailable("it does not answer")

        await until(lambda: second.local.cluster.membership.member(third.local.identity.node))
        to_third = next(one for one in second.links.values() if one.node == third.local.identity.node)
        monkeypatch.setattr(to_third, "ping", dumb)
        report = await LatencyOperations(second).measure(MeasureLatency(count=5, interval_s=0.0))
        assert [(one.name, one.path, len(one.rtt_ms), one.error) for one in report.peers] == [
            ("a", "lan", 5, ""),
            ("c", "lan", 0, "it does not answer"),
        ]
        assert report.peers[0].rtt_ms == tuple(sorted(report.peers[0].rtt_ms))
        assert report.p99_ms == max(report.peers[0].rtt_ms)
        with pytest.raises(UsageError):
            await LatencyOperations(first).measure(MeasureLatency(count=101))


async def test_statistics_say_what_passed_with_whom_and_what_for(tmp_path: Path) -> None:
    async with line(tmp_path, "a", "b") as (first, second):
        await LatencyOperations(first).measure(MeasureLatency(count=3, interval_s=0.0))
        mine, theirs = await told_of(first, "b"), await told_of(second, "a")
        assert min(*mine["ping"], *theirs["ping"]) > 0
        first.report(PartingAsked(second.local.identity.node))
        await until(lambda: not first.links)
        assert (await told_of(first, "b"))["ping"] == mine["ping"]


async def told_of(driver: Driver, name: str) -> dict[str, tuple[int, int]]:
    """Return bytes in and out with a peer by purpose."""
    found = await StatisticsOperations(driver).statistics(GetStatistics())
    peer = next(one for one in found.peers if one.name == name)
    assert peer.total.bytes_in == sum(one.bytes_in for one in peer.purposes.values())
    return {purpose: (flow.bytes_in, flow.bytes_out) for purpose, flow in peer.purposes.items()}
