"""A child answers or fails with a reason, and is gone afterwards."""

from __future__ import annotations

import pytest

from cis.bench.bare_pair import Yardstick
from cis.bench.figures import BenchFailed
from cis.bench.pair import Child


def test_a_request_that_fails_says_why() -> None:
    with Child("node") as child, pytest.raises(BenchFailed, match="cis init"):
        child.ask("open", home="/nonexistent/cis-home")


def test_a_request_nobody_knows_fails() -> None:
    with Child("bare") as child, pytest.raises(BenchFailed, match="on_dance"):
        child.ask("dance")


def test_a_process_that_cannot_be_that_role_is_reported_with_its_last_words() -> None:
    with Child("dancer") as child, pytest.raises(BenchFailed, match="dancer"):
        child.ask("listen")


def test_a_process_that_does_not_answer_in_time_is_reported_and_ended() -> None:
    with Child("bare") as child, pytest.raises(BenchFailed, match=r"0\.01 s"):
        child.ask("send", timeout_s=0.01, host="127.0.0.1", port=9, size=1)


@pytest.mark.parametrize("role", ["bare", "carrier"])
def test_both_yardsticks_move_every_byte_again_and_again(role: str) -> None:
    with Yardstick(role) as pair:
        assert all(pair.send(size) > 0 for size in (1, 3_000_001, 70_000))


def test_the_bare_listener_takes_one_dialler_after_another() -> None:
    with Yardstick("bare") as pair:
        assert all(pair.handshake() > 0 for _ in range(5))
