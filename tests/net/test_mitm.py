"""One in the middle, with a certificate of its own, relaying between two members over real QUIC."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from cis.errors import CisError, Fault, PeerFault
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, Stream
from cis.net.closing import StreamReset
from cis.node.driver import Driver
from cis.node.entry.greeting import greet_as_dialler, reach
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.trust import HandshakeKey, Listener, Local
from cis.trust.handshake import Transcript, offer
from cis.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    decode_answer,
    decode_hello,
    decode_proof,
    encode_frame,
    encode_hello,
)
from tests.net.cluster import cluster, running, until
from tests.net.test_node import open_endpoint

pytestmark = pytest.mark.timeout(60)


@dataclass
class Proxy:
    """Accepts connections and dials ``beyond`` for each; what it does with the first streams is ``play``."""

    beyond: tuple[str, int]
    play: Callable[[Proxy, Connection, Stream, Connection, Stream], Awaitable[None]]
    insider: LocalNode
    """a member: what it knows may be used"""
    endpoint: Endpoint = field(init=False)
    relayed: int = 0
    said: list[bytes] = field(default_factory=list)

    @property
    def target(self) -> tuple[str, int]:
        return self.endpoint.address

    async def serve(self, near: Connection) -> None:
        far = await self.endpoint.dial(*self.beyond)
        with_near, with_far = await near.accept_stream(), await far.open_stream()
        try:
            await self.play(self, near, with_near, far, with_far)
        except (ConnectionLost, StreamReset, TypeError):
            pass
        finally:
            near.close(Fault.NONE, "")
            far.close(Fault.NONE, "")


async def relay(proxy: Proxy, near: Connection, with_near: Stream, far: Connection, with_far: Stream) -> None:
    """Pass every byte on, both ways."""

    async def pump(source: Stream, sink: Stream) -> None:
        while chunk := await source.read():
            proxy.relayed += len(chunk)
            await sink.write(chunk)

    async with asyncio.TaskGroup() as group:
        group.create_task(pump(with_near, with_far))
        group.create_task(pump(with_far, with_near))
        for one in (near, far):
            group.create_task(end_with(one))


async def end_with(connection: Connection) -> None:
    """Raise once the connection has ended, whoever ended it."""
    raise ConnectionLost(await connection.wait_closed())


@asynccontextmanager
async def proxy_to(driver: Driver, play: Callable[..., Awaitable[None]], insider: LocalNode) -> AsyncIterator[Proxy]:
    proxy = Proxy(driver.endpoint.address, play, insider)
    async with asyncio.TaskGroup() as group:

        def on_connection(connection: Connection) -> None:
            group.create_task(_quietly(proxy.serve(connection)))

        async with await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=on_connection) as endpoint:
            proxy.endpoint = endpoint
            yield proxy


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except* (CisError, TypeError):
        pass


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[tuple[LocalNode, LocalNode, LocalNode]]:
    nodes = await cluster(tmp_path, "listener", "dialler", "insider")
    yield nodes[0], nodes[1], nodes[2]
    for node in nodes:
        node.close()


def secret_of(local: LocalNode) -> bytes:
    """The key whose knowledge is proven: every member has it."""
    return local.cluster.handshake_keys()[0].secret


async def dial(dialler: LocalNode, proxy: Proxy, listener: LocalNode) -> None:
    """Dial the proxy once, taking it for the listener."""
    async with await open_endpoint() as endpoint:
        connection = await endpoint.dial(*proxy.target)
        membership, seen = dialler.cluster.membership, connection.certificate_hash
        chain, digest = membership.chain(dialler.identity.node), membership.digest()
        brought = Local(dialler.identity, dialler.cluster.id, seen, chain, digest, membership.judge)
        key = HandshakeKey(secret_of(dialler))
        await greet_as_dialler(connection, brought, key, listener.identity.node, dialler.entropy)


async def test_without_one_in_the_middle_the_two_meet(trio: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    listener, dialler, _ = trio
    async with running(listener) as driver, await open_endpoint() as endpoint:
        node, _ = await reach(endpoint, dialler, Target(listener.identity.node, *driver.endpoint.address, "static"))
        assert node == listener.identity.node


async def test_who_relays_every_byte_is_caught_by_the_listener_and_the_dialler_is_refused(
    trio: tuple[LocalNode, LocalNode, LocalNode],
) -> None:
    listener, dialler, insider = trio
    async with running(listener) as driver, proxy_to(driver, relay, insider) as proxy:
        with pytest.raises(PeerFault) as refusal:
            await dial(dialler, proxy, listener)
        assert refusal.value.fault in {Fault.REFUSED, Fault.NONE}
        await until(lambda: driver.tally["handshake_refused"] >= 1)
        assert proxy.relayed >= 256  # the hello, whole
        assert not driver.links


async def insider_towards_the_dialler(
    proxy: Proxy, near: Connection, with_near: Stream, far: Connection, with_far: Stream
) -> None:
    """Know the cluster's key: make a hello of one's own for the listener, and pass its answer on, sealed anew."""
    secret, certificate = secret_of(proxy.insider), proxy.endpoint._certificate_hash
    to_near, to_far = Transcript(certificate), Transcript(far.certificate_hash)
    hello = to_near.take(await with_near.read_frame(HANDSHAKE_BYTES_MAX) or b"")
    nonce = decode_hello(hello).nonce
    own = encode_hello((1,), nonce, hmac.digest(secret, offer(far.certificate_hash, nonce, (1,)), "sha256"))
    await with_far.write_frame(to_far.take(own))
    answer = decode_answer(await with_far.read_frame(HANDSHAKE_BYTES_MAX) or b"")
    proxy.said.append(answer.signature)
    mac = hmac.digest(secret, b"L" + to_near.digest(), "sha256")
    await with_near.write_frame(encode_frame(msgspec.structs.replace(answer, mac=mac)))
    proof = await with_near.read_frame(HANDSHAKE_BYTES_MAX)
    proxy.said.append(proof or b"")
    await with_far.write_frame(proof or b"")
    await far.wait_closed()


async def test_even_one_who_knows_the_clusters_key_is_caught_by_the_dialler_at_the_answer(
    trio: tuple[LocalNode, LocalNode, LocalNode],
) -> None:
    listener, dialler, insider = trio
    async with running(listener) as driver, proxy_to(driver, insider_towards_the_dialler, insider) as proxy:
        with pytest.raises(PeerFault, match="could not prove the identity it claims"):
            await dial(dialler, proxy, listener)
        assert len(proxy.said) == 1  # the listener's own answer was passed on: only the channel differed
        assert not driver.links


async def insider_towards_the_listener(
    proxy: Proxy, near: Connection, with_near: Stream, far: Connection, with_far: Stream
) -> None:
    """Be dialled as oneself, and use the dialler's proof at the listener, as if one were the dialler."""
    local, secret = proxy.insider, secret_of(proxy.insider)
    own_hash = proxy.endpoint._certificate_hash
    brought = Local(local.identity, local.cluster.id, own_hash, (), bytes(32), lambda *_: None)
    towards_near = Listener(brought, [HandshakeKey(secret)], local.entropy)
    hello = await with_near.read_frame(HANDSHAKE_BYTES_MAX) or b""
    step = towards_near.receive(hello)
    assert step.send is not None
    await with_near.write_frame(step.send)
    nonce = bytes(32)
    mac = hmac.digest(secret, offer(far.certificate_hash, nonce, (1,)), "sha256")
    await with_far.write_frame(encode_hello((1,), nonce, mac))
    await with_far.read_frame(HANDSHAKE_BYTES_MAX)
    proof = await with_near.read_frame(HANDSHAKE_BYTES_MAX) or b""
    proxy.said.append(proof)
    await with_far.write_frame(proof)
    reason = await far.wait_closed()
    proxy.said.append(bytes([reason.fault]))


async def test_a_proof_given_to_one_member_opens_no_other(trio: tuple[LocalNode, LocalNode, LocalNode]) -> None:
    listener, dialler, insider = trio
    async with running(listener) as driver, proxy_to(driver, insider_towards_the_listener, insider) as proxy:
        with pytest.raises(PeerFault):
            await dial(dialler, proxy, insider)
        await until(lambda: len(proxy.said) == 2)
        assert decode_proof(proxy.said[0]).node == dialler.identity.node  # a real proof of the dialler's
        assert proxy.said[1] == bytes([Fault.REFUSED])
        assert not driver.links
