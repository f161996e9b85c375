"""The handshake over the first stream of a connection; the machines themselves are `cis.trust.handshake`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cis.errors import Fault, PeerFault, TimedOut
from cis.model import NodeId
from cis.net import Connection, ConnectionLost, Endpoint, Stream
from cis.net.closing import StreamReset
from cis.node.local import LocalNode
from cis.peers import Target
from cis.trust import Authenticated, Dialler, Entropy, HandshakeKey, Listener, Local, Refused
from cis.wire.handshake import HANDSHAKE_BYTES_MAX

HANDSHAKE_S = 5.0


async def greet_as_dialler(
    connection: Connection, local: Local, key: HandshakeKey, expected: NodeId | None, entropy: Entropy
) -> Authenticated:
    """Authenticate the listener and prove who we are.

    Raises `PeerFault`, ConnectionLost or TimedOut; the connection is closed then.
    """
    machine = Dialler(local, key, expected, entropy)

    async def talk() -> Authenticated:
        stream = await connection.open_stream()
        await stream.write_frame(machine.start())
        return await _converse(stream, machine)

    return await _bounded(connection, talk)


async def greet_as_listener(
    connection: Connection, local: Local, keys: Sequence[HandshakeKey], entropy: Entropy
) -> Authenticated:
    """Let a dialler prove itself; raises `PeerFault`, ConnectionLost or TimedOut, the connection closed."""
    machine = Listener(local, keys, entropy)

    async def talk() -> Authenticated:
        return await _converse(await connection.accept_stream(), machine)

    return await _bounded(connection, talk)


async def _converse(stream: Stream, machine: Dialler | Listener) -> Authenticated:
    while True:
        frame = await stream.read_frame(HANDSHAKE_BYTES_MAX)
        if frame is None:
            raise PeerFault(Fault.REFUSED, "the handshake was broken off")
        step = machine.receive(frame)
        if step.send is not None:
            await stream.write_frame(step.send)
        if isinstance(step.outcome, Refused):
            raise PeerFault(step.outcome.fault, step.outcome.detail)
        if step.outcome is not None:
            stream.finish()
            return step.outcome


async def _bounded(connection: Connection, talk: Callable[[], Awaitable[Authenticated]]) -> Authenticated:
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            outcome = await talk()
    except TimeoutError:
        connection.close(Fault.REFUSED, "")
        raise TimedOut("the peer did not complete the handshake in 5 s") from None
    except PeerFault as fault:
        connection.close(fault.fault, "" if fault.fault is Fault.REFUSED else fault.detail)
        raise
    except ConnectionLost as lost:
        if lost.reason.by_peer and not lost.reason.transport:
            raise PeerFault(lost.reason.fault, lost.reason.text or "it gave no reason") from None
        raise
    except StreamReset:
        connection.close(Fault.REFUSED, "")
        raise
    connection.mark_authenticated()
    return outcome


async def reach(endpoint: Endpoint, local: LocalNode, target: Target) -> tuple[NodeId, Connection]:
    """Dial a target as a member and return who answered; raises what `greet_as_dialler` and the dial do."""
    connection = await endpoint.dial(target.host, target.port)
    key = HandshakeKey(local.cluster.keys.discovery)
    outcome = await greet_as_dialler(connection, _brought(local, connection), key, target.node, local.entropy)
    return outcome.node, connection


async def welcome(local: LocalNode, connection: Connection) -> Authenticated:
    """Let whoever connected prove itself, by the discovery key or by a ticket; raises as `greet_as_listener`."""
    keys = local.cluster.handshake_keys()
    return await greet_as_listener(connection, _brought(local, connection), keys, local.entropy)


def _brought(local: LocalNode, connection: Connection) -> Local:
    membership = local.cluster.membership
    chain = membership.chain(local.identity.node)
    hash_ = connection.certificate_hash
    return Local(local.identity, local.cluster.id, hash_, chain, membership.digest(), membership.judge)
