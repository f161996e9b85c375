"""What members tell each other on a topic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A message: who sent it, when by the sender's clock (Unix milliseconds), and what.

    ``missed`` counts those of its topic, or of all where all are heard, that were dropped before it because they were
    not read in time.
    """

    topic: str
    data: bytes
    author: str
    did: str
    sent_ms: int
    missed: int

    @property
    def text(self) -> str:
        """The data as text; `UnicodeDecodeError` (a `ValueError`) where it is none."""
        return self.data.decode()
