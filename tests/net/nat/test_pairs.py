"""The installed ``cis`` behind routers of each kind: it connects, directly wherever it can, as counters tell."""

from __future__ import annotations

import dataclasses
import time

import pytest

from tests.net.nat.nodes import PORT, Node, stop
from tests.net.nat.pairs import SYNC_S, Trial, Way, expected_way
from tests.net.nat.programs import wait_until
from tests.net.nat.servers import TURN_HOST, TURN_PASSWORD, TURN_USER, TURNS_PORT, Coturn, tls_settings

pytestmark = pytest.mark.timeout(240)

CORE = {
    ("coneA", "coneB"): Way.DIRECT,
    ("arcA", "symB"): Way.DIRECT,
    ("coneA", "coneA.2"): Way.DIRECT,
    ("cgnathairA", "cgnathairA.2"): Way.DIRECT,
    ("symupnpA", "symB"): Way.DIRECT,
    ("symA", "symB"): Way.RELAYED,
    ("coneA", "blockedB"): Way.RELAYED,
    ("cgnatA", "cgnatA.2"): Way.RELAYED,
}
AT_ONCE_S = 3.0
NOBODY = "44.0.0.250:3478"


@pytest.mark.parametrize("pair", CORE, ids=" ".join)
def test_a_pair_connects_and_goes_directly_wherever_it_can(trial: Trial, pair: tuple[str, str]) -> None:
    verdict = trial.run(*pair)
    assert verdict.error == ""
    assert (verdict.expected, verdict.way) == (CORE[pair], CORE[pair]), verdict
    assert [name for node in (trial.trio.alpha, trial.trio.beta) for name in told(node)] == []


def test_who_only_gets_out_by_tls_is_reached_through_a_relay(trial: Trial, coturn: Coturn) -> None:
    verdict = dataclasses.replace(trial, settings=tls_settings(coturn)).run("blockedA", "coneB")
    assert verdict.error == ""
    assert verdict.way is Way.RELAYED, verdict
    assert {(protocol, port) for (host, protocol, port) in verdict.flows if host == TURN_HOST} == {("tcp", TURNS_PORT)}


def told(node: Node) -> list[str]:
    """What a node's logs tell of the relays it uses."""
    logs = [node.log, *node.home.glob("**/*.log")]
    said = "".join(path.read_text(errors="replace") for path in logs)
    return [secret for secret in (TURN_PASSWORD, TURN_HOST) if secret in said]


def test_what_is_expected_of_a_pair_is_the_same_from_both_sides(trial: Trial) -> None:
    for first, second in CORE:
        one, other = trial.internet.host_named(first), trial.internet.host_named(second)
        assert expected_way(one, other) is expected_way(other, one)


def connected_s(*nodes: Node) -> float:
    """How long nodes take to be connected with each other."""
    began = time.monotonic()
    for node in nodes:
        wait_until(lambda node=node: node.status().connected, SYNC_S, f"{node.name} to connect")
    return time.monotonic() - began


@pytest.mark.parametrize(("network", "servers"), [("lan", "none"), ("lan", "unreachable"), ("public", "unreachable")])
def test_without_servers_who_can_be_dialled_is_connected_at_once(trial: Trial, network: str, servers: str) -> None:
    relay = f'[{{"url": "turn:{NOBODY}", "username": "{TURN_USER}", "credential": "{TURN_PASSWORD}"}}]'
    given = {"CIS_P2P__ICE__STUN_SERVERS": NOBODY, "CIS_P2P__ICE__TURN_SERVERS": relay} if servers != "none" else {}
    first, second = trial.internet.host_named("noneA"), trial.internet.host_named("noneB")
    found = {"CIS_P2P__PEERS__STATIC_PEERS": f"did:cis:alpha@{first.address}:{PORT}"}
    if network == "lan":
        first, second = trial.internet.host_named("coneA"), trial.internet.host_named("coneA.2")
        found = {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "true"}
    try:
        trial.trio.alpha.start(first, {**given, **(found if network == "lan" else {})})
        trial.trio.beta.start(second, {**given, **found})
        assert connected_s(trial.trio.beta, trial.trio.alpha) < AT_ONCE_S
    finally:
        stop((trial.trio.alpha, trial.trio.beta))
