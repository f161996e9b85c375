"""Values that are on other devices by choice, fetched when they are read: proven, shown, kept in memory for a while.

Without a running node, or where nobody who has one is connected, the error says who has it and what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cis.errors import Elsewhere
from cis.model import node_of
from cis.store.fetched import lacking, opened
from cis.store.keeping import holders
from cis.wire.messages import BODIES_MAX

if TYPE_CHECKING:
    from cis.api.reading import Readers
    from cis.model import Dot, NodeId, SpaceId
    from cis.node.home.local import LocalNode
    from cis.store.read import Part, Recalled

NOT_RUNNING = "no node runs here to fetch it: start it with `cis up --detach`"
NO_SOCKET = "this node opens no socket (p2p.enabled = false), so it fetches nothing"


class Source(Protocol):
    """Where a running node has values from; any thread but the loop's may ask."""

    @property
    def connected(self) -> set[NodeId]:
        """Who is connected."""

    def wait_fetched(self, space: SpaceId, dots: Sequence[Dot]) -> dict[Dot, bytes]:
        """Return the sealed bodies that could be had, each as its author signed it."""


class Fetching:
    """Fetches for all who read; blocking. ``source`` is set while the node runs, ``why_not`` says why there is none."""

    def __init__(self, local: LocalNode, readers: Readers) -> None:
        self.source: Source | None = None
        self.why_not = NOT_RUNNING
        self._local = local
        self._readers = readers

    def whole(self, recalled: Recalled, *, beside: bool = False) -> Recalled:
        """Return a memory with its value, and all ``beside`` it if wanted; `Elsewhere` where one is not to be had."""
        return self.whole_of_many([recalled], beside=beside)[0]

    def whole_of_many(self, many: Sequence[Recalled], *, beside: bool = False) -> list[Recalled]:
        """Do so for memories of one space; all their values are in memory at once."""
        if not any(lacking(one, whole=beside) for one in many):
            return list(many)
        space, found = many[0].space, self._filled(many, beside=beside)
        for one in found:
            if missing := lacking(one, whole=beside):
                raise self._elsewhere(one.key, space, missing)
        return found

    def as_far_as_possible(self, recalled: Recalled) -> Recalled:
        """Return a memory with its values and those beside it, as far as they are here or to be had."""
        return self._filled([recalled], beside=True)[0] if lacking(recalled, whole=True) else recalled

    def _filled(self, many: Sequence[Recalled], *, beside: bool) -> list[Recalled]:
        bodies = self._bodies(many[0].space, [dot for one in many for dot in lacking(one, whole=beside)])
        with self._readers.snapshot() as reader:
            return [
                replace(one, parts=opened(reader, one.parts, bodies), siblings=opened(reader, one.siblings, bodies))
                for one in many
            ]

    def parts(self, space: SpaceId, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return changes of a memory with their values, as far as they are here or to be had."""
        dots = [part.change.dot for part in parts if part.elsewhere]
        if not dots:
            return tuple(parts)
        bodies = self._bodies(space, dots)
        with self._readers.snapshot() as reader:
            return opened(reader, parts, bodies)

    def _bodies(self, space: SpaceId, dots: Sequence[Dot]) -> Mapping[Dot, bytes]:
        cache = self._local.store.fetched
        found = cache.find(space, dots)
        wanted = [dot for dot in dots if dot not in found]
        for at in range(0, len(wanted), BODIES_MAX) if self.source is not None else ():
            assert self.source is not None
            fetched = self.source.wait_fetched(space, wanted[at : at + BODIES_MAX])
            cache.keep(space, fetched)
            found |= fetched
            if not fetched:
                break
        return found

    def _elsewhere(self, key: str, space: SpaceId, dots: Iterable[Dot]) -> Elsewhere:
        cluster = self._local.cluster
        nodes = self._holders(space, dots)
        names = sorted(cluster.name_of(node) for node in nodes)
        where = f"on other devices ({', '.join(names)})" if names else "on other devices"
        keep = f"`cis space keep {shlex.quote(cluster.space_name(space))} --all` keeps all values here"
        if self.source is None:
            return Elsewhere(f"the value of {key!r} is {where}; {self.why_not}; {keep}")
        if nodes & self.source.connected:
            return Elsewhere(f"the value of {key!r} is {where}; none of them gave it now: try again; {keep}")
        connect = f"`cis p2p connect {names[0]}`" if names else "`cis p2p connect NODE`"
        return Elsewhere(f"the value of {key!r} is {where}; none of them is connected: {connect}; {keep}")

    def _holders(self, space: SpaceId, dots: Iterable[Dot]) -> set[NodeId]:
        """Return who surely has a value: who told to keep everything, and who wrote it, as long as they are members."""
        own, membership = self._local.identity.node, self._local.cluster.membership
        with self._readers.snapshot() as reader:
            full = {node for node, held in holders(reader.connection, space, own).items() if held.seqs}
        authors = {node_of(dot.replica) for dot in dots}
        return {node for node in full | authors if membership.member(node) is not None} - {own}
