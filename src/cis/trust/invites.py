"""Invitations: the ticket that travels as text, and the issuer's record that makes it good once.

A ticket is ``cis1`` and base32 (RFC 4648, lower case, no padding) of its length, its fields and four bytes of
BLAKE2b over both; letters may be typed in either case. The secret in it is one K of the handshake; its id,
a hash of the secret, is what logs and records name.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Annotated

import msgspec

from cis.errors import Fault, UsageError
from cis.model import NodeId, SpaceId
from cis.trust.identity import Entropy
from cis.wire.decoding import Bytes32, Milliseconds, Node
from cis.wire.membership import Role

TICKET_PREFIX = "cis1"
TICKET_CHARACTERS_MAX = 400
ADDRESSES_MAX = 8
SECRET_LENGTH = 32

_CHECK_LENGTH = 4
_HOST_MAX = 128
_PACKED = b"\0"
"""Begins a host that is an IP address of 4 or 16 bytes; any other is a name."""
_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")
_PAYLOAD_MAX = (TICKET_CHARACTERS_MAX - len(TICKET_PREFIX)) * 5 // 8 - 2 - _CHECK_LENGTH
_Port = Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
_Host = Annotated[bytes, msgspec.Meta(min_length=1, max_length=_HOST_MAX)]


class _Payload(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    cluster: Bytes32
    issuer: Node
    secret: Bytes32
    expires_ms: Milliseconds
    addresses: Annotated[tuple[tuple[_Host, _Port], ...], msgspec.Meta(max_length=ADDRESSES_MAX)]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a joiner needs. ``addresses`` (host, port) are the issuer's, best first.

    ``expires_ms`` (Unix) is for people; whether a ticket is live the issuer decides, by its own clock.
    """

    cluster: bytes
    issuer: NodeId
    addresses: tuple[tuple[str, int], ...]
    secret: bytes
    expires_ms: int

    @property
    def id(self) -> bytes:
        """The ticket's name, which gives nothing away."""
        return ticket_id(self.secret)

    def to_text(self) -> str:
        """Return ``cis1…`` of at most 400 characters; addresses that do not fit are left out, last first."""
        addresses = tuple((_pack_host(host), port) for host, port in self.addresses[:ADDRESSES_MAX])
        while True:
            payload = msgspec.msgpack.encode(
                _Payload(self.cluster, self.issuer, self.secret, self.expires_ms, addresses)
            )
            if len(payload) <= _PAYLOAD_MAX:
                break
            addresses = addresses[:-1]
        measured = len(payload).to_bytes(2, "big") + payload
        text = base64.b32encode(measured + _check(measured)).decode().rstrip("=").lower()
        return TICKET_PREFIX + text


@dataclass(frozen=True, slots=True)
class Invitation:
    """The issuer's record of a ticket: what it admits to, until when (Unix ms), and whom it admitted.

    ``bound_to`` is the one node that may redeem it: the other device of a pairing.
    """

    secret: bytes
    role: Role
    spaces: tuple[SpaceId, ...]
    name: str | None
    expires_ms: int
    redeemed_by: NodeId | None = None
    bound_to: NodeId | None = None

    @classmethod
    def generate(
        cls, role: Role, spaces: tuple[SpaceId, ...], name: str | None, expires_ms: int, entropy: Entropy
    ) -> Invitation:
        """Make an invitation; ``name`` overrides what the joiner would like to be called."""
        return cls(entropy(SECRET_LENGTH), role, spaces, name, expires_ms)

    @property
    def id(self) -> bytes:
        """The ticket's id."""
        return ticket_id(self.secret)

    def live(self, now_ms: int) -> bool:
        """Tell whether the listener should still answer to its secret."""
        return now_ms < self.expires_ms


def ticket_id(secret: bytes) -> bytes:
    """Return BLAKE2b, 16 bytes, of a ticket's secret."""
    return blake2b(secret, digest_size=16, person=b"cis ticket").digest()


def redeem(invitation: Invitation, node: NodeId, now_ms: int) -> Invitation | Fault:
    """Return the invitation as it stands once this node has redeemed it, or TICKET when it may not.

    Single use; but the node that redeemed it may ask again, as its reply may have been lost, and gets the
    invitation back unchanged. Store the result in one transaction with the grant it leads to.
    """
    if invitation.redeemed_by is not None:
        return invitation if invitation.redeemed_by == node else Fault.TICKET
    if not invitation.live(now_ms) or invitation.bound_to not in {None, node}:
        return Fault.TICKET
    return replace(invitation, redeemed_by=node)


def parse_ticket(text: str, now_ms: int | None = None) -> Ticket:
    """Read a ticket as it was typed or pasted.

    Raises `UsageError` when it is no ticket, mistyped or cut short, and, where ``now_ms`` is given, expired.
    """
    payload = _payload_of("".join(text.split()).lower())
    addresses = tuple((_unpack_host(host), port) for host, port in payload.addresses)
    ticket = Ticket(payload.cluster, payload.issuer, addresses, payload.secret, payload.expires_ms)
    if now_ms is not None and now_ms >= ticket.expires_ms:
        minutes = (now_ms - ticket.expires_ms) // 60_000
        raise UsageError(f"this ticket expired {minutes} min ago: ask for a new one (`cis invite` there)")
    return ticket


def _payload_of(text: str) -> _Payload:
    if not text.startswith(TICKET_PREFIX):
        raise UsageError(f"{text[:12]!r}… is not a ticket: one begins with {TICKET_PREFIX}")
    if len(text) > TICKET_CHARACTERS_MAX:
        raise UsageError(f"a ticket has at most {TICKET_CHARACTERS_MAX} characters, this one {len(text)}")
    data, exact = _unbase32(text[len(TICKET_PREFIX) :])
    length = int.from_bytes(data[:2], "big") + 2
    if len(data) < length + _CHECK_LENGTH:
        raise UsageError("this ticket is cut short, or its beginning mistyped: copy it again, whole")
    measured, check = data[:length], data[length:]
    if check != _check(measured) or not exact:
        raise UsageError("this ticket is mistyped, or something was added to it: copy it again")
    try:
        return msgspec.msgpack.decode(measured[2:], type=_Payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError("this ticket was made by a version of cis this one does not read: update cis") from error


def _unbase32(letters: str) -> tuple[bytes, bool]:
    """Return the whole bytes in the letters, and whether nothing was left over."""
    try:
        data = base64.b32decode(letters.upper() + "A" * (-len(letters) % 8))
    except ValueError as error:
        raise UsageError("this ticket is mistyped: after cis1 it is made of a-z and 2-7; copy it again") from error
    whole = len(letters) * 5 // 8
    return data[:whole], len(letters) * 5 % 8 < 5 and not any(data[whole:])


def _check(measured: bytes) -> bytes:
    return blake2b(measured, digest_size=_CHECK_LENGTH, person=b"cis ticket text").digest()


def _pack_host(host: str) -> bytes:
    try:
        return _PACKED + ipaddress.ip_address(host).packed
    except ValueError:
        pass
    if len(host) > _HOST_MAX or not _HOST_NAME.fullmatch(host):
        raise UsageError(f"{host[:_HOST_MAX]!r} is neither an IP address nor a host name")
    return host.encode()


def _unpack_host(host: bytes) -> str:
    try:
        if host.startswith(_PACKED):
            return str(ipaddress.ip_address(host[1:]))
        name = host.decode("ascii")
        if _HOST_NAME.fullmatch(name):
            return name
    except ValueError:
        pass
    raise UsageError("this ticket holds an address that is none: ask for a new one")
