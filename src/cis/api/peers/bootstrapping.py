"""The bootstrap list: shown, added to and taken from, on the file or, where the node runs, in its peer book."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING

from cis.api.peers.peer_facts import bootstrap_peer
from cis.api.peers.peer_schema import (
    AddBootstrap,
    Aside,
    BootstrapAdded,
    BootstrapList,
    BootstrapRemoved,
    ListBootstrap,
    RemoveBootstrap,
)
from cis.discovery.address import Source, dialable, join_endpoint
from cis.discovery.static import StaticPeer
from cis.errors import UsageError
from cis.model import NodeId, did_of
from cis.node.core import events
from cis.node.finding.bootstrap import Bootstrap
from cis.node.home.local import LocalNode
from cis.peers import PeerBook, State, Target
from cis.peers.peer import BY_USER
from cis.trust import Member

if TYPE_CHECKING:
    from cis.node.driver import Driver

ENTRIES_MAX = 256


class RestingBootstrap:
    """On the file of a node that does not run; each call reads it and writes it again."""

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self._bootstrap = Bootstrap(local)

    def show(self, _: ListBootstrap) -> BootstrapList:
        """List the members whose address is known, best first."""
        return listed(self._local, self._bootstrap, self._book(), 0.0)

    def add(self, request: AddBootstrap) -> BootstrapAdded:
        """Add what a user gives."""
        targets, book = targets_of(self._local, request.entries), self._book()
        for target in targets:
            book.sighted(target, 0.0)
        self._bootstrap.save(book, 0.0)
        return _added(targets)

    def remove(self, request: RemoveBootstrap) -> BootstrapRemoved:
        """Forget a member's addresses."""
        member, book = self._local.cluster.find(request.target), self._book()
        count = forget(book, member)
        self._bootstrap.save(book, 0.0)
        return BootstrapRemoved(member.name, count)

    def _book(self) -> PeerBook:
        book = PeerBook(self._local.identity.node, Random())
        for peer in self._bootstrap.load(0.0):
            book.recall(peer, 0.0)
        return book


class RunningBootstrap:
    """In the peer book of a running node, on its loop; what is changed is written down at once."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def show(self, _: ListBootstrap) -> BootstrapList:
        """List the members whose address is known, best first."""
        return self.now()

    def now(self) -> BootstrapList:
        """Return the list as it is at this moment."""
        return listed(self._driver.local, self._driver.bootstrap, self._driver.core.book, self._clock())

    async def add(self, request: AddBootstrap) -> BootstrapAdded:
        """Add what a user gives; where there is room for another connection, it is dialled at once."""
        targets = await asyncio.to_thread(targets_of, self._driver.local, request.entries)
        for target in targets:
            self._driver.report(events.Sighted(target))
        await self._save()
        return _added(targets)

    async def remove(self, request: RemoveBootstrap) -> BootstrapRemoved:
        """Forget a member's addresses; a connection with it stays."""
        member = self._driver.local.cluster.find(request.target)
        count = forget(self._driver.core.book, member)
        await self._save()
        return BootstrapRemoved(member.name, count)

    async def _save(self) -> None:
        bootstrap = self._driver.bootstrap
        await asyncio.to_thread(bootstrap.write, bootstrap.text(self._driver.core.book, self._clock()))

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()


def listed(local: LocalNode, bootstrap: Bootstrap, book: PeerBook, now: float) -> BootstrapList:
    """Return what a book knows of members, and what was kept aside of the file."""
    known = bootstrap.known(book, now)
    name_of = local.cluster.name_of
    return BootstrapList(
        str(local.home.bootstrap),
        tuple(bootstrap_peer(peer, peer.node, name_of(peer.node), now) for peer in known if peer.node is not None),
        tuple(Aside(str(one.get("at", "")), str(one.get("why", "")), one.get("entry")) for one in bootstrap.aside()),
    )


def forget(book: PeerBook, member: Member) -> int:
    """Forget the addresses of a member; returns how many there were."""
    peer = book.get(member.node)
    if peer is None or not peer.addresses:
        raise UsageError(f"no address of {member.name} is known: `cis p2p bootstrap list` shows whose are")
    count = len(peer.addresses)
    if peer.state is State.ACTIVE:
        peer.addresses = []
    else:
        book.remove(member.node)
    return count


def targets_of(local: LocalNode, entries: Iterable[str]) -> list[Target]:
    """Return what users' entries stand for, names of hosts resolved; `UsageError` for any that is no member's.

    It blocks.
    """
    texts = [text for text in (entry.strip() for entry in entries) if text]
    if not 0 < len(texts) <= ENTRIES_MAX:
        raise UsageError(f"{len(texts)} entries: give 1 to {ENTRIES_MAX}, each as DID@host:port")
    return [target for text in texts for target in _targets(local, text)]


def _targets(local: LocalNode, text: str) -> Iterator[Target]:
    entry = StaticPeer.parse(text if text.startswith("did:") else f"did:cis:{text}")
    node = _member(local, entry)
    hosts = [host for host in _resolved(entry.host, entry.port) if dialable(host, Source.STATIC, allow_loopback=True)]
    if not hosts:
        raise UsageError(f"{entry.host} leads to no address that may be dialled")
    for host in hosts:
        yield Target(node, host, entry.port, Source.STATIC.value, BY_USER)


def _member(local: LocalNode, entry: StaticPeer) -> NodeId:
    node = entry.node or local.cluster.find(entry.name or "").node
    if node == local.identity.node:
        raise UsageError(f"{entry} is this very node")
    if local.cluster.membership.member(node) is None:
        raise UsageError(f"{did_of(node)} is no member of this cluster: `cis invite` lets it in")
    return node


def _resolved(host: str, port: int) -> list[str]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host} does not resolve: {error}") from None
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def _added(targets: Iterable[Target]) -> BootstrapAdded:
    return BootstrapAdded(
        tuple(f"{did_of(one.node)}@{join_endpoint(one.host, one.port)}" for one in targets if one.node is not None)
    )
