"""Joining a cluster by a ticket: the joiner's side, and the issuer's on a connection authenticated by a ticket."""

from __future__ import annotations

import asyncio

from cis.errors import CisError, Fault, PeerFault, Unavailable, UsageError
from cis.model import NodeId
from cis.net import Certificate, Connection, Endpoint
from cis.node.greeting import HANDSHAKE_S, greet_as_dialler
from cis.node.local import LocalNode
from cis.trust import HandshakeKey, Local, Membership, Ticket
from cis.wire.joining import (
    JOIN_BYTES_MAX,
    JoinGranted,
    JoinRefused,
    JoinRequest,
    decode_join,
    encode_join,
)
from cis.wire.messages import Open, decode, encode

JOIN_S = 15.0


def check_may_join(local: LocalNode, ticket: Ticket) -> None:
    """Raise `UsageError` where this node cannot join by that ticket."""
    if ticket.cluster == local.cluster.id:
        raise UsageError("this node is a member of that cluster already: `cis up` connects it")
    if ticket.issuer == local.identity.node:
        raise UsageError("this ticket was issued by this very node: type it on the device that is to join")
    others = len(local.cluster.membership.members()) - 1
    if others:
        raise UsageError(
            f"this node's cluster has {others} other member{'s' if others > 1 else ''}: a node belongs to one "
            "cluster; join from a fresh home (cis --home DIR join …)"
        )


async def join(local: LocalNode, ticket: Ticket, name: str) -> Membership:
    """Become a member of the ticket's cluster, memories and all; returns its membership.

    Raises `UsageError`, `Unavailable` when the issuer cannot be reached at any of the ticket's addresses, and
    `PeerFault` when it refuses.
    """
    check_may_join(local, ticket)
    async with await Endpoint.open(_any_address(ticket), 0, Certificate.generate(), on_connection=_refuse) as endpoint:
        connection = await _reach(endpoint, local, ticket)
        async with asyncio.timeout(JOIN_S):
            entries = await _request(connection, local, name)
        connection.close(Fault.NONE, "joined")
    membership = Membership(ticket.cluster, entries)
    if membership.member(local.identity.node) is None:
        raise PeerFault(Fault.MALFORMED, "the issuer's answer holds no grant for this node")
    keys = membership.keys_of(local.identity, local.cluster.keys.private)
    await asyncio.to_thread(local.adopt, ticket.cluster, keys, membership)
    return membership


async def serve_join(local: LocalNode, connection: Connection, node: NodeId, ticket: bytes) -> str:
    """Admit the node that holds the ticket; returns the name it was given. Raises `PeerFault` where it may not."""
    async with asyncio.timeout(HANDSHAKE_S):
        stream = await connection.accept_stream()
        opening, frame = await stream.read_frame(JOIN_BYTES_MAX), await stream.read_frame(JOIN_BYTES_MAX)
    if opening is None or frame is None or decode(opening) != Open("join"):
        raise PeerFault(Fault.MALFORMED, "a ticket lets its holder join and nothing else")
    request = decode_join(frame)
    if not isinstance(request, JoinRequest):
        raise PeerFault(Fault.MALFORMED, "expected a request to join")
    try:
        entries = await asyncio.to_thread(local.cluster.admit, local.store, ticket, node, request)
    except CisError as error:
        fault = error.fault if isinstance(error, PeerFault) else Fault.INTERNAL
        await stream.write_frame(encode_join(JoinRefused(fault, str(error)[:200])))
        stream.finish()
        raise
    await stream.write_frame(encode_join(JoinGranted(entries)))
    stream.finish()
    return local.cluster.name_of(node)


async def _reach(endpoint: Endpoint, local: LocalNode, ticket: Ticket) -> Connection:
    reasons = []
    for host, port in ticket.addresses:
        try:
            connection = await endpoint.dial(host, port)
            empty = Membership(ticket.cluster)
            brought = Local(
                local.identity, ticket.cluster, connection.certificate_hash, (), empty.digest(), empty.judge
            )
            key = HandshakeKey(ticket.secret, ticket.id)
            await greet_as_dialler(connection, brought, key, ticket.issuer, local.entropy)
        except PeerFault as fault:
            reasons.append(
                f"{host}:{port} answered and refused ({fault.detail}); a ticket works once and for ten minutes"
            )
        except CisError as error:
            reasons.append(f"{host}:{port}: {error}")
        else:
            return connection
    tried = "; ".join(reasons) or "the ticket names no address"
    raise Unavailable(f"could not reach the node that issued the ticket ({tried}): is `cis up` running there?")


async def _request(connection: Connection, local: LocalNode, name: str) -> tuple[bytes, ...]:
    async with await connection.open_stream() as stream:
        await stream.write_frame(encode(Open("join")))
        await stream.write_frame(encode_join(JoinRequest(local.identity.sealing_public, name)))
        frame = await stream.read_frame(JOIN_BYTES_MAX)
        answer = decode_join(frame) if frame is not None else None
        stream.finish()
    match answer:
        case JoinGranted(entries):
            return entries
        case JoinRefused(fault, text):
            raise PeerFault(Fault(fault) if fault in set(Fault) else Fault.REFUSED, text)
    raise PeerFault(Fault.MALFORMED, "the request to join was not answered")


def _any_address(ticket: Ticket) -> str:
    return "::" if any(":" in host for host, _ in ticket.addresses) else "0.0.0.0"  # noqa: S104 - a dialling socket


def _refuse(connection: Connection) -> None:
    connection.close(Fault.REFUSED, "")
