"""What libtorrent tells, brought to those on the loop who wait for it.

libtorrent queues alerts and wakes the loop through a socket (calling into Python from its threads would deadlock). All
that is wanted of an alert is read before the next are asked for, since its memory is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from cis.discovery.dht.table import Address

_T = TypeVar("_T")


@dataclass(frozen=True)
class Listening:
    """Where the DHT listens now; no address for a TCP socket, and for one that could not be bound."""

    address: Address | None
    failed: bool
    text: str


class Alerts:
    """The alerts of one session at a time; belongs to the loop's thread."""

    def __init__(self, lt: Any) -> None:  # noqa: ANN401 - the library
        kinds = lt.alert.category_t
        self.mask = int(kinds.dht_operation_notification | kinds.error_notification | kinds.status_notification)
        self._session: Any = None
        self._waiting: dict[Hashable, list[Callable[[Any], None]]] = {}
        self._keys: dict[type, Callable[[Any], Hashable]] = {
            lt.dht_live_nodes_alert: lambda alert: ("live", alert.node_id.to_bytes()),
            lt.session_stats_alert: lambda _: "statistics",
            lt.listen_succeeded_alert: lambda _: "listen",
            lt.listen_failed_alert: lambda _: "listen",
        }
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003 - the standard library's
        self._writer.setblocking(False)  # noqa: FBT003 - the standard library's
        asyncio.get_running_loop().add_reader(self._reader.fileno(), self._drain)

    def attach(self, session: Any) -> None:  # noqa: ANN401 - a session of the library
        """Hear a session from now on."""
        self._session = session
        session.set_alert_fd(self._writer.fileno())

    def detach(self) -> None:
        """Hear that session no more, and let go of it."""
        self._session = None

    def close(self) -> None:
        """Hear nothing more; the session has ended before."""
        asyncio.get_running_loop().remove_reader(self._reader.fileno())
        self._reader.close()
        self._writer.close()

    async def first(
        self, key: Hashable, ask: Callable[[], object], read: Callable[[Any], _T], timeout_s: float
    ) -> _T | None:
        """Ask, and return what is told under a key first; None where nothing is in time."""
        told = await self.gather(key, ask, read, timeout_s, lambda _: True)
        return told[0] if told else None

    async def gather(
        self,
        key: Hashable,
        ask: Callable[[], object],
        read: Callable[[Any], _T],
        timeout_s: float,
        enough: Callable[[list[_T]], bool],
    ) -> list[_T]:
        """Ask, and return what is told under a key until it is enough, or the time is over."""
        told: list[_T] = []
        done = asyncio.Event()

        def take(alert: Any) -> None:  # noqa: ANN401 - an alert of the library
            told.append(read(alert))
            if enough(told):
                done.set()

        waiting = self._waiting.setdefault(key, [])
        waiting.append(take)
        try:
            ask()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), timeout_s)
        finally:
            waiting.remove(take)
            if not waiting:
                self._waiting.pop(key, None)
        return told

    def _drain(self) -> None:
        """Give what happened to those who wait for it."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        for alert in self._session.pop_alerts() if self._session is not None else ():
            if (key := self._keys.get(type(alert))) is not None:
                for take in list(self._waiting.get(key(alert), ())):
                    take(alert)


def listening_in(alert: Any) -> Listening:  # noqa: ANN401 - an alert of the library
    """Return what an alert says of listening."""
    text = str(alert.message())
    if type(alert).__name__ == "listen_failed_alert":
        return Listening(None, failed=True, text=text)
    host = str(alert.address).partition("%")[0]
    return Listening(None if "[TCP]" in text else (host, int(alert.port)), failed=False, text=text)


def nodes_told(alert: Any) -> list[tuple[bytes, Address]]:  # noqa: ANN401 - an alert of the library
    """Return ids and addresses of the nodes in an alert."""
    return [(one["nid"].to_bytes(), one["endpoint"]) for one in alert.nodes]
