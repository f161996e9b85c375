"""What somebody learns who finds the port and knows nothing of the cluster: a QUIC handshake, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from cis.errors import Fault
from cis.model import did_of
from cis.net import Certificate, Connection, ConnectionLost, Endpoint
from cis.net.certificate import SERVER_NAME
from cis.net.closing import CloseReason, StreamReset
from cis.node import freshness
from cis.node.driver import Driver
from cis.node.entry import greeting
from cis.node.freshness import Freshness
from cis.node.home.local import LocalNode
from cis.wire.handshake import Hello, encode_hello
from cis.wire.messages import Open, encode
from tests.net.cluster import cluster, running, until
from tests.net.test_node import open_endpoint

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Driver, Endpoint]]:
    """A running node of a cluster of two, and an endpoint that belongs to nobody."""
    monkeypatch.setattr(greeting, "HANDSHAKE_S", 0.3)
    nodes = await cluster(tmp_path, "very-secret-name", "other-secret-name")
    async with running(nodes[0]) as driver, await open_endpoint() as endpoint:
        yield driver, endpoint
    for node in nodes:
        node.close()


def secrets_of(local: LocalNode) -> list[bytes]:
    """What would tell who the node is, or whose."""
    members = local.cluster.membership.members()
    return [
        local.cluster.id,
        bytes(local.cluster.public),
        *(member.node for member in members),
        *(member.name.encode() for member in members),
        *(did_of(member.node).encode() for member in members),
    ]


async def _said_to(connection: Connection, *frames: bytes) -> tuple[bytes, CloseReason]:
    """Say something on the first stream; returns all that came back, and how the connection ended."""
    heard = b""
    stream = await connection.open_stream()
    try:
        for frame in frames:
            await stream.write_frame(frame)
        while chunk := await stream.read():
            heard += chunk
    except (ConnectionLost, StreamReset):
        pass
    return heard, await connection.wait_closed()


HELLOS = [
    (),
    (b"",),
    (b"GET / HTTP/1.1\r\n\r\n",),
    (encode(Open("sync")),),
    (encode(Open("records")),),
    (encode_hello((1,), bytes(32), bytes(32)),),
    (encode_hello((1, 2, 3), b"n" * 32, b"m" * 32),),
    (msgspec.msgpack.encode(Hello((9,), bytes(32), bytes(32), b"")),),
]


@pytest.mark.parametrize("frames", HELLOS, ids=itertools.count())
async def test_whatever_a_scanner_says_it_hears_not_a_byte_and_one_code(
    scanned: tuple[Driver, Endpoint], frames: tuple[bytes, ...]
) -> None:
    driver, endpoint = scanned
    connection = await endpoint.dial(*driver.endpoint.address)
    heard, reason = await _said_to(connection, *frames)
    assert heard == b""
    assert (reason.fault, reason.text, reason.by_peer) == (Fault.REFUSED, "", True)
    assert not driver.links


async def test_the_certificate_names_nobody_and_is_another_at_each_start(scanned: tuple[Driver, Endpoint]) -> None:
    driver, endpoint = scanned
    connection = await endpoint.dial(*driver.endpoint.address)
    der = connection._drive.core.peer_certificate()
    assert der is not None
    shown = x509.load_der_x509_certificate(der)
    assert {name.value for name in shown.subject} == {name.value for name in shown.issuer} == {SERVER_NAME}
    assert len(list(shown.extensions)) == 0
    assert not any(secret in der for secret in secrets_of(driver.local))
    own_key = driver.local.identity.node
    assert shown.public_key().public_bytes_raw() != own_key
    again, another = Certificate.generate(), Certificate.generate()
    assert len({der, again.der, another.der}) == 3
    for one in (again, another):
        read = x509.load_der_x509_certificate(one.der)
        assert read.not_valid_before_utc == shown.not_valid_before_utc
        assert read.not_valid_after_utc == shown.not_valid_after_utc


async def test_two_clusters_answer_a_scanner_alike(scanned: tuple[Driver, Endpoint], tmp_path: Path) -> None:
    driver, endpoint = scanned
    elsewhere = LocalNode.create(type(driver.local.home)(tmp_path / "elsewhere"), "elsewhere")
    async with running(elsewhere) as other:
        endings = []
        for target in (driver, other):
            connection = await endpoint.dial(*target.endpoint.address)
            _, reason = await _said_to(connection, encode_hello((1,), bytes(32), bytes(32)))
            endings.append((reason.fault, reason.text))
    assert endings[0] == endings[1]
    elsewhere.close()


async def test_each_slot_and_each_network_has_a_certificate_of_its_own() -> None:
    shown: list[Certificate] = []
    now_ms, candidates = [0], list[tuple]([()])
    fresh = Freshness(shown.append, lambda: now_ms[0], lambda: candidates[0])
    assert not fresh.look()
    now_ms[0] = 14 * 60_000
    assert not fresh.look()
    now_ms[0] = 15 * 60_000
    assert fresh.look()
    assert not fresh.look()
    candidates[0] = ("another",)
    assert fresh.look()
    assert len({one.der for one in shown}) == 2


async def test_a_running_node_shows_a_new_certificate_in_a_new_slot(
    scanned: tuple[Driver, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, endpoint = scanned
    slots = itertools.count()
    monkeypatch.setattr(freshness, "slot_of", lambda _: next(slots))
    before = (await endpoint.dial(*driver.endpoint.address)).certificate_hash
    shown = Freshness(driver.endpoint.use_certificate, driver.local.clock_ms, tuple)
    monkeypatch.setattr(freshness, "LOOK_S", 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shown.run())
        await until(lambda: driver.endpoint._certificate_hash != before)
        task.cancel()
    assert (await endpoint.dial(*driver.endpoint.address)).certificate_hash != before
