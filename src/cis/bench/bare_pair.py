"""The bare pair as a yardstick: how fast qh3 alone moves so many bytes between two processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from cis.bench.pair import Child

SEND_S = 120.0


class Yardstick:
    """Two processes of the role given, as `Child` has it; ``with Yardstick("bare") as bare: bare.send(size)``."""

    def __init__(self, role: str, command: Sequence[str] = ()) -> None:
        self._listener, self._sender = Child(role, command), Child(role, command)
        self._at: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._at = self._listener.ask("listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._listener.close()

    def send(self, size: int) -> float:
        """Return seconds to move that many bytes on one stream of a fresh connection."""
        elapsed_s: float = self._sender.ask("send", SEND_S, **self._at, size=size)["elapsed_s"]
        return elapsed_s

    def round_trips(self, count: int, size: int) -> list[float]:
        """Return the milliseconds of each round trip of that many bytes there and a few back, on one connection."""
        done = self._sender.ask("round_trips", SEND_S, **self._at, count=count, size=size)
        elapsed_ms: list[float] = done["elapsed_ms"]
        return elapsed_ms

    def handshake(self) -> float:
        """Return seconds to a connection."""
        elapsed_s: float = self._sender.ask("handshake", **self._at)["elapsed_s"]
        return elapsed_s
