"""What pairing and joining need of whatever carries them: a QUIC connection, or an anchor's room (`rooms`)."""

from __future__ import annotations

from typing import Protocol

from cis.errors import Fault
from cis.net import Stream
from cis.net.closing import CloseReason


class Conversation(Protocol):
    """Streams with one other side; who that is, what is said on them finds out."""

    @property
    def is_dialler(self) -> bool:
        """Whether this side came to the other."""
        ...

    @property
    def certificate_hash(self) -> bytes:
        """H: what both sides sign and hash, the same only where nobody stands between them."""
        ...

    def mark_authenticated(self) -> None:
        """Let the other side open more streams."""
        ...

    async def open_stream(self) -> Stream:
        """Open a stream; raises ConnectionLost."""
        ...

    async def accept_stream(self) -> Stream:
        """Return the next stream the other side opened; raises ConnectionLost."""
        ...

    def close(self, fault: Fault, reason: str) -> None:
        """End it, and tell the other side why."""
        ...

    async def wait_closed(self) -> CloseReason:
        """Wait for the end, whoever brings it about, and return why."""
        ...
