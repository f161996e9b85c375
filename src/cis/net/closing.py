"""How a connection ends and how its users learn of it.

A close carries a :class:`~cis.errors.Fault` as the QUIC application error code and a short text (RFC 9000
§19.19), so that the person at the other end reads the reason too. What the transport itself decides (idle
timeout, protocol violation, failed handshake) has no fault of ours and is marked ``transport``.
"""

from __future__ import annotations

from dataclasses import dataclass

from cis.errors import Fault, Unavailable

REASON_MAX_BYTES = 200


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why a connection ended, and on whose word."""

    fault: Fault
    text: str
    by_peer: bool
    transport: bool

    def __str__(self) -> str:
        """Say it on one line; the peer's text is quoted, for it is the peer's."""
        who = "the peer" if self.by_peer else "this node"
        what = "the transport" if self.transport else self.fault.name.lower().replace("_", " ")
        detail = f" ({self.text!a})" if self.by_peer and self.text else f" ({self.text})" if self.text else ""
        return f"closed by {who}: {what}{detail}"


class ConnectionLost(Unavailable):
    """The connection has ended; ``reason`` says why. Dial again if it is still wanted."""

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(f"the connection was {reason}")
        self.reason = reason


class StreamReset(Unavailable):
    """The peer gave up this one stream, or no longer reads it. The connection lives on: open another."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(f"the peer abandoned stream {stream_id}; open another")
        self.stream_id = stream_id


def clipped(text: str) -> str:
    """Cut a reason to what a close frame may carry, never inside a character."""
    return text.encode()[:REASON_MAX_BYTES].decode(errors="ignore")


def reason_of(code: int, text: str, *, by_peer: bool, transport: bool) -> CloseReason:
    """Turn an error code from the wire into a reason; an unknown code keeps its number in the text."""
    text = clipped(text)
    if transport:
        return CloseReason(Fault.NONE, text, by_peer, transport=True)
    try:
        return CloseReason(Fault(code), text, by_peer, transport=False)
    except ValueError:
        return CloseReason(Fault.NONE, clipped(f"code {code}: {text}"), by_peer, transport=False)
