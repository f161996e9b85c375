"""A search finds the best pair there is behind every kind of NAT, and settles for a relay only where there is none."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from cis.errors import Unavailable
from cis.net.paths import Path
from cis.reach.candidates import numbered
from cis.reach.pairs import DIRECT_PAIRS_MAX, RELAYED_PAIRS_MAX, REMOTE_MAX
from cis.reach.session import IceSession
from tests.unit.reach.internet import NATS, Host, Internet, introduce

_CLOSED = ({"symmetric"}, {"symmetric", "port-restricted"})
"""The pairs of NATs nothing gets through unaided (RFC 5128 §3.3.1)."""


async def search(offering: IceSession, answering: IceSession, later_s: float = 0.0) -> tuple[Path, Path]:
    """Search from both sides, the offering one a little later, as an answer takes time to come back."""

    async def late() -> Path:
        await asyncio.sleep(later_s)
        return await offering.connect()

    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(late()), group.create_task(answering.connect())
    return first.result(), second.result()


async def meet(a: Host, b: Host, relay_hold_s: float = 0.3, later_s: float = 0.0) -> tuple[Path, Path]:
    offering, answering = a.session(True, relay_hold_s), b.session(False, relay_hold_s)
    introduce(offering, answering)
    return await search(offering, answering, later_s)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(NATS, NATS)))
async def test_every_pair_of_nats_connects_directly_wherever_that_is_possible(one: str, other: str) -> None:
    internet = Internet()
    began = asyncio.get_running_loop().time()
    ways = await meet(Host(internet, one, True), Host(internet, other, True), later_s=0.02)
    took_s = asyncio.get_running_loop().time() - began
    relayed = {one, other} in _CLOSED
    assert [way.relayed for way in ways] == [relayed, relayed]
    assert took_s >= 0.3 or not relayed


@pytest.mark.parametrize("later_s", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("kinds", [("symmetric", "address-restricted"), ("port-restricted", "port-restricted")])
async def test_a_peer_that_begins_earlier_does_not_make_the_other_settle_for_its_relay(
    kinds: tuple[str, str], later_s: float
) -> None:
    internet = Internet(delay_s=0.02)
    ways = await meet(Host(internet, kinds[0], True), Host(internet, kinds[1], True), 0.2, later_s)
    assert not any(way.relayed for way in ways)


async def test_a_check_lost_to_the_peers_filter_is_repeated_as_soon_as_the_peer_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cis.reach.stun_client._FIRST_WAIT_S", 5.0)
    internet = Internet(delay_s=0.02)
    async with asyncio.timeout(2.0):
        await meet(Host(internet, "port-restricted"), Host(internet, "port-restricted"), later_s=0.1)


async def test_a_direct_pair_is_preferred_to_a_relayed_one_that_worked_earlier() -> None:
    internet = Internet()
    a, b = Host(internet), Host(internet, "port-restricted", True, blocked=True)
    offering, answering = a.session(True, 1.0), b.session(False, 0.0)
    srflx = ("srflx", b.nat.outside(("203.0.113.1", 3478), b._on_datagram))
    offering.peer(answering.ufrag, answering.password, numbered([srflx]))
    answering.peer(offering.ufrag, offering.password, offering.candidates())

    def unblock() -> None:
        assert any("relay" in one and one.state == "works" for one in offering.report())
        b.blocked = False

    asyncio.get_running_loop().call_later(0.2, unblock)
    ways = await search(offering, answering)
    assert not any(way.relayed for way in ways)


async def test_both_ends_of_a_path_say_which_kinds_of_candidates_it_joins() -> None:
    internet = Internet()
    a, b = Host(internet, "symmetric"), Host(internet)
    offered, answered = await meet(a, b)
    assert (offered.local, offered.remote) == ("prflx", "host")
    assert (answered.local, answered.remote) == ("host", "prflx")
    c = Host(internet, "full cone")
    c.found[1] = ("mapped", c.found[1][1])
    offered, answered = await meet(a, c)
    assert (offered.remote, answered.local) == ("mapped", "mapped")


async def test_nothing_is_asked_of_a_relay_while_a_direct_pair_may_succeed() -> None:
    internet = Internet()
    a, b = Host(internet, "symmetric", True), Host(internet, "symmetric")
    loop = asyncio.get_running_loop()
    began, first_s = loop.time(), []
    assert a.relay is not None
    send_one = a.relay.send_one

    def send(data: bytes, target: tuple[str, int]) -> None:
        first_s.append(loop.time() - began)
        send_one(data, target)

    a.relay.send_one = send
    await meet(a, b)
    assert first_s[0] >= 0.3


async def test_relays_are_used_at_once_where_no_direct_pair_can_be() -> None:
    internet = Internet()
    a, b = Host(internet, "symmetric", True, blocked=True), Host(internet, "symmetric")
    a.found = [("relay", a.relay_address)]
    async with asyncio.timeout(1.0):
        ways = await meet(a, b, relay_hold_s=5.0)
    assert (ways[0].local, ways[1].remote) == ("relay", "relay")


async def test_relays_are_used_once_all_direct_pairs_have_failed() -> None:
    internet = Internet()
    a, b = Host(internet, "none", True), Host(internet, "none")
    a.carrier.broken = OSError(101, "Network is unreachable")
    async with asyncio.timeout(3.0):
        ways = await meet(a, b, relay_hold_s=8.0)
    assert all(way.relayed for way in ways)


async def test_a_search_for_a_direct_path_alone_never_settles_for_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.agent.SEARCH_S", 0.5)
    internet = Internet()
    a, b = Host(internet, "symmetric", True), Host(internet, "symmetric", True)
    offering, answering = a.session(True, None), b.session(False, None)
    introduce(offering, answering)
    with pytest.raises(Unavailable, match="no path"):
        await offering.connect()
    assert offering.report()
    assert not any("relay" in one for one in offering.report())


async def test_a_search_for_a_direct_path_alone_takes_no_relayed_one_from_a_peer_that_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cis.reach.agent.SEARCH_S", 0.5)
    internet = Internet()
    a, b = Host(internet, "none", True, blocked=True), Host(internet)
    offering, answering = a.session(True, 0.0), b.session(False, None)
    introduce(offering, answering)
    with pytest.raises(ExceptionGroup) as failed:
        await search(offering, answering)
    assert failed.group_contains(Unavailable)
    assert answering.selected is None


async def test_candidates_may_follow_while_the_search_runs() -> None:
    internet = Internet()
    a, b = Host(internet), Host(internet, "full cone")
    offering, answering = a.session(True), b.session(False)
    offering.peer(answering.ufrag, answering.password, ())
    answering.peer(offering.ufrag, offering.password, ())
    asyncio.get_running_loop().call_later(0.1, lambda: offering.more(b.candidates(), last=True))
    ways = await search(offering, answering)
    assert ways[0].remote == "srflx"


async def test_a_relay_found_while_the_search_runs_is_used() -> None:
    internet = Internet()
    a, b = Host(internet, "symmetric", blocked=True), Host(internet)
    offering, answering = a.session(True), b.session(False)
    introduce(offering, answering)

    def allocated() -> None:
        a.relay = a._allocate()
        a.found.append(("relay", a.relay_address))
        for callback in list(a.on_change):
            callback()

    asyncio.get_running_loop().call_later(0.1, allocated)
    ways = await search(offering, answering)
    assert (ways[0].local, ways[1].relayed) == ("relay", True), "the check from the relay says what it comes from"


async def test_a_relay_that_is_lost_during_the_search_is_given_up_and_the_rest_goes_on() -> None:
    internet = Internet(delay_s=0.05)
    a, b = Host(internet, "port-restricted", True), Host(internet, "port-restricted")
    offering, answering = a.session(True, 0.0), b.session(False, 0.0)
    introduce(offering, answering)

    def lost() -> None:
        a.relay = None
        a.found.pop()
        for callback in list(a.on_change):
            callback()

    asyncio.get_running_loop().call_later(0.07, lost)
    ways = await search(offering, answering)
    assert not ways[0].relayed
    assert {one.state for one in offering.report() if one.local == "relay"} == {"no answer"}
    assert all(pair.task is None for pair in offering._agent.pairs if pair.local_candidate.type == "relay")


async def test_both_sides_in_one_role_settle_it_between_them() -> None:
    internet = Internet()
    a, b = Host(internet), Host(internet, "full cone")
    for controlling in (True, False):
        offering, answering = a.session(controlling), b.session(controlling)
        introduce(offering, answering)
        await search(offering, answering)
        offering.close()
        answering.close()


@pytest.mark.parametrize("seed", range(3))
async def test_a_search_survives_loss(seed: int) -> None:
    internet = Internet(loss=0.25, seed=seed)
    async with asyncio.timeout(8):
        ways = await meet(Host(internet, "port-restricted"), Host(internet, "address-restricted"))
    assert not ways[0].relayed


async def test_checks_are_paced() -> None:
    internet = Internet()
    a, b = Host(internet), Host(internet)
    b.found = [("host", (f"10.9.0.{number}", 9)) for number in range(1, 41)]
    offering, answering = a.session(True), b.session(False)
    introduce(offering, answering)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(offering.connect(), 0.19)
    assert 5 <= sum(one.state != "not tried" for one in offering.report()) <= 10


async def test_check_lists_are_capped_and_leave_room_for_relays() -> None:
    internet = Internet()
    a, b = Host(internet, "none", True), Host(internet)
    session = a.session(True)
    flood = numbered([("host", (f"10.{high}.0.{low}", 9)) for high in range(9) for low in range(1, 100)])
    relay = numbered([("relay", ("198.51.100.99", 9))])
    session.peer("ufragufr", "password" * 4, relay)
    session.more(flood, last=False)
    report = session.report()
    assert len(report) <= DIRECT_PAIRS_MAX + RELAYED_PAIRS_MAX == REMOTE_MAX
    assert any(one.remote == "relay" for one in report)
    assert b.session(False)


async def test_a_peer_that_names_candidates_without_end_fills_nothing() -> None:
    session = Host(Internet()).session(True)
    session.peer("ufragufr", "password" * 4, ())
    for high in range(100):
        session.more(numbered([("host", (f"10.0.{high}.{low}", 9)) for low in range(48)]), last=False)
    assert len(session._kinds) <= REMOTE_MAX
    assert len(session._agent.remote_candidates) <= REMOTE_MAX
    session.close()


async def test_an_authentic_peer_cannot_grow_the_check_list_by_new_addresses() -> None:
    internet = Internet()
    a, b = Host(internet, "none", True), Host(internet)
    session, other = a.session(True), b.session(False)
    introduce(session, other)
    async with asyncio.TaskGroup() as group:
        searching = group.create_task(session.connect())
        await asyncio.sleep(0)
        for port in range(2000):
            request = other._agent.build_request(other._agent.pairs[0], nominate=False)
            request.add_message_integrity(session.password.encode())
            a._on_datagram(bytes(request), ("198.51.100.200", 1024 + port))
        assert 2 < len(session.report()) <= DIRECT_PAIRS_MAX + RELAYED_PAIRS_MAX
        searching.cancel()


async def test_a_failed_search_names_kinds_and_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.agent.SEARCH_S", 0.4)
    internet = Internet()
    a, b = Host(internet, "symmetric", True), Host(internet, "symmetric", blocked=True)
    offering, answering = a.session(True, 0.1), b.session(False)
    introduce(offering, answering)
    with pytest.raises(Unavailable) as failed:
        await offering.connect()
    assert "host to host" in str(failed.value)
    assert "relay to host" in str(failed.value)
    assert "198.51.100" not in str(failed.value)


async def test_a_search_without_hope_waits_for_the_peer_and_then_fails_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.agent.PATIENCE_S", 0.3)
    internet = Internet()
    a, b = Host(internet), Host(internet, "symmetric")
    offering, answering = a.session(True), b.session(False)
    introduce(offering, answering)
    offering_alone = a.session(True)
    offering_alone.peer(answering.ufrag, answering.password, ())
    offering_alone.more((), last=True)
    async with asyncio.timeout(1.0):
        with pytest.raises(Unavailable, match="no candidates that fit"):
            await offering_alone.connect()


async def test_the_answering_side_follows_a_nomination_made_after_its_own_answer_was_lost() -> None:
    internet = Internet()
    a, b = Host(internet), Host(internet, "full cone")
    offering, answering = a.session(True), b.session(False)
    introduce(offering, answering)
    await search(offering, answering)
    agent = answering._agent
    agent._nominated.clear()
    pair = offering._agent.nominated
    assert pair is not None
    await offering._agent._ask(pair, nominate=True)
    assert answering.selected is not None
