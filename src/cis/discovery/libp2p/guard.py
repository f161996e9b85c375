"""py-libp2p kept within `Bounds`: a transport that refuses, before any packet, what may not be dialled.

py-libp2p dials what the hash table tells it. Its own gate resolves names that strangers chose, and lets a name through
if one of its addresses is allowed; so the only transport of the host is this one, and the gate is replaced by one that
resolves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from libp2p.network.connection_gate import ConnectionGate
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP

from cis.discovery.libp2p.places import read_place

if TYPE_CHECKING:
    from libp2p.abc import IRawConnection
    from multiaddr import Multiaddr

    from cis.discovery.libp2p.bounds import Bounds


class GuardedTcp(TCP):  # type: ignore[misc]  # py-libp2p's types are not read
    """TCP within bounds."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self._bounds = bounds

    def can_dial(self, maddr: Multiaddr) -> bool:
        return self._bounds.allow_multiaddr(text_of(maddr))

    def can_listen(self, maddr: Multiaddr) -> bool:
        return bool(super().can_dial(maddr))

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        self._check(maddr)
        return await super().dial(maddr)

    async def dial_with_source(self, maddr: Multiaddr, source: tuple[str, int]) -> IRawConnection:
        self._check(maddr)
        return await super().dial_with_source(maddr, source)

    def _check(self, maddr: Multiaddr) -> None:
        if not self.can_dial(maddr):
            raise OpenConnectionError("an address that may not be dialled")


class NamelessGate(ConnectionGate):  # type: ignore[misc]  # as above
    """Lets through IP addresses, which the transport judges, and resolves no names to find out."""

    async def is_allowed(self, remote_addr: Multiaddr) -> bool:
        return read_place(text_of(remote_addr)) is not None


def text_of(address: Multiaddr) -> str:
    """Return a multiaddr as text; nothing for bytes that are none."""
    try:
        return str(address)
    except Exception:  # noqa: BLE001 - foreign code over bytes of strangers: whatever it raises, it is no place
        return ""
