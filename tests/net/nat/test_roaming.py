"""What happens to a network while two nodes synchronise over it does not end the sync."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cis.api.peers.network_schema import SyncNow
from cis.errors import CisError
from tests.net.nat.couple import Couple
from tests.net.nat.delaylink import Weather
from tests.net.nat.nodes import Node, describe, stop
from tests.net.nat.pairs import SYNC_S, Trial, Way
from tests.net.nat.programs import wait_until
from tests.net.nat.signalling import ByAnchor

pytestmark = pytest.mark.timeout(240)

PAYLOAD_BYTES = 6 << 20
LINE = Weather(delay_s=0.02, bytes_per_s=1.5e6)
DOWN_S = 2.0
LADDER = (0.001, 0.01, 0.05, 0.1, 0.2)
RUNG_BYTES = 512 << 10
STORM_S = 3.0
BURST = 4.0


@pytest.fixture(scope="module")
def direct(trial: Trial) -> Iterator[Couple]:
    """A couple behind two routers, 40 ms apart."""
    first, second = trial.internet.host("cone", "R", link=True), trial.internet.host("cone", "B")
    assert first.router.link is not None
    first.router.link.set(LINE)
    try:
        yield Couple(trial, first, second)
    finally:
        stop((trial.trio.alpha, trial.trio.beta))


def test_a_sync_survives_another_outer_address(direct: Couple) -> None:
    router = direct.hosts[0].router
    direct.sync(PAYLOAD_BYTES, amid=lambda: router.move(direct.trial.internet.next_address()))
    direct.wait_direct()


def test_a_sync_survives_a_router_that_reboots(direct: Couple) -> None:
    direct.sync(PAYLOAD_BYTES, amid=direct.hosts[0].router.reboot)
    direct.wait_direct()


def test_a_sync_survives_an_interface_that_was_down(direct: Couple) -> None:
    host = direct.hosts[0]

    def replug() -> None:
        host.unplug()
        down = time.monotonic()
        wait_until(lambda: time.monotonic() - down > DOWN_S, 2 * DOWN_S, "a moment")
        host.plug()

    direct.sync(PAYLOAD_BYTES, amid=replug)
    direct.wait_direct()


def test_a_live_connection_survives_the_anchor(direct: Couple) -> None:
    signalling = direct.trial.signalling
    assert isinstance(signalling, ByAnchor)
    age_s, began = direct.connected_s(), time.monotonic()
    try:
        direct.sync(PAYLOAD_BYTES, amid=signalling.anchor.kill)
        assert direct.connected_s() >= age_s + time.monotonic() - began - 0.5
    finally:
        signalling.anchor.start()


@pytest.mark.parametrize("loss", LADDER)
def test_a_sync_completes_under_loss_in_bursts(direct: Couple, loss: float) -> None:
    link = direct.hosts[0].router.link
    carried, lost = link.set(Weather(delay_s=0.01, loss=loss, burst=BURST))
    try:
        keys = direct.alpha.write(RUNG_BYTES, "rung")
        wait_until(lambda: direct.beta.holds(keys), SYNC_S, "all memories", seen=lambda: describe(direct.beta))
    finally:
        carried, lost = (now - before for now, before in zip(link.set(LINE), (carried, lost), strict=True))
    assert lost + 2 > (carried + lost) * loss / 4
    assert direct.way() is Way.DIRECT, direct.flows


def said_of_sync(node: Node) -> str:
    """What a node says is wrong with a sync with beta; nothing where it completes."""
    try:
        (result,) = node.call(SyncNow(target="beta", timeout_s=STORM_S))
    except CisError as error:
        return str(error)
    return result.error


@pytest.mark.parametrize("loss", [0.25, 0.6])
def test_a_sync_that_loss_prevents_is_said_to_be_unfinished(direct: Couple, loss: float) -> None:
    link = direct.hosts[0].router.link
    keys = direct.alpha.write(RUNG_BYTES, "storm")
    link.set(Weather(delay_s=0.01, loss=loss, burst=BURST))
    try:
        assert said_of_sync(direct.alpha) or direct.beta.holds(keys)
    finally:
        link.set(LINE)
    wait_until(lambda: direct.beta.holds(keys), SYNC_S, "all memories", seen=lambda: describe(direct.beta))
