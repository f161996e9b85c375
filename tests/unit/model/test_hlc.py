"""Stamps hold 48 bits of milliseconds and 16 of counter, and order as (time, counter)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.model import hlc, hlc_ms
from cis.model.hlc import COUNTER_MAX, MS_MAX

TIMES = st.integers(0, MS_MAX)
COUNTERS = st.integers(0, COUNTER_MAX)


@given(TIMES, COUNTERS, TIMES, COUNTERS)
def test_stamps_order_by_time_then_counter(ms: int, counter: int, other_ms: int, other: int) -> None:
    assert (hlc(ms, counter) < hlc(other_ms, other)) == ((ms, counter) < (other_ms, other))
    assert hlc_ms(hlc(ms, counter)) == ms


def test_a_stamp_is_packed_as_documented_and_fits_a_signed_integer() -> None:
    assert hlc(1, 2) == 0x1_0002
    assert hlc(MS_MAX, COUNTER_MAX) == (1 << 63) - 1


@pytest.mark.parametrize(("ms", "counter"), [(-1, 0), (MS_MAX + 1, 0), (0, -1), (0, COUNTER_MAX + 1)])
def test_what_does_not_fit_is_refused(ms: int, counter: int) -> None:
    with pytest.raises(ValueError, match="no HLC stamp"):
        hlc(ms, counter)
