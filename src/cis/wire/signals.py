"""What two nodes tell each other, by way of others, to find a path between them (docs/protocol.md).

MessagePack arrays: an offer and its answer carry the short-lived ICE credentials and candidates of each side
(RFC 8445 §5.3), more candidates may follow (RFC 8838), and a refusal ends it. Where no path is found the two may meet
in a channel of another transport: one asks the other to wait there. These are the plain forms; what travels is sealed
between the two (`cis.trust.signals`).

Candidates are UDP, component 1. ``mapped`` is a server-reflexive one that a router keeps open for us by a port
mapping: ICE treats it as reflexive, and people are told which it is.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec

from cis.wire.decoding import Bytes16, Bytes32, decode_message

SIGNAL_BYTES_MAX = 8 * 1024
CANDIDATES_MAX = 48
REASON_MAX = 200
WAYS_MAX = 16

CandidateKind = Literal["host", "srflx", "mapped", "relay"]
_Ufrag = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9+/]{4,256}\Z")]
_Password = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9+/]{22,256}\Z")]


class IceCandidate(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A transport address at which its sender may be reached; ``host`` is an IP address, never a name."""

    foundation: Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9+/]{1,32}\Z")]
    priority: Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]
    host: Annotated[str, msgspec.Meta(max_length=45)]
    port: Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
    kind: CandidateKind

    def __post_init__(self) -> None:
        """Refuse what is no plain address: a name would be resolved, a scope would choose an interface here."""
        if ipaddress.ip_address(self.host).version == 6 and "%" in self.host:
            raise ValueError("an address with a scope")


_Candidates = Annotated[tuple[IceCandidate, ...], msgspec.Meta(max_length=CANDIDATES_MAX)]


class Offer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=80):
    """Begin to look for a path; ``restart`` where a connection lives that shall move to it."""

    session: Bytes16
    ufrag: _Ufrag
    password: _Password
    candidates: _Candidates
    restart: bool

    def __repr__(self) -> str:
        return f"Offer({self.session.hex()}, {len(self.candidates)} candidates, restart={self.restart})"


class Answer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=81):
    """Join in the search of that session."""

    session: Bytes16
    ufrag: _Ufrag
    password: _Password
    candidates: _Candidates

    def __repr__(self) -> str:
        return f"Answer({self.session.hex()}, {len(self.candidates)} candidates)"


class More(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=82):
    """Candidates found since; none follow the ``last``."""

    session: Bytes16
    candidates: _Candidates
    last: bool

    def __repr__(self) -> str:
        return f"More({self.session.hex()}, {len(self.candidates)} candidates, last={self.last})"


class Refuse(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=83):
    """No path is looked for, and why."""

    session: Bytes16
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX)]


class Way(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A transport, and a place where it lets two nodes meet."""

    transport: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z")]
    place: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Meet(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=84):
    """Wait in a channel of that id at one of these ways, where no path was found; the best comes first."""

    session: Bytes16
    channel: Bytes32
    ways: Annotated[tuple[Way, ...], msgspec.Meta(max_length=WAYS_MAX)]

    def __repr__(self) -> str:
        return f"Meet({self.session.hex()}, {len(self.ways)} ways)"


class Waits(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=85):
    """This node waits in the channel, at the way of that number in the list, counted from 0."""

    session: Bytes16
    way: Annotated[int, msgspec.Meta(ge=0, lt=WAYS_MAX)]


PathSignal = Offer | Answer | More | Refuse
"""Those of a search for a path (ICE)."""
Signal = PathSignal | Meet | Waits

_SIGNAL: msgspec.msgpack.Decoder[Signal] = msgspec.msgpack.Decoder(Offer | Answer | More | Refuse | Meet | Waits)


def encode_signal(signal: Signal) -> bytes:
    """Return the bytes of a signal, to be sealed."""
    return msgspec.msgpack.encode(signal)


def decode_signal(plain: bytes) -> Signal:
    """Return a signal once opened; `cis.errors.PeerFault` when it is none."""
    return decode_message(_SIGNAL, plain, what="a signal", bytes_max=SIGNAL_BYTES_MAX)
