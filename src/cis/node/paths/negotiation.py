"""One negotiation of a path with a member: the search it is about, what was said of it, and what came of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cis.discovery.address import Source, dialable
from cis.model import NodeId
from cis.net import Connection
from cis.net.paths import Path
from cis.wire.signals import CANDIDATES_MAX, IceCandidate, Offer

PEERS_REMEMBERED_MAX = 256


class Search(Protocol):
    """One side of a search for a path (`cis.reach.session.IceSession`)."""

    @property
    def ufrag(self) -> str: ...
    @property
    def password(self) -> str: ...
    def candidates(self) -> tuple[IceCandidate, ...]: ...
    def peer(self, ufrag: str, password: str, candidates: Sequence[IceCandidate]) -> None: ...
    def more(self, candidates: Sequence[IceCandidate], last: bool) -> None: ...  # noqa: FBT001 - as it is there
    async def connect(self) -> Path: ...
    def close(self) -> None: ...


@dataclass(eq=False)
class Negotiation:
    """One search for a path with a member."""

    id: bytes
    node: NodeId
    search: Search
    offered: bool
    """whether this side began it"""
    told: dict[IceCandidate, None] = field(default_factory=dict)
    mores: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: str = ""
    instead: Negotiation | None = None
    """the one of the peer's that took its place"""
    passed_over: Offer | None = None
    """the peer's offer that gave way to this one, taken up where this comes to nothing"""
    path: Path | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    early: list[Connection] = field(default_factory=list)
    """connections with the member that came before the path was known here"""
    connection: Connection | None = None
    """the one that is kept on the path"""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """its path is not used any more"""
    outcome: str = ""
    hopeless: bool = False
    """whether it ended because there is no path"""

    @property
    def agreed(self) -> Path:
        """The path, once there is one."""
        assert self.path is not None, "it was not found yet"
        return self.path

    @property
    def came_to(self) -> str:
        """What became of it, where it led to no connection."""
        return self.outcome or self.refusal or "that was given up"

    def keep(self, connection: Connection) -> None:
        """Have the checks of the peer answered for as long as the connection stays on the path."""
        self.connection = connection

    def refuse(self, reason: str) -> None:
        """End it, whatever it waits for."""
        self.refusal = self.refusal or reason
        self.answered.set()
        self.arrived.set()
        self.search.close()

    def news(self) -> tuple[IceCandidate, ...]:
        """Return the candidates the peer was not told of, which count as told from now on."""
        found = [one for one in self.search.candidates() if one not in self.told]
        new = tuple(found[: CANDIDATES_MAX - len(self.told)])
        self.told.update(dict.fromkeys(new))
        return new


class Theirs:
    """What members last said they may be reached at; ``loopback`` where addresses there count."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._said: OrderedDict[NodeId, tuple[IceCandidate, ...]] = OrderedDict()

    def of(self, node: NodeId) -> tuple[IceCandidate, ...]:
        """Return what a member said."""
        return self._said.get(node, ())

    def vetted(
        self, node: NodeId, candidates: Sequence[IceCandidate], *, add: bool = False
    ) -> tuple[IceCandidate, ...]:
        """Leave out addresses no member may have us send packets to, and note the others."""
        fit = tuple(one for one in candidates if dialable(one.host, Source.MEMBER, allow_loopback=self._loopback))
        before = self._said.get(node, ()) if add else ()
        self._said[node] = (*before, *(one for one in fit if one not in before))[:CANDIDATES_MAX]
        self._said.move_to_end(node)
        if len(self._said) > PEERS_REMEMBERED_MAX:
            self._said.popitem(last=False)
        return fit
