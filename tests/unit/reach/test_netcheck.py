"""Measuring: against simulated NATs of every kind, and against real coturn on two addresses of loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from cis.errors import TimedOut
from cis.net import Certificate, Endpoint
from cis.reach import netcheck
from cis.reach.findings import Filtering, Mapping, Netcheck
from cis.reach.netcheck import Ear, examine
from cis.reach.stun_client import Reflexive

pytestmark = pytest.mark.timeout(60)
Address = tuple[str, int]
SERVER, OTHER = ("198.51.100.1", 3478), ("198.51.100.2", 3479)
PLAIN = ("198.51.100.9", 3478)
OUTSIDE = "203.0.113.5"
INSIDE = "192.168.1.2"


class Router:
    """A NAT before two sockets, the servers behind it, and how they answer."""

    def __init__(self, mapping: Mapping, filtering: Filtering, *, hairpin: bool = False, ignores: bool = False) -> None:
        self.mapping = mapping
        self.filtering = filtering
        self.hairpin = hairpin
        self.ignores = ignores
        """whether the server answers from where it was asked, whatever it is asked for"""
        self.ports: dict[object, int] = {}
        self.sent: set[tuple[int, object]] = set()
        self.ears: dict[int, Socket] = {}

    def out(self, port: int, to: Address) -> Address:
        if self.mapping is Mapping.NONE:
            seen = (INSIDE, port)
        else:
            keys = {Mapping.ENDPOINT: None, Mapping.ADDRESS: to[0], Mapping.ADDRESS_PORT: to}
            seen = (OUTSIDE, self.ports.setdefault((port, keys[self.mapping]), 40_000 + len(self.ports)))
        self.sent |= {(seen[1], to), (seen[1], to[0])}
        return seen

    def lets_in(self, port: int, source: Address) -> bool:
        seen: object = source if self.filtering is Filtering.ADDRESS_PORT else source[0]
        return self.filtering is Filtering.ENDPOINT or (port, seen) in self.sent


class Socket:
    """Stands for an `Ear` behind a `Router`."""

    takes_ipv6 = False
    carrier = None

    def __init__(self, router: Router, port: int) -> None:
        self.router, self.port, self.hub = router, port, self
        self.names = SimpleNamespace(lookup=self._lookup)
        self.heard: dict[bytes, asyncio.Event] = {}
        router.ears[port] = self

    async def _lookup(self, host: str, port: int) -> tuple[Address, ...]:
        return () if host == "nowhere.example" else ((host, port),)

    async def binding(self, server: Address, timeout_s: float, *, change: tuple[bool, bool] | None = None) -> Reflexive:
        seen = self.router.out(self.port, server)
        if server not in {PLAIN, *product((SERVER[0], OTHER[0]), (SERVER[1], OTHER[1]))}:
            raise TimedOut(f"no answer within {timeout_s:g} s")
        able = server != PLAIN
        ip, port = (False, False) if change is None or self.router.ignores else change
        source = (OTHER[0] if ip else server[0], OTHER[1] if port else server[1])
        if not self.router.lets_in(seen[1], source):
            raise TimedOut(f"no answer within {timeout_s:g} s")
        return Reflexive(*seen, 0.01, OTHER if able else None, source)

    def expect(self, transaction: bytes) -> asyncio.Event:
        return self.heard.setdefault(transaction, asyncio.Event())

    def begin(self, request: stun.Message, address: Address, _: object) -> Any:
        self.router.out(self.port, address)

        async def run() -> None:
            for ear in self.router.ears.values():
                if self.router.hairpin and ear is not self and request.transaction_id in ear.heard:
                    ear.heard[request.transaction_id].set()

        return SimpleNamespace(run=run)

    def finish(self, _: object) -> None:
        """Nothing is kept."""


@pytest.fixture(autouse=True)
def _no_long_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcheck, "SILENCE_S", 0.5)


async def measure(router: Router, *servers: Address) -> Netcheck:
    return await examine(Socket(router, 5000), Socket(router, 5001), servers, {INSIDE})


@pytest.mark.parametrize("mapping", [Mapping.NONE, Mapping.ENDPOINT, Mapping.ADDRESS, Mapping.ADDRESS_PORT])
@pytest.mark.parametrize("filtering", list(Filtering))
async def test_a_server_with_two_addresses_tells_mapping_and_filtering(mapping: Mapping, filtering: Filtering) -> None:
    found = await measure(Router(mapping, filtering), SERVER)
    assert (found.nat.mapping, found.nat.filtering) == (mapping, filtering)
    assert found.udp is True


@pytest.mark.parametrize("filtering", list(Filtering))
async def test_a_filter_is_told_also_where_the_other_address_is_a_server_of_the_settings(filtering: Filtering) -> None:
    found = await measure(Router(Mapping.ENDPOINT, filtering), SERVER, (OTHER[0], SERVER[1]), OTHER)
    assert found.nat.filtering is filtering


async def test_ordinary_servers_tell_the_mapping_alone() -> None:
    for mapping, told in ((Mapping.ENDPOINT, None), (Mapping.ADDRESS, None)):
        alone = await measure(Router(mapping, Filtering.ENDPOINT), PLAIN)
        assert alone.nat.mapping is told
        assert "another host" in alone.nat.mapping_unknown
        assert "OTHER-ADDRESS" in alone.nat.filtering_unknown


async def test_two_servers_that_see_different_addresses_tell_a_symmetric_nat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcheck, "_has_second_address", lambda _: False)
    found = await measure(Router(Mapping.ADDRESS_PORT, Filtering.ENDPOINT), PLAIN, SERVER)
    assert found.nat.mapping is Mapping.DEPENDENT
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ENDPOINT), PLAIN, SERVER)
    assert found.nat.mapping is Mapping.ENDPOINT
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ENDPOINT), SERVER, (SERVER[0], OTHER[1]))
    assert found.nat.mapping is None, "one host seen from two of its ports tells nothing of others"


async def test_a_server_that_answers_from_the_same_place_whatever_it_is_asked_tells_no_filter() -> None:
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ADDRESS_PORT, ignores=True), SERVER)
    assert found.nat.filtering is None
    assert "whatever it was asked for" in found.nat.filtering_unknown


@pytest.mark.parametrize("hairpin", [True, False])
async def test_hairpinning_is_told_behind_a_cone(hairpin: bool) -> None:
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ADDRESS_PORT, hairpin=hairpin), SERVER)
    assert found.hairpin is hairpin


async def test_hairpinning_is_unknown_where_it_cannot_be_told() -> None:
    for mapping in (Mapping.NONE, Mapping.ADDRESS_PORT):
        found = await measure(Router(mapping, Filtering.ENDPOINT, hairpin=True), SERVER)
        assert found.hairpin is None
        assert found.hairpin_detail


async def test_without_a_server_everything_is_unknown_and_says_what_to_add() -> None:
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ENDPOINT))
    assert (found.udp, found.nat.mapping, found.nat.filtering, found.hairpin) == (None, None, None, None)
    for text in (found.udp_detail, found.nat.mapping_unknown, found.nat.filtering_unknown, found.hairpin_detail):
        assert "add p2p.ice.stun_servers" in text


async def test_each_server_is_told_with_its_latency_or_why_not() -> None:
    servers = (SERVER, ("192.0.2.1", 9), ("nowhere.example", 3478))
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ENDPOINT), *servers)
    answered, silent, unnamed = found.servers
    assert answered.latency_ms == 10
    assert (silent.latency_ms, "no answer" in silent.error) == (None, True)
    assert "no address" in unnamed.error
    assert found.udp_detail == "1 of 3 STUN servers answered"


async def test_where_no_server_answers_udp_is_said_not_to_work() -> None:
    found = await measure(Router(Mapping.ENDPOINT, Filtering.ENDPOINT), ("192.0.2.1", 9))
    assert found.udp is False
    assert "blocked" in found.udp_detail


# --- real servers and sockets -----------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def coturn(tmp_path: Path) -> Iterator[Address]:
    """A real STUN server on two addresses."""
    if shutil.which("turnserver") is None:
        pytest.skip("turnserver (coturn) is not installed")
    port, other = _free_port(), _free_port()
    words = ["turnserver", "-n", "-L", "127.0.0.1", "-L", "127.0.0.2", f"--listening-port={port}"]
    words += [f"--alt-listening-port={other}", "--no-tls", "--no-dtls", "--no-cli", "--no-auth", "--log-file=stdout"]
    words += [f"--pidfile={tmp_path}/pid", f"--userdb={tmp_path}/users"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        yield "127.0.0.1", port
        running.kill()


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
async def test_real_coturn_tells_that_there_is_no_nat_here(coturn: Address, host: str) -> None:
    async with (
        await Endpoint.open(host, 0, Certificate.generate(), on_connection=lambda _: None) as first,
        await Endpoint.open(host, 0, Certificate.generate(), on_connection=lambda _: None) as second,
    ):
        one, two = Ear(first), Ear(second)
        while True:  # until it listens; bounded by the test's own limit
            try:
                await one.hub.binding(coturn, 0.3)
                break
            except TimedOut:
                continue
        found = await examine(one, two, [coturn], {"127.0.0.1"})
    assert (found.nat.mapping, found.nat.filtering) == (Mapping.NONE, Filtering.ENDPOINT)
    assert found.public == (f"127.0.0.1:{one.port}",)
    assert found.servers[0].latency_ms is not None


async def test_a_request_from_one_socket_to_another_is_heard() -> None:
    async with (
        await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=lambda _: None) as first,
        await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=lambda _: None) as second,
    ):
        one, two = Ear(first), Ear(second)
        assert await netcheck._arrives(one, two, ("127.0.0.1", two.port))
        assert not await netcheck._arrives(one, two, ("127.0.0.1", one.port))
