"""What is read of what members tell: each message once, each author's in order, none replayed, whatever clocks say."""

from __future__ import annotations

from cis.gossip.ordering import START_S
from cis.model import NodeId
from cis.node.bulletins.hearing import AGE_MS, RUNS_KEPT_MAX, Hearing, Message
from cis.wire.bulletins import BulletinStatement

ANA, BEN = NodeId(b"a" * 32), NodeId(b"b" * 32)
NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
YEAR_2100_MS = 4_102_444_800_000


def said(number: int, *, author: NodeId = ANA, run: int = 1, sent_ms: int = NOW_MS) -> BulletinStatement:
    return BulletinStatement(author, run.to_bytes(8, "big"), number, sent_ms, 0, bytes(16), b"")


def hear(hearing: Hearing, statement: BulletinStatement, now: float = 0.0, now_ms: int = NOW_MS) -> list[int]:
    """Take a statement as a node does; returns the numbers that are read because of it."""
    if not hearing.judge(statement, now_ms).fresh:
        return []
    message = Message(str(statement.number), NodeId(statement.author), statement.sent_ms, b"")
    return [int(one.topic) for one in hearing.accept(statement, message, now)]


def test_messages_of_one_author_are_read_in_order_and_once() -> None:
    hearing = Hearing()
    read = [hear(hearing, said(number)) for number in (1, 3, 2, 2, 3, 1, 4)]
    assert read == [[1], [], [2, 3], [], [], [], [4]]


def test_authors_do_not_wait_for_each_other() -> None:
    hearing = Hearing()
    hear(hearing, said(1))
    assert hear(hearing, said(3)) == []
    assert hear(hearing, said(1, author=BEN)) == [1]


def test_what_is_missing_is_given_up_after_a_moment() -> None:
    hearing = Hearing()
    hear(hearing, said(7))
    due = hearing.next_due()
    assert due == START_S
    assert [one.topic for one in hearing.due(due)] == ["7"]
    assert hear(hearing, said(6)) == []


def test_a_message_is_not_read_again_once_the_order_has_forgotten_its_author() -> None:
    hearing = Hearing()
    hear(hearing, said(1))
    hear(hearing, said(2))
    hearing.due(1e9)
    assert hear(hearing, said(1), now=1e9) == []
    assert hearing.due(1e9 + START_S) == []


def test_a_member_whose_clock_is_an_hour_off_is_read_like_any_other() -> None:
    for off_ms in (-HOUR_MS, HOUR_MS, YEAR_2100_MS - NOW_MS):
        hearing = Hearing()
        assert hear(hearing, said(1, sent_ms=NOW_MS + off_ms)) == [1]
        assert hear(hearing, said(2, sent_ms=NOW_MS + off_ms + 1)) == [2]


def test_a_clock_set_back_between_two_messages_of_one_run_loses_none() -> None:
    hearing = Hearing()
    hear(hearing, said(1, sent_ms=YEAR_2100_MS))
    assert hear(hearing, said(2, sent_ms=NOW_MS)) == [2]


def test_an_author_that_starts_again_with_its_clock_set_right_is_read() -> None:
    hearing = Hearing()
    hear(hearing, said(1, sent_ms=YEAR_2100_MS))
    assert hear(hearing, said(1, run=2, sent_ms=NOW_MS)) == [1]


def test_an_author_that_is_slow_and_starts_again_is_read() -> None:
    hearing = Hearing()
    hear(hearing, said(1, sent_ms=NOW_MS - HOUR_MS))
    assert hear(hearing, said(1, run=2, sent_ms=NOW_MS - HOUR_MS + 5000)) == [1]


def test_what_an_earlier_run_told_is_not_read_when_it_is_replayed_later() -> None:
    hearing = Hearing()
    hear(hearing, said(1, run=2))
    replayed = said(1, run=1, sent_ms=NOW_MS - AGE_MS - 1)
    assert hear(hearing, replayed) == []
    assert not hearing.judge(replayed, NOW_MS).recent


def test_runs_that_were_read_stay_known_while_others_come() -> None:
    hearing = Hearing()
    for run in range(1, RUNS_KEPT_MAX + 1):
        assert hear(hearing, said(1, run=run)) == [1]
    for run in range(1, RUNS_KEPT_MAX + 1):
        assert hear(hearing, said(1, run=run)) == []


def test_what_comes_late_is_passed_on_if_it_was_told_lately() -> None:
    hearing = Hearing()
    hear(hearing, said(1))
    hear(hearing, said(2, sent_ms=NOW_MS + 1000))
    late = hearing.judge(said(1), NOW_MS)
    assert (late.fresh, late.recent) == (False, True)
