"""Token buckets."""

from __future__ import annotations

from cis.rate import Bucket, Rates


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(per_s=2.0, burst=3.0)
    assert [bucket.take(1.0, 10.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(1.0, 10.4)
    assert bucket.take(1.0, 10.5)
    assert [bucket.take(1.0, 99.0) for _ in range(4)] == [True, True, True, False]


def test_debt_is_to_be_waited_out() -> None:
    bucket = Bucket(per_s=2.0, burst=3.0)
    assert bucket.spend(3.0, 0.0) == 0.0
    assert bucket.spend(4.0, 0.0) == 2.0
    assert bucket.wait_s(1.0, 1.0) == 1.5
    assert bucket.spend(0.0, 2.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(per_s=1.0, burst=1.0)
    assert bucket.take(1.0, 10.0)
    assert not bucket.take(1.0, 5.0)
    assert not bucket.take(1.0, 5.5)


def test_keys_spend_their_own_and_the_longest_unused_is_forgotten() -> None:
    rates: Rates[str] = Rates(per_s=1.0, burst=1.0, keys_max=2)
    assert not rates.spent("a", 0.0)
    assert len(rates) == 0
    assert rates.take("a", 0.0)
    assert not rates.take("a", 0.0)
    assert not rates.take("b", 0.0, 1.5)
    assert rates.take("b", 0.0)
    assert rates.spent("a", 0.0)
    rates.spend("c", 0.0)
    assert len(rates) == 2
    assert not rates.spent("a", 0.0)
    assert rates.spent("c", 0.5)
    assert not rates.spent("c", 1.0)
