"""What `cis top` makes of what a node says, and how its screen behaves; one against a real node is in tests/e2e."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from msgspec import structs
from textual.pilot import Pilot

from cis.api.control.protocol import Request
from cis.api.peers.network_schema import GetStatus, ListPeers, NodeStatus, PeerInfo, PeerState
from cis.api.peers.peer_schema import ScoreParts
from cis.api.telemetry.telemetry_schema import BandwidthInForce, FlowInfo, PeerFlows, PoolUse, Statistics
from cis.apps.cli import top as command
from cis.apps.cli.main import run
from cis.apps.top import reading as asking
from cis.apps.top.rates import ALL, KEPT, Rates, Way, sparkline
from cis.apps.top.reading import COMPARE_EVERY_S, Reader, Reading, Watcher
from cis.apps.top.screen import Peers, Sheet, TopApp
from cis.apps.top.showing import Order, head, in_step, problems, rows, traffic
from cis.errors import Unavailable

PATIENCE_S = 20.0
INTERVAL_S = 0.05
HOSTILE = "eve [red]x[/red] \x1b[2J\n\u202e"


def peer(name: str, state: PeerState = "connected", **fields: Any) -> PeerInfo:
    told: dict[str, Any] = {
        **dict.fromkeys(("address", "source", "connected_s", "rtt_ms", "skew_ms", "version", "told_s"), None),
        **dict.fromkeys(("in_step_s", "seen_s", "next_attempt_s", "behind_here", "behind_there"), None),
        **dict.fromkeys(("sessions", "changes_received", "bytes_received", "bytes_sent", "successes"), 0),
        **dict.fromkeys(("failures", "failed_in_row", "score"), 0),
        **dict.fromkeys(("last_error", "found_by"), ""),
    }
    why = ScoreParts(worked=0.0, recent=0.0, near=0.0, path=0.0)
    given = {"neighbour": False, "syncing": False, "path": "lan", "why": why, "addresses": (), **fields}
    return PeerInfo(name=name, did=f"did:key:{name}", state=state, **told | given)


def flow(come: int, go: int = 0) -> FlowInfo:
    return FlowInfo(bytes_in=come, bytes_out=go, messages_in=0, messages_out=0, held_in_s=0.0, held_out_s=0.0)


def statistics(since_s: float, **purposes: int) -> Statistics:
    """What one peer, named a, sent since then."""
    counted = {name: flow(come) for name, come in purposes.items()}
    whole = flow(sum(purposes.values()))
    one = PeerFlows(
        name="a", did="did:key:a", connected=True, purposes=counted, total=whole, sessions=0, changes_received=0
    )
    pool = PoolUse(connected=1, connections_max=9, opened=1, idled=0, evicted=0, turned_away=0, reused=0)
    return Statistics(
        since_s=since_s,
        peers=(one,),
        total=whole,
        datagram_bytes_in=0,
        datagram_bytes_out=0,
        gossip_bodies=0,
        gossip_duplicates=0,
        pool=pool,
        bandwidth=BandwidthInForce(upload=0, download=0, peer_upload=0, peer_download=0),
        turned_away={},
    )


def said(*peers: PeerInfo, found: Statistics | None = None, **fields: Any) -> Reading:
    status = NodeStatus(
        running=True,
        name="me",
        did="did:key:me",
        cluster="c" * 32,
        role="admin",
        home="/home",
        version="1",
        members=("me", *(one.name for one in peers)),
        memories=3,
        pid=7,
        uptime_s=5.0,
        networking=True,
        connected=tuple(one.name for one in peers if one.state == "connected"),
    )
    return Reading(structs.replace(status, **fields), peers, traffic=found or statistics(1.0))


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_rate_is_what_passed_between_two_readings_over_the_time_between_them() -> None:
    rates = Rates()
    rates.take(statistics(10.0, sync=1000), run=1)
    assert (rates.peers, rates.purposes) == ({}, {})
    rates.take(statistics(12.0, sync=2000, gossip=600), run=1)
    assert rates.peers == {"did:key:a": Way(800, 0)}
    assert rates.purposes == {ALL: Way(800, 0), "sync": Way(500, 0), "gossip": Way(300, 0)}
    assert (rates.past("sync"), rates.past("nothing")) == ((500,), ())
    assert rates.busiest() == [ALL, "sync", "gossip"]


def test_a_node_that_was_started_anew_counts_from_nothing() -> None:
    rates = Rates()
    rates.take(statistics(10.0, sync=1000), run=1)
    rates.take(statistics(11.0, sync=5000), run=2)
    assert (rates.peers, rates.purposes) == ({}, {})
    rates.take(statistics(12.0, sync=5100), run=2)
    assert rates.purposes[ALL] == Way(100, 0)


def test_what_a_removed_member_takes_out_of_the_counters_is_no_traffic() -> None:
    rates = Rates()
    rates.take(statistics(10.0, sync=1000), run=1)
    rates.take(statistics(11.0, sync=10), run=1)
    assert rates.purposes[ALL] == Way()
    assert rates.busiest() == []


def test_no_more_readings_are_kept_than_are_shown_on_the_widest_screen() -> None:
    rates = Rates()
    for second in range(KEPT + 50):
        rates.take(statistics(float(second), sync=second * second), run=1)
    assert len(rates.past("sync")) == KEPT


def test_a_sparkline_stands_on_nothing_and_its_latest_value_is_at_the_right() -> None:
    assert sparkline([0, 1, 4, 8], 6) == "   ▁▄█"
    assert sparkline([8, 1, 4, 8], 3) == "▁▄█"
    assert sparkline([0, 0], 4) == sparkline([], 4) == "    "
    assert sparkline([1], 0) == ""


@pytest.mark.parametrize(
    ("shown", "fields"),
    [
        ("in step", {"behind_here": 0, "behind_there": 0}),
        ("12 to come", {"behind_here": 12, "behind_there": 0}),
        ("1 to come, 3 to go", {"behind_here": 1, "behind_there": 3}),
        ("syncing", {"syncing": True}),
        ("not compared", {}),
        ("was in step", {"behind_here": 0, "behind_there": 0, "state": "inactive"}),
    ],
)
def test_a_peer_is_in_step_or_so_many_changes_behind(shown: str, fields: dict[str, Any]) -> None:
    assert in_step(peer("a", **fields)) == shown


def test_peers_are_sorted_by_what_was_chosen() -> None:
    far = peer("a", rtt_ms=90.0)
    near = peer("b", rtt_ms=1.0, behind_here=5, behind_there=0)
    away = peer("0", "inactive")
    reading, rates = said(away, far, near), Rates()
    rates.take(statistics(1.0, sync=0), run=7)
    rates.take(statistics(2.0, sync=100), run=7)

    def order(chosen: Order) -> str:
        return "".join(cells[0] for _, cells in rows(reading, rates, chosen))

    assert [order(one) for one in Order] == ["ab0", "0ab", "ba0", "a0b", "b0a"]
    assert Order.BEHIND.next is Order.STATE


def test_a_node_without_a_network_says_how_to_turn_it_on() -> None:
    reading = Reading(said(networking=False).status)
    assert "p2p.enabled true" in traffic(reading, Rates(), 80)
    assert "3 public memories" in head(reading)


def test_problems_come_with_what_to_type_and_a_removal_first() -> None:
    reading = said(
        removed_by="ana", problems={"dht": "no answer"}, remedies={"dht": "cis p2p dht status"}, banned={"eve": 60.0}
    )
    lines = problems(reading).splitlines()
    assert "removed by ana" in lines[0]
    assert lines[2:] == ["dht: no answer", "  try: cis p2p dht status", "and more: cis status"]
    assert problems(said(banned={"eve": 60.0})) == "eve is shut out for another 60 s: it broke the protocol"
    assert problems(said()) == "none"


# --- asking -----------------------------------------------------------------------------------------------------------


class Answering:
    """A node that answers what is shown, and counts how often it was asked for what."""

    def __init__(self) -> None:
        self.behind = 0
        self.compared = 0
        self.counted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, request: Request[Any]) -> Any:
        if isinstance(request, GetStatus):
            return said().status
        if isinstance(request, ListPeers):
            self.compared += request.ask
            return (peer("a", behind_here=0, behind_there=self.behind), structs.replace(peer("?"), did=None))
        self.counted += request.path == "memory/stats"
        return None


def test_what_costs_something_is_asked_for_less_often_and_stays_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    node, now = Answering(), [100.0]
    monkeypatch.setattr(asking, "connect_running", lambda home: node)
    reader = Reader(Path("/home"), lambda: now[0])
    assert [one.name for one in reader.read().peers] == ["a"]
    node.behind = 4  # what was written here since: whether the peer has it by now, it was not asked
    assert in_step(reader.read().peers[0]) == "in step"
    assert (node.compared, node.counted) == (1, 1)
    now[0] += COMPARE_EVERY_S
    assert in_step(reader.read().peers[0]) == "4 to go"
    assert (node.compared, node.counted) == (2, 1)


def test_a_watcher_that_was_ended_or_paused_asks_no_more() -> None:
    heard: list[Reading | Exception] = []
    watcher = Watcher(said, heard.append, 0.0)
    watcher.pause()
    watcher.start()
    watcher.end()
    watcher.join(PATIENCE_S)
    assert not watcher.is_alive()
    assert heard == []


# --- the screen -------------------------------------------------------------------------------------------------------


def lines_of(app: TopApp) -> list[str]:
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def shown(app: TopApp) -> str:
    return "\n".join(lines_of(app))


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never came:\n{shown(pilot.app)}"
        await pilot.pause(0.01)


class Script:
    """What is read: the last thing that was put here; the node is asked no more than it says."""

    def __init__(self, first: Reading | Exception) -> None:
        self.says = first
        self.asked = 0

    def read(self) -> Reading:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@asynccontextmanager
async def screen(script: Script) -> AsyncIterator[tuple[TopApp, Pilot[None]]]:
    app = TopApp(script.read, INTERVAL_S)
    async with app.run_test(size=(80, 24)) as pilot:
        yield app, pilot


async def test_all_of_it_is_on_a_screen_of_80_by_24_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    first = said(
        peer("a", rtt_ms=1.5, behind_here=2, behind_there=0),
        peer("b", "inactive"),
        found=statistics(1.0, sync=0),
        problems={"dht": "no answer"},
        remedies={"dht": "cis p2p dht status"},
    )
    script = Script(first)
    async with screen(script) as (app, pilot):
        await until(pilot, lambda: "dht: no answer" in shown(app))
        script.says = replace(first, traffic=statistics(2.0, sync=3000))
        await until(pilot, lambda: re.search(r"^sync +3.0 KB/s in.*\? help$", shown(app), re.MULTILINE | re.DOTALL))
        lines = lines_of(app)
        assert lines[0].startswith("me (admin), up for 5 s")
        assert "3 members, 1 connected, 0 of them in step" in lines[1]
        assert lines[5].split() == ["a", "lan", "1.5", "ms", "3.0", "KB/s", "2", "to", "come"]
        assert lines[6].split()[:2] == ["b", "(inactive)"]
        assert lines[-2].strip() == "try: cis p2p dht status"
        assert lines[-1].split() == ["⏎", "details", "q", "quit", "p", "pause", "s", "sort", "?", "help"]
        colours = {
            colour
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None
            for colour in (segment.style.color, segment.style.bgcolor)
            if colour is not None and not colour.is_default
        }
        assert colours == set()


async def test_names_and_errors_of_others_stay_text() -> None:
    script = Script(said(peer(HOSTILE, last_error=HOSTILE), problems={HOSTILE: HOSTILE}))
    async with screen(script) as (app, pilot):
        await until(pilot, lambda: shown(app).count("eve [red]x[/red] \\x1b[2J\\x0a\\u202e") >= 3)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Sheet) and "eve [red]x[/red]" in shown(app))
        assert "\x1b" not in shown(app)


async def test_the_cursor_stays_on_its_peer_wherever_that_goes() -> None:
    script = Script(said(peer("a", rtt_ms=9.0), peer("b", rtt_ms=1.0), peer("c", rtt_ms=5.0)))
    async with screen(script) as (app, pilot):
        table = app.query_one(Peers)
        await until(pilot, lambda: table.row_count == 3)
        await pilot.press("down")
        assert table.chosen == "did:key:b"
        await pilot.press("s", "s")
        await until(pilot, lambda: "peers by round trip" in shown(app))
        assert (table.chosen, table.cursor_row) == ("did:key:b", 0)
        script.says = said(peer("a", rtt_ms=1.0), peer("b", rtt_ms=9.0))
        await until(pilot, lambda: (table.chosen, table.cursor_row) == ("did:key:b", 1))


async def test_details_of_a_peer_stay_up_to_date_and_q_closes_them_first() -> None:
    script = Script(said(peer("a", rtt_ms=1.0), found=statistics(1.0, sync=1000)))
    async with screen(script) as (app, pilot):
        await until(pilot, lambda: app.query_one(Peers).row_count)
        await pilot.press("enter")
        await until(pilot, lambda: "traffic since the node started" in shown(app))
        script.says = said(peer("a", rtt_ms=1.0, last_error="it went"))
        await until(pilot, lambda: "error    it went" in shown(app))
        script.says = said()
        await until(pilot, lambda: "it is no member any more" in shown(app))
        await pilot.press("q")
        await until(pilot, lambda: not isinstance(app.screen, Sheet))
        await pilot.press("question_mark")
        await until(pilot, lambda: "the screen stands still" in shown(app))


async def test_a_node_that_is_away_is_said_to_be_with_what_it_said_last_until_it_is_back() -> None:
    script = Script(said(peer("a")))
    async with screen(script) as (app, pilot):
        await until(pilot, lambda: app.query_one(Peers).row_count)
        script.says = Unavailable("no node is running here: start it with `cis up`")
        await until(pilot, lambda: "start it with `cis up`; this is what it said" in shown(app))
        assert "me (admin)" in shown(app)
        script.says = said(peer("a"), peer("b"))
        await until(pilot, lambda: app.query_one(Peers).row_count == 2)
        await until(pilot, lambda: "no node is running" not in shown(app))


async def test_while_paused_the_node_is_not_asked_and_the_screen_says_so() -> None:
    script = Script(said(peer("a")))
    async with screen(script) as (app, pilot):
        await until(pilot, lambda: app.query_one(Peers).row_count)
        await pilot.press("p")
        await until(pilot, lambda: "paused" in shown(app))
        await until(pilot, lambda: not app._watcher._going.is_set())
        script.says, before = said(peer("a"), peer("b")), script.asked
        await pilot.pause(0.1)
        assert script.asked <= before + 1, "the reading that was under way, and none after it"
        assert app.query_one(Peers).row_count == 1
        await pilot.press("p")
        await until(pilot, lambda: app.query_one(Peers).row_count == 2)
        assert "paused" not in shown(app)


async def test_a_node_that_does_not_answer_is_said_to_be_silent_and_holds_up_nothing() -> None:
    first, again, stuck, now = threading.Event(), threading.Event(), threading.Event(), [0.0]

    def read() -> Reading:
        if first.is_set():
            again.set()
            stuck.wait(PATIENCE_S)
        first.set()
        return said(peer("a"))

    app = TopApp(read, INTERVAL_S, lambda: now[0])
    try:
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.query_one(Peers).row_count and again.is_set())
            now[0] = 60.0
            await until(pilot, lambda: "has not answered for 60 s" in shown(app))
            await pilot.press("q")
            await until(pilot, lambda: not app.is_running)
    finally:
        stuck.set()


async def test_a_defect_ends_the_screen_and_is_told() -> None:
    script = Script(said())
    app = TopApp(script.read, INTERVAL_S)
    async with app.run_test() as pilot:
        script.says = KeyError("a defect")
        await until(pilot, lambda: not app.is_running)
    assert (app.return_code, app.failure) == (1, script.says)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "there", "code", "says"),
    [
        ([], False, 2, "pip install 'cis-node[top]'"),
        ([], True, 2, "run `cis init` first"),
        (["--interval", "10ms"], True, 2, "at least 0.5 s"),
    ],
)
def test_what_is_missing_is_one_line_that_says_what_to_do(
    words: list[str],
    there: bool,
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: object() if there else None)
    assert run(["--home", str(tmp_path), "top", *words]) == code
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
