"""cis: one shared memory for the agents on all your devices, peer to peer, with no server.

::

    async with cis.connect() as memory:             # the running node, for asyncio
        await memory.set("editor", "dark mode")

    with cis.open() as memory:                      # the running node, else its store
        memory.get("editor")

docs/python.md says more. What is named here is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cis.api.memories.memory_schema import Conflict, Found, Hit, Memory, Saved, Sibling, Version, WatchEvent
    from cis.api.peers.network_schema import NodeStatus, PeerInfo, SyncResult
    from cis.api.python import connect, open  # noqa: A004 - it is cis.open
    from cis.api.python.asynchronous import AsyncClient, AsyncSpace
    from cis.api.python.message import Message
    from cis.api.python.remote import AsyncStream
    from cis.api.python.streams import Stream
    from cis.api.python.synchronous import Client, Space
    from cis.api.python.values import Value
    from cis.errors import Changed, CisError, Denied, Elsewhere, StoreError, TimedOut, Unavailable, UsageError

__all__ = [
    "AsyncClient",
    "AsyncSpace",
    "AsyncStream",
    "Changed",
    "CisError",
    "Client",
    "Conflict",
    "Denied",
    "Elsewhere",
    "Found",
    "Hit",
    "Memory",
    "Message",
    "NodeStatus",
    "PeerInfo",
    "Saved",
    "Sibling",
    "Space",
    "StoreError",
    "Stream",
    "SyncResult",
    "TimedOut",
    "Unavailable",
    "UsageError",
    "Value",
    "Version",
    "WatchEvent",
    "connect",
    "open",
]

_ERRORS = ("Changed", "CisError", "Denied", "Elsewhere", "StoreError", "TimedOut", "Unavailable", "UsageError")
_ASYNCHRONOUS = ("AsyncClient", "AsyncSpace")
_SYNCHRONOUS = ("Client", "Space")
_NETWORK = ("NodeStatus", "PeerInfo", "SyncResult")
_MEMORIES = ("Conflict", "Found", "Hit", "Memory", "Saved", "Sibling", "Version", "WatchEvent")
_HOMES = {
    "connect": "cis.api.python",
    "open": "cis.api.python",
    "AsyncStream": "cis.api.python.remote",
    "Message": "cis.api.python.message",
    "Stream": "cis.api.python.streams",
    "Value": "cis.api.python.values",
    **dict.fromkeys(_ASYNCHRONOUS, "cis.api.python.asynchronous"),
    **dict.fromkeys(_SYNCHRONOUS, "cis.api.python.synchronous"),
    **dict.fromkeys(_MEMORIES, "cis.api.memories.memory_schema"),
    **dict.fromkeys(_NETWORK, "cis.api.peers.network_schema"),
    **dict.fromkeys(_ERRORS, "cis.errors"),
}


def __getattr__(name: str) -> object:
    """Load what is named (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cis' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - `import cis` loads nothing

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
