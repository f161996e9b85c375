"""Two nodes that only a relay connects: the relay may go, and a direct way may come, while they synchronise."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.net.nat.couple import Couple
from tests.net.nat.delaylink import Weather
from tests.net.nat.nodes import stop
from tests.net.nat.pairs import Trial, Way
from tests.net.nat.rules import Nat
from tests.net.nat.servers import SPARE_HOST, TURN_HOST, Coturn, ice_settings

pytestmark = pytest.mark.timeout(240)

PAYLOAD_BYTES = 6 << 20
LINE = Weather(delay_s=0.02, bytes_per_s=1.5e6)


@pytest.fixture
def relayed(trial: Trial, spare_coturn: Coturn) -> Iterator[Couple]:
    """A couple that only a relay connects; there are two."""
    settings = trial.settings
    trial.settings = ice_settings(TURN_HOST, SPARE_HOST)
    first, second = trial.internet.host("sym", "R", link=True), trial.internet.host("sym", "B")
    assert first.router is not None
    assert first.router.link is not None
    first.router.link.set(LINE)
    try:
        yield Couple(trial, first, second)
    finally:
        trial.settings = settings
        stop((trial.trio.alpha, trial.trio.beta))


def test_a_sync_survives_the_relay_it_goes_through(relayed: Couple, coturn: Coturn, spare_coturn: Coturn) -> None:
    before = coturn.carried()
    assert relayed.way() is Way.RELAYED, relayed.flows
    used = coturn if coturn.carried() > before else spare_coturn
    try:
        relayed.sync(PAYLOAD_BYTES, amid=used.kill)
    finally:
        used.start()


def test_a_relayed_connection_becomes_direct_and_lives_on(relayed: Couple) -> None:
    assert relayed.way() is Way.RELAYED, relayed.flows
    age_s, began = relayed.connected_s(), time.monotonic()
    router = relayed.hosts[0].router
    router.become(Nat.FULL)
    try:
        relayed.wait_direct()
        assert relayed.connected_s() >= age_s + time.monotonic() - began - 0.5
    finally:
        router.become(Nat.SYM)
