"""When silence means that a path is dead."""

from __future__ import annotations

from cis.net.vigil import ASK_S, SILENT_S, SUSPECT_ASK_S, Vigil


def _asks_until_suspect(loss: float = 0.0, rtt_s: float = 0.0, ask_s: float = ASK_S) -> tuple[int, float]:
    vigil, now = Vigil(), 100.0
    assert vigil.doubt(now)
    for asked in range(1, 1000):
        if vigil.ask(now, loss=loss, rtt_s=rtt_s):
            return asked, now - 100.0
        now += ask_s
    raise AssertionError("never suspected")


def test_a_clean_path_is_suspected_after_less_than_a_second() -> None:
    _, silent_s = _asks_until_suspect()
    assert SILENT_S <= silent_s < 1


def test_many_questions_do_not_replace_the_time() -> None:
    assert _asks_until_suspect(ask_s=0.001)[1] >= SILENT_S


def test_time_does_not_replace_questions() -> None:
    assert _asks_until_suspect(ask_s=10.0)[0] >= 6


def test_a_path_that_loses_is_asked_more() -> None:
    clean, lossy = _asks_until_suspect(0.0)[0], _asks_until_suspect(0.25)[0]
    assert lossy - 1 >= 11 > clean - 1


def test_questions_whose_answer_cannot_be_here_yet_do_not_count() -> None:
    asked, silent_s = _asks_until_suspect(rtt_s=0.6)
    assert asked > 11
    assert silent_s > 1


def test_a_suspicion_is_told_once_until_something_is_answered() -> None:
    vigil = Vigil()
    for _ in range(2):
        assert vigil.doubt(0.0)
        assert not vigil.doubt(0.0)
        told = [vigil.ask(step * 0.1, loss=0.0, rtt_s=0.0) for step in range(50)]
        assert told.count(True) == 1
        assert vigil.suspect
        vigil.rest()
        assert not vigil.suspect


def test_another_path_is_doubted_anew() -> None:
    vigil = Vigil()
    vigil.doubt(0.0)
    assert any(vigil.ask(step * 0.1, loss=0.0, rtt_s=0.0) for step in range(20))
    assert vigil.ask_again_in_s == SUSPECT_ASK_S
    vigil.begin_again(2.0)
    assert not vigil.suspect
    assert vigil.ask_again_in_s == ASK_S
    assert not any(vigil.ask(2.0 + step * 0.1, loss=0.0, rtt_s=0.0) for step in range(7))
