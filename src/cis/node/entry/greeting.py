"""The handshake over the first stream of a connection; the machines themselves are `cis.trust.handshake`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from cis.errors import Fault, PeerFault, TimedOut
from cis.model import NodeId
from cis.net import Connection, ConnectionLost, Endpoint, Stream
from cis.net.closing import StreamReset
from cis.node.entry.conversation import Conversation
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.trust import Authenticated, Dialler, Entropy, HandshakeKey, Listener, Local, Refused, Ticket
from cis.wire.handshake import HANDSHAKE_BYTES_MAX

Outcome = TypeVar("Outcome")
HANDSHAKE_S = 5.0
NO_KEY_FITS = (
    "it answers to no key of this node's: this node may have been removed from the cluster (ask an admin: "
    "`cis acl show` there), or another node is at that address now"
)


async def greet_as_dialler(
    connection: Conversation, local: Local, key: HandshakeKey, expected: NodeId | None, entropy: Entropy
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
    connection: Conversation,
    local: Local,
    keys: Sequence[HandshakeKey],
    entropy: Entropy,
    begun: tuple[Stream, bytes] | None = None,
) -> Authenticated:
    """Let a dialler prove itself; raises `PeerFault`, ConnectionLost or TimedOut, the connection closed.

    ``begun`` is the stream and its first frame, where that was read already.
    """
    machine = Listener(local, keys, entropy)

    async def talk() -> Authenticated:
        stream, frame = begun or (await connection.accept_stream(), None)
        return await _converse(stream, machine, frame)

    return await _bounded(connection, talk)


async def first_frame(connection: Conversation) -> tuple[Stream, bytes]:
    """Read what a dialler says first, whatever it is; raises as `greet_as_listener`, the connection closed."""

    async def listen() -> tuple[Stream, bytes]:
        stream = await connection.accept_stream()
        frame = await stream.read_frame(HANDSHAKE_BYTES_MAX)
        if frame is None:
            raise PeerFault(Fault.REFUSED, "the handshake was broken off")
        return stream, frame

    return await _in_time(connection, listen)


async def _converse(stream: Stream, machine: Dialler | Listener, first: bytes | None = None) -> Authenticated:
    frame = first
    while True:
        frame = await stream.read_frame(HANDSHAKE_BYTES_MAX) if frame is None else frame
        if frame is None:
            raise PeerFault(Fault.REFUSED, "the handshake was broken off")
        step, frame = machine.receive(frame), None
        if step.send is not None:
            await stream.write_frame(step.send)
        if isinstance(step.outcome, Refused):
            raise PeerFault(step.outcome.fault, step.outcome.detail)
        if step.outcome is not None:
            stream.finish()
            return step.outcome


async def _bounded(connection: Conversation, talk: Callable[[], Awaitable[Authenticated]]) -> Authenticated:
    outcome = await _in_time(connection, talk)
    connection.mark_authenticated()
    return outcome


async def _in_time(connection: Conversation, talk: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Close the connection with the one REFUSED, or with the reason, where the talk fails or takes too long."""
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            return await talk()
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


async def reach(endpoint: Endpoint, local: LocalNode, target: Target) -> tuple[NodeId, Connection]:
    """Dial a target as a member and return who answered; raises what `greet_as_dialler` and the dial do."""
    return await reach_by(lambda: endpoint.dial(target.host, target.port), local, target.node)


async def reach_by(
    dial: Callable[[], Awaitable[Connection]], local: LocalNode, node: NodeId | None
) -> tuple[NodeId, Connection]:
    """Dial as a member and return who answered; raises what `greet_as_dialler` and the dial do.

    Where it does not answer to the discovery key, which one of the two may have missed the renewal of, and it is known
    whom we dial, the key shared with that member alone is tried.
    """
    member = local.cluster.membership.member(node) if node is not None else None
    shared = local.cluster.pairwise_key(member) if member is not None else None
    try:
        return await _greet(await dial(), local, node, local.cluster.keys.discovery_key)
    except PeerFault as fault:
        if fault.fault is not Fault.REFUSED or shared is None:
            raise
    try:
        return await _greet(await dial(), local, node, shared)
    except PeerFault as fault:
        if fault.fault is Fault.REFUSED:
            raise PeerFault(Fault.REFUSED, NO_KEY_FITS) from None
        raise


async def _greet(
    connection: Connection, local: LocalNode, node: NodeId | None, secret: bytes
) -> tuple[NodeId, Connection]:
    brought = _brought(local, connection)
    outcome = await greet_as_dialler(connection, brought, HandshakeKey(secret), node, local.entropy)
    return outcome.node, connection


async def welcome(local: LocalNode, connection: Connection, begun: tuple[Stream, bytes] | None = None) -> Authenticated:
    """Let whoever connected prove itself, by the discovery key or by a ticket; raises as `greet_as_listener`."""
    keys = local.cluster.handshake_keys()
    return await greet_as_listener(connection, _hearing(local, connection), keys, local.entropy, begun)


async def welcome_holder(local: LocalNode, connection: Conversation, ticket: Ticket) -> Authenticated:
    """Let the holder of this one ticket prove itself, whichever side dialled; raises as `greet_as_listener`."""
    keys = [HandshakeKey(ticket.secret, ticket.id)]
    return await greet_as_listener(connection, _brought(local, connection), keys, local.entropy)


def _hearing(local: LocalNode, connection: Connection) -> Local:
    """What a listener brings: beside members it lets removed admins prove who they are."""
    brought = _brought(local, connection)

    def judge(node: NodeId, chain: Sequence[bytes]) -> Fault | None:
        fault = brought.judge(node, chain)
        return None if fault is Fault.UNAUTHORISED and node in local.cluster.former_admins() else fault

    return replace(brought, judge=judge)


def _brought(local: LocalNode, connection: Conversation) -> Local:
    membership = local.cluster.membership
    chain = membership.chain(local.identity.node)
    hash_ = connection.certificate_hash
    return Local(local.identity, local.cluster.id, hash_, chain, membership.digest(), membership.judge)
