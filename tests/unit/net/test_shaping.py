"""Shares of the line in virtual time: how much passes, whose turn waits, and which hours have other limits."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from cis.net.shaping import BURST_S, LOOK_AGAIN_S, Bandwidth, Direction, OffPeak, Shaper, Shares

KB = 1 << 10
DAY = datetime(2026, 3, 2)  # noqa: DTZ001 - what the clock on the wall shows
NIGHT = OffPeak(time(23, 0), time(6, 30), upload=500 * KB)


def _passed(direction: Direction, peers: int, size: int, within_s: float) -> list[int]:
    """Let so many peers send slices as fast as they may; returns what each got through."""
    due, sent = [0.0] * peers, [0] * peers
    while (now := min(due)) < within_s:
        peer = due.index(now)
        due[peer] = now + direction.spend(peer, size, now)
        sent[peer] += size
    return sent


@pytest.mark.parametrize("limit", [10 * KB, 100 * KB, 5000 * KB])
def test_what_passes_in_ten_seconds_is_the_limit_and_the_burst(limit: int) -> None:
    upload = Direction()
    upload.limit(limit, peer_per_s=0)
    shaper = Shaper()
    shaper.enforce(Shares(upload=limit))
    assert sum(_passed(upload, 1, shaper.slice_bytes, 10.0)) == pytest.approx(limit * (10 + BURST_S), rel=0.02)


def test_peers_that_all_want_to_send_share_alike() -> None:
    upload = Direction()
    upload.limit(100 * KB, peer_per_s=0)
    sent = _passed(upload, 5, 4 * KB, 10.0)
    assert sum(sent) == pytest.approx(1000 * KB, rel=0.05)
    assert max(sent) - min(sent) <= 8 * KB


def test_one_peer_gets_no_more_than_a_peer_may_and_all_no_more_than_all_may() -> None:
    upload = Direction()
    upload.limit(100 * KB, peer_per_s=30 * KB)
    assert _passed(upload, 1, KB, 10.0)[0] == pytest.approx(300 * KB, rel=0.05)
    assert sum(_passed(upload, 8, KB, 10.0)) <= 1000 * KB * 1.05


def test_what_did_not_wait_is_made_up_for_by_what_does() -> None:
    upload = Direction()
    upload.limit(10 * KB, peer_per_s=0)
    upload.spend("ana", 2 * KB, 0.0)
    assert upload.spend("ben", 10 * KB, 0.0) == pytest.approx(1.0)


def test_without_limits_nothing_waits() -> None:
    shaper = Shaper()
    assert shaper.upload.free
    assert shaper.upload.spend("ana", 1 << 40, 0.0) == 0.0
    assert shaper.window_bytes(1 << 24) == 1 << 24


def test_new_limits_forget_what_was_owed_and_the_same_change_nothing() -> None:
    shaper = Shaper()
    assert shaper.enforce(Shares(upload=KB))
    shaper.upload.spend("ana", 1000 * KB, 0.0)
    assert not shaper.enforce(Shares(upload=KB))
    assert shaper.upload.spend("ana", 0, 0.0) > 900
    assert shaper.enforce(Shares(upload=2 * KB))
    assert shaper.upload.spend("ana", 0, 0.0) == 0.0


def test_a_limit_of_downloads_alone_leaves_what_uploads_owe() -> None:
    shaper = Shaper()
    shaper.enforce(Shares(upload=KB))
    shaper.upload.spend("ana", 100 * KB, 0.0)
    shaper.enforce(Shares(upload=KB, download=KB))
    assert shaper.upload.spend("ana", 0, 0.0) > 90


def test_the_window_follows_the_lower_of_the_limits() -> None:
    shaper = Shaper()
    shaper.enforce(Shares(download=4000 * KB, peer_download=1000 * KB))
    assert shaper.window_bytes(1 << 24) == 250 * KB
    assert shaper.window_bytes(100 * KB) == 100 * KB
    shaper.enforce(Shares(download=1))
    assert shaper.window_bytes(1 << 24) == 16 * KB


@pytest.mark.parametrize(
    ("clock", "holds"),
    [("22:59", False), ("23:00", True), ("00:00", True), ("06:29", True), ("06:30", False), ("12:00", False)],
)
def test_hours_over_midnight_begin_and_end_on_the_minute(clock: str, *, holds: bool) -> None:
    assert NIGHT.holds_at(datetime.combine(DAY, time.fromisoformat(clock))) == holds


def test_in_these_hours_their_limits_hold_and_those_of_each_peer_stay() -> None:
    usual = Shares(100 * KB, 200 * KB, 50 * KB, 60 * KB)
    bandwidth = Bandwidth(usual, NIGHT)
    assert bandwidth.shares_at(DAY) == Shares(500 * KB, 0, 50 * KB, 60 * KB)
    assert bandwidth.shares_at(DAY.replace(hour=12)) == usual
    assert Bandwidth(usual).shares_at(DAY) == usual


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_when_clocks_change_what_the_clock_on_the_wall_shows_counts(day: datetime) -> None:
    hours, zone, held = OffPeak(time(2, 30), time(4, 0)), ZoneInfo("Europe/Berlin"), 0
    for minute in range(-180, 600):
        local = (day + timedelta(minutes=minute)).astimezone(zone)
        assert hours.holds_at(local) == ("02:30" <= f"{local:%H:%M}" < "04:00")
        held += hours.holds_at(local)
    assert held == (60 if day.month == 3 else 120)  # an hour that does not come; half an hour that comes twice


def test_the_next_look_is_at_the_next_change_or_soon() -> None:
    assert NIGHT.look_again_in_s(DAY.replace(hour=22, minute=59, second=50)) == 10.0
    assert NIGHT.look_again_in_s(DAY.replace(hour=6, minute=29, second=30)) == 30.0
    assert NIGHT.look_again_in_s(DAY.replace(hour=23)) == LOOK_AGAIN_S
    assert NIGHT.look_again_in_s(DAY.replace(hour=12)) == LOOK_AGAIN_S
