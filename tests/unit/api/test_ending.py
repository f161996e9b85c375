"""When a node ends by itself: the grammar of conditions, the verdict, and what counts as a row of failures."""

from __future__ import annotations

import math

import pytest

from cis.api.end_watch import Failures
from cis.api.ending import (
    NO_TERMS,
    Condition,
    Facts,
    Row,
    Terms,
    judge,
    parse_condition,
    require_possible,
    span,
    terms_of,
)
from cis.errors import UsageError
from cis.node.core import events
from cis.peers import Target
from cis.sync import Report

DEAD = Target(b"n" * 32, "192.0.2.7", 7677, "static")


def until(*conditions: str, **more: float) -> Terms:
    return terms_of(more.get("max_runtime"), conditions, None)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("peers>=3", Condition("peers", ">=", 3)),
        (" members > 12 ", Condition("members", ">", 12)),
        ("memories=0", Condition("memories", "=", 0)),
        ("synced", Condition("synced")),
    ],
)
def test_a_condition_is_synced_or_a_count_beside_a_number(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition
    assert parse_condition(str(condition)) == condition


@pytest.mark.parametrize(
    "text", ["", "peers", "peers>=", "peers>=x", "peers>=-1", "peers<3", "peers>=3.5", "synced>=1", "nodes>=1", "p>=1;"]
)
def test_anything_else_is_refused_and_the_error_says_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match="peers, members or memories") as refused:
        parse_condition(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("number", ["9" * 10, "9" * 10_000, "\u0663"])
def test_numbers_are_short_and_of_plain_digits(number: str) -> None:
    with pytest.raises(UsageError):
        parse_condition(f"peers>={number}") and parse_condition(number)


@pytest.mark.parametrize(
    ("condition", "holding"), [("peers>=3", [3, 4]), ("peers>3", [4]), ("peers=3", [3])], ids=["least", "more", "just"]
)
def test_a_count_is_compared_as_its_sign_says(condition: str, holding: list[int]) -> None:
    held = [peers for peers in range(6) if judge(until(condition), Facts(peers=peers), 0.0) is not None]
    assert held[: len(holding)] == holding
    assert (len(held) == 1) == (condition == "peers=3")


def test_all_conditions_must_hold_at_one_moment() -> None:
    terms = until("peers>=2", "synced")
    assert judge(terms, Facts(peers=2, apart="two lacks 3 changes"), 1.0) is None
    assert judge(terms, Facts(peers=2, apart=None), 1.0) is None
    assert judge(terms, Facts(peers=1, apart=""), 1.0) is None
    ended = judge(terms, Facts(peers=2, apart=""), 4.23)
    assert ended is not None
    assert (ended.code, ended.why) == (0, "peers>=2 and synced hold after 4.2 s")


def test_what_holds_when_the_time_is_over_still_counts() -> None:
    ended = judge(until("peers>=1", max_runtime=10), Facts(peers=1), 10.0)
    assert ended is not None
    assert (ended.code, ended.why) == (0, "peers>=1 holds after 10.0 s")


def test_time_that_is_over_before_is_told_with_what_was_lacking() -> None:
    terms = until("peers>=3", max_runtime=600)
    assert judge(terms, Facts(peers=2), 599.9) is None
    ended = judge(terms, Facts(peers=2), 600.0)
    assert ended is not None
    assert (ended.code, ended.why) == (5, "10m are over; peers>=3 never held: 2 connected")
    several = until("peers>=1", "memories>=9", "synced", max_runtime=1)
    ended = judge(several, Facts(peers=1, memories=4, apart="nobody answered"), 2.0)
    assert ended is not None
    assert ended.why.endswith(
        "peers>=1, memories>=9 and synced never held together: 4 public memories; nobody answered"
    )


def test_time_alone_ends_a_node_well() -> None:
    ended = judge(Terms(max_runtime_s=90.0), Facts(), 90.0)
    assert ended is not None
    assert (ended.code, ended.why) == (0, "90s are over")


def test_failures_in_a_row_end_it_and_the_last_is_told() -> None:
    terms = Terms(until=(Condition("synced"),), max_failures=2)
    assert judge(terms, Facts(dials=Row(1, "a"), sessions=Row(1, "b")), 1.0) is None
    ended = judge(terms, Facts(dials=Row(2, "h:1: too slow")), 1.0)
    assert ended is not None
    assert (ended.code, ended.why) == (1, "2 dials in a row came to nothing, the last of h:1: too slow")
    ended = judge(terms, Facts(sessions=Row(3, "it broke off")), 1.0)
    assert ended is not None
    assert (ended.code, ended.why) == (1, "3 sessions in a row failed, the last with: it broke off")


def test_without_terms_nothing_ends_a_node() -> None:
    facts = Facts(peers=9, members=9, memories=9, apart="", dials=Row(99, "x"), sessions=Row(99, "x"))
    assert judge(NO_TERMS, facts, 1e9) is None


def test_only_a_connection_ends_a_row_of_dials_and_only_a_good_session_one_of_sessions() -> None:
    failures = Failures()
    for reason in ("first", "second"):
        failures.note(events.DialFailed(DEAD, reason), connected=False)
        failures.note(events.SyncEnded(1, None, reason), connected=False)
    assert (failures.dials, failures.sessions) == (Row(2, "192.0.2.7:7677: second"), Row(2, "second"))
    failures.note(events.Connected(1, b"n" * 32, None), connected=True)
    assert (failures.dials.length, failures.sessions.length) == (0, 2)
    failures.note(events.SyncEnded(1, Report()), connected=True)
    assert failures.sessions.length == 0


def test_what_says_nothing_about_reaching_members_is_no_failure() -> None:
    failures = Failures()
    failures.note(events.DialFailed(DEAD, "it was this node", pointless=True), connected=False)
    failures.note(events.DialFailed(DEAD, "nobody there"), connected=True)
    failures.note(events.SyncEnded(1, None, ""), connected=True)
    assert (failures.dials, failures.sessions) == (Row(), Row())


@pytest.mark.parametrize(
    ("seconds", "text"), [(600, "10m"), (90, "90s"), (3600, "1h"), (172_800, "2d"), (0.25, "0.25s"), (5400, "90m")]
)
def test_spans_are_written_as_users_write_them(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_terms_that_mean_nothing_or_never_come_are_refused() -> None:
    for seconds in (0.0, 1e-9, 1e12, math.inf):
        with pytest.raises(UsageError, match=r"--max-runtime .*: from 1ms to 3650d"):
            terms_of(seconds, (), None)
    with pytest.raises(UsageError, match="--max-failures 0"):
        terms_of(None, (), 0)
    for terms in (until("peers>=1"), until("memories>=1", "synced"), Terms(max_failures=1)):
        require_possible(terms, networking=True)
        with pytest.raises(UsageError, match=r"p2p\.enabled"):
            require_possible(terms, networking=False)
    require_possible(Terms(5.0, (Condition("memories", ">", 1),)), networking=False)
