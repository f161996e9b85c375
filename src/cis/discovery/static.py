"""Static peers: nodes whose addresses the user wrote down.

``did:key:z6Mk…@host:port`` says which node, ``did:cis:NAME@host`` which member, the port being 7677 if left
out. Host names are resolved anew in intervals, since home routers and notebooks change their addresses, and when the
network of this machine is another, since names may lead elsewhere there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.discovery.address import Source, dialable, join_endpoint, split_endpoint
from cis.discovery.provider import Sighting
from cis.errors import UsageError
from cis.model.ids import NodeId, did_of, parse_did

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cis.discovery.provider import Announcement

    Resolver = Callable[[str, int], Awaitable[list[str]]]
    """Host and port to IP addresses; raises `OSError` when the name does not resolve."""

RESOLVE_INTERVAL_S = 60.0
RESOLVE_TIMEOUT_S = 10.0
ADDRESSES_MAX = 8
_NAME_PREFIX = "did:cis:"
_NAME = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True)
class StaticPeer:
    """One configured peer: either ``node`` or ``name`` says who is expected."""

    host: str
    port: int
    node: NodeId | None = None
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> StaticPeer:
        """Read ``did@host:port``; `UsageError` says what is wrong with it."""
        who, at, where = text.strip().rpartition("@")
        if not at:
            raise UsageError(f"{text!r} is no peer: write did:cis:NAME@host:port or did:key:z6Mk…@host:port")
        host, port = split_endpoint(where)
        if not who.startswith(_NAME_PREFIX):
            return cls(host, port, node=parse_did(who))
        name = who.removeprefix(_NAME_PREFIX)
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{who!r} names no member: names are 1 to 32 of a-z, 0-9 and the hyphen")
        return cls(host, port, name=name)

    def __str__(self) -> str:
        who = f"{_NAME_PREFIX}{self.name}" if self.node is None else did_of(self.node)
        return f"{who}@{join_endpoint(self.host, self.port)}"


class StaticPeers:
    """The provider of configured peers; implements `cis.discovery.provider.Roaming` too."""

    name = "static"

    def __init__(
        self,
        peers: Sequence[StaticPeer],
        *,
        interval_s: float = RESOLVE_INTERVAL_S,
        resolve: Resolver | None = None,
    ) -> None:
        self._peers = tuple(peers)
        self._interval_s = interval_s
        self._resolve = resolve or _resolve
        self._failures: dict[str, str] = {}
        self._due = asyncio.Event()

    def failures(self) -> dict[str, str]:
        """Configured peers that led nowhere at the last attempt, and why."""
        return dict(self._failures)

    async def run(self, _announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Tell of every configured peer, now and in intervals, until cancelled."""
        while True:
            self._due.clear()
            async with asyncio.TaskGroup() as group:
                for peer in self._peers:
                    group.create_task(self._look(peer, found))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s if self._peers else None):
                    await self._due.wait()

    def replace(self, peers: Sequence[StaticPeer]) -> None:
        """Tell of these peers from now on."""
        self._peers = tuple(peers)
        named = set(map(str, self._peers))
        self._failures = {peer: why for peer, why in self._failures.items() if peer in named}
        self._due.set()

    def network_changed(self) -> None:
        """Resolve all names now."""
        self._due.set()

    async def _look(self, peer: StaticPeer, found: Callable[[Sighting], None]) -> None:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                hosts = await self._addresses(peer)
        except OSError as error:  # TimeoutError is one
            self._failures[str(peer)] = f"{peer.host} does not resolve: {str(error) or 'no answer in time'}"
            return
        usable = [host for host in hosts if dialable(host, Source.STATIC, allow_loopback=True)]
        if usable:
            self._failures.pop(str(peer), None)
        else:
            self._failures[str(peer)] = f"{peer.host} leads to no address that may be dialled{_hint(hosts)}"
        for host in usable[:ADDRESSES_MAX]:
            found(Sighting(Source.STATIC, host, peer.port, peer.node, peer.name))

    async def _addresses(self, peer: StaticPeer) -> list[str]:
        try:
            return [str(ipaddress.ip_address(peer.host))]
        except ValueError:
            return await self._resolve(peer.host, peer.port)


def _hint(hosts: Sequence[str]) -> str:
    addresses = [ipaddress.ip_address(host) for host in hosts]
    if any(one.version == 6 and one.is_link_local for one in addresses):
        return ": write a link-local one with its interface, as in fe80::1%eth0"
    return ""


async def _resolve(host: str, port: int) -> list[str]:
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
