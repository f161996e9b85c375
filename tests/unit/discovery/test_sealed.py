"""Sealed records: only what a member says of itself, now and under its own tag, leads anywhere."""

from __future__ import annotations

import os

import pytest

from cis.discovery.sealed import SealedRecords
from cis.model import Candidate
from cis.trust.beacons import beacon_slot, beacon_tag, seal_record
from cis.trust.identity import Identity
from cis.trust.records import RECORD_LIFE_MS, sign_record
from tests.announcing import Recorded

NOW = 1_800_000_000.0
KEY = bytes(range(32))
ONE, TWO = Identity(b"1" * 32), Identity(b"2" * 32)
CANDIDATES = (Candidate("127.0.0.1", 7677, "direct"), Candidate("169.254.169.254", 80, "direct"))


class Shown(Recorded):
    """What a node of a cluster of two lets others know."""

    def __init__(self, own: Identity, key: bytes = KEY) -> None:
        super().__init__(own, [ONE.node, TWO.node], key, CANDIDATES, NOW)


def records(own: Identity, now: float = NOW, key: bytes = KEY) -> SealedRecords:
    return SealedRecords(Shown(own, key), allow_loopback=True, clock=lambda: now)


@pytest.mark.parametrize("skew_s", [-900, 0, 900])
async def test_a_member_finds_what_another_left_though_their_clocks_differ_by_a_slot(skew_s: float) -> None:
    left, looking = records(TWO, NOW + skew_s), records(ONE)
    beacon = left.own()[0]
    assert beacon.tag in await looking.sought()
    assert [(one.node, one.host) for one in looking.sightings(beacon.tag, left.sealed(beacon))] == [
        (TWO.node, "127.0.0.1")
    ]


async def test_what_is_not_the_members_own_or_is_old_or_lies_under_another_tag_leads_nowhere() -> None:
    looking = records(ONE)
    await looking.sought()
    slot = beacon_slot(NOW)
    tag, other = beacon_tag(KEY, slot, TWO.node), beacon_tag(KEY, slot + 1, TWO.node)
    assert tag is not None
    assert other is not None
    now_ms = round(NOW * 1000)

    def sealed(record: bytes) -> bytes:
        return seal_record(KEY, tag, record, os.urandom)

    genuine = sealed(sign_record(TWO, CANDIDATES, now_ms))
    assert looking.sightings(tag, genuine)
    for record in (sign_record(ONE, CANDIDATES, now_ms), sign_record(TWO, CANDIDATES, now_ms - RECORD_LIFE_MS), b"no"):
        assert looking.sightings(tag, sealed(record)) == []
    assert looking.sightings(tag, b"junk") == []
    assert looking.sightings(other, genuine) == []
    assert looking.sightings(b"u" * 16, genuine) == []


async def test_another_cluster_finds_nothing() -> None:
    left = records(TWO)
    stranger = records(ONE, key=b"k" * 32)
    assert left.own()[0].tag not in await stranger.sought()
    assert stranger.sightings(left.own()[0].tag, left.sealed(left.own()[0])) == []


def test_a_record_is_sealed_once_for_each_beacon_while_it_stays_the_same() -> None:
    left = records(TWO)
    this, before, _ = left.own()
    assert left.sealed(this) == left.sealed(this)
    assert left.sealed(this) != left.sealed(before)


def test_a_node_goes_on_to_its_next_beacon_when_its_lag_is_over() -> None:
    at = beacon_slot(NOW) * 900.0
    left = SealedRecords(Shown(TWO), allow_loopback=True, clock=lambda: at + 29.0, lag_s=30.0)
    then = SealedRecords(Shown(TWO), allow_loopback=True, clock=lambda: at + 31.0, lag_s=30.0)
    slot = beacon_slot(NOW)
    assert [one.tag for one in left.own()] == [beacon_tag(KEY, near, TWO.node) for near in (slot - 1, slot - 2, slot)]
    assert then.own()[0].tag == beacon_tag(KEY, slot, TWO.node)


async def test_a_beacon_that_lags_is_still_sought() -> None:
    at = beacon_slot(NOW) * 900.0 + 29.0
    left = SealedRecords(Shown(TWO), allow_loopback=True, clock=lambda: at, lag_s=30.0)
    assert left.own()[0].tag in await records(ONE, at).sought()
