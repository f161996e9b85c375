"""Joining a cluster by a ticket: the joiner's side, and the issuer's on a connection authenticated by a ticket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cis.errors import CisError, Fault, PeerFault, Unavailable, UsageError
from cis.model import NodeId
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, NetLimits, Stream
from cis.node.entry.conversation import Conversation
from cis.node.entry.greeting import HANDSHAKE_S, greet_as_dialler
from cis.node.finding.bootstrap import remember_peer
from cis.node.home.local import LocalNode
from cis.trust import ClusterKeys, HandshakeKey, Local, Membership, Ticket
from cis.wire.joining import (
    JOIN_BYTES_MAX,
    JoinGranted,
    JoinRequest,
    decode_join,
    encode_join,
)
from cis.wire.messages import Open, decode, encode

JOIN_S = 15.0
LIMITS = NetLimits(handshake_timeout_s=3.0, handshake_retries=1)
"""Somebody waits at a terminal: an address that does not answer is given up sooner than by a running node."""
BATCH_BYTES_MAX = 512 << 10
BATCH_ENTRIES_MAX = 1024
LOG_BYTES_MAX = 256 << 20
"""What a joiner takes of a log; no honest one comes near it."""


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
    conflicts = await asyncio.to_thread(local.conflict_count)
    if conflicts:
        raise UsageError(
            f"{conflicts} of this node's public memories have conflicts, whose other values would not come along: "
            "write those keys again first (`cis memory conflicts` lists them)"
        )
    host, certificate = _any_address(ticket), Certificate.generate()
    async with await Endpoint.open(host, 0, certificate, limits=LIMITS, on_connection=_refuse) as endpoint:
        connection = await _reach(endpoint, local, ticket)
        admitted = await request_membership(connection, local, ticket, name)
    await asyncio.to_thread(move_into, local, admitted)
    return admitted.membership


@dataclass(frozen=True)
class Admitted:
    """What an issuer gave this node, which has not moved in yet."""

    ticket: Ticket
    membership: Membership
    keys: ClusterKeys


async def request_membership(connection: Conversation, local: LocalNode, ticket: Ticket, name: str) -> Admitted:
    """Ask to be admitted, on a connection authenticated with the ticket, which is then closed."""
    async with asyncio.timeout(JOIN_S):
        entries = await _request(connection, local, name)
    connection.close(Fault.NONE, "joined")
    membership = Membership(ticket.cluster, entries)
    if membership.member(local.identity.node) is None:
        raise PeerFault(Fault.MALFORMED, "the issuer's answer holds no grant for this node")
    keys = membership.keys_of(local.identity, ClusterKeys.none(local.cluster.keys.private))
    return Admitted(ticket, membership, keys)


def move_into(local: LocalNode, admitted: Admitted) -> None:
    """Leave the cluster of one for the one this node was admitted to; no network may run on it meanwhile."""
    ticket = admitted.ticket
    local.adopt(ticket.cluster, admitted.keys, admitted.membership)
    remember_peer(local, ticket.issuer, ticket.addresses)


async def serve_join(local: LocalNode, connection: Conversation, node: NodeId, ticket: bytes) -> str:
    """Admit the node that holds the ticket; returns the name it was given. Raises `PeerFault` where it may not."""
    async with asyncio.timeout(HANDSHAKE_S):
        stream = await connection.accept_stream()
        opening, frame = await stream.read_frame(JOIN_BYTES_MAX), await stream.read_frame(JOIN_BYTES_MAX)
    if opening is None or frame is None or decode(opening) != Open("join"):
        raise PeerFault(Fault.MALFORMED, "a ticket lets its holder join and nothing else")
    request = decode_join(frame)
    if not isinstance(request, JoinRequest):
        raise PeerFault(Fault.MALFORMED, "expected a request to join")
    entries = await asyncio.to_thread(local.cluster.admit, local.store, ticket, node, request)
    for frame in _granted(entries):
        await stream.write_frame(frame)
    stream.finish()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANDSHAKE_S):
            await connection.wait_closed()  # by the joiner, once it has the answer
    connection.close(Fault.NONE, "joined")
    return local.cluster.name_of(node)


def _granted(entries: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the frames that bring the log to a joiner."""
    batch: list[bytes] = []
    size = 0
    for raw in entries:
        if batch and (size + len(raw) > BATCH_BYTES_MAX or len(batch) >= BATCH_ENTRIES_MAX):
            yield encode_join(JoinGranted(tuple(batch), more=True))
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    yield encode_join(JoinGranted(tuple(batch)))


async def _reach(endpoint: Endpoint, local: LocalNode, ticket: Ticket) -> Connection:
    """Try all addresses of the ticket at once; the first that answers rightly wins."""
    reached: list[Connection] = []
    reasons: list[str] = []
    attempts: list[asyncio.Task[None]] = []

    async def attempt(host: str, port: int) -> None:
        try:
            connection = await _greet(endpoint, local, ticket, host, port)
        except PeerFault as fault:
            reasons.append(f"{host}:{port} answered and refused: {fault.detail}")
        except CisError as error:
            reasons.append(f"{host}:{port}: {error}")
        else:
            reached.append(connection)
            for other in attempts:
                if other is not asyncio.current_task():
                    other.cancel()

    async with asyncio.TaskGroup() as group:
        attempts += [group.create_task(attempt(host, port)) for host, port in ticket.addresses]
    if reached:
        return reached[0]
    tried = "; ".join(reasons) or "the ticket names no address"
    raise Unavailable(
        f"could not reach the node that issued the ticket ({tried}): is `cis up` running there, and is the ticket "
        "unused and not expired?"
    )


async def _greet(endpoint: Endpoint, local: LocalNode, ticket: Ticket, host: str, port: int) -> Connection:
    connection = await endpoint.dial(host, port)
    await present_ticket(connection, local, ticket)
    return connection


async def present_ticket(connection: Conversation, local: LocalNode, ticket: Ticket) -> None:
    """Authenticate the ticket's issuer and prove that this node holds the ticket, whichever side dialled."""
    empty = Membership(ticket.cluster)
    brought = Local(local.identity, ticket.cluster, connection.certificate_hash, (), empty.digest(), empty.judge)
    key = HandshakeKey(ticket.secret, ticket.id)
    await greet_as_dialler(connection, brought, key, ticket.issuer, local.entropy)


async def _request(connection: Conversation, local: LocalNode, name: str) -> tuple[bytes, ...]:
    try:
        async with await connection.open_stream() as stream:
            await stream.write_frame(encode(Open("join")))
            await stream.write_frame(encode_join(JoinRequest(local.identity.sealing_public, name)))
            entries = await _read_log(stream)
            stream.finish()
    except ConnectionLost as lost:
        raise PeerFault(lost.reason.fault, lost.reason.text) from None
    return entries


async def _read_log(stream: Stream) -> tuple[bytes, ...]:
    entries: list[bytes] = []
    size, more = 0, True
    while more:
        frame = await stream.read_frame(JOIN_BYTES_MAX)
        answer = decode_join(frame) if frame is not None else None
        if frame is None or not isinstance(answer, JoinGranted):
            raise PeerFault(Fault.MALFORMED, "the request to join was not answered")
        entries += answer.entries
        size, more = size + len(frame), answer.more
        if size > LOG_BYTES_MAX:
            raise PeerFault(Fault.TOO_LARGE, "a membership log larger than any cluster needs")
    return tuple(entries)


def _any_address(ticket: Ticket) -> str:
    return "::" if any(":" in host for host, _ in ticket.addresses) else "0.0.0.0"  # noqa: S104 - a dialling socket


def _refuse(connection: Connection) -> None:
    connection.close(Fault.REFUSED, "")
