"""Stores of the Byzantine member's that nobody asked for: they accept all, and write as they are told.

Two that share an incarnation, as a cloned disk's do, say two things under one dot. One in the name of a node whose key
was stolen goes on with its log, or begins another, under whatever authority it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cis.errors import CisError
from cis.model import Kind, ReplicaId, SpaceId
from cis.sim.node import STORE_KEY, SimNode, signer
from cis.store.author import Write
from cis.store.store import Setting, Store
from cis.trust import Identity
from cis.wire.content import Content
from cis.wire.messages import encode

if TYPE_CHECKING:
    from cis.sim.world import World
    from cis.store.engine import Commit


class Puppet:
    """Writes with ``identity``'s key; ``authority`` says in whose right."""

    def __init__(
        self,
        world: World,
        node: SimNode,
        folder: Path,
        identity: Identity,
        seed: int,
        authority: Callable[[], bytes],
    ) -> None:
        self.authority = authority
        self._world = world
        self._author = world.members.place(identity.node)
        self._frames: list[bytes] = []
        setting = Setting(
            identity.node,
            signer(identity),
            self._claim,
            lambda *_: None,
            lambda *_: None,
            node.clock_ms,
            Random(seed).randbytes,
        )
        folder.mkdir()
        self.store = Store(folder, STORE_KEY, setting, threaded=False)
        keys = world.members.keys[0].spaces[world.members.public]
        self.store.add_space(keys, "public", replicated=True)
        self.store.on_commit(self._committed)

    def write(self, kind: Kind, key: str, value: bytes) -> list[bytes]:
        """Write, and return the frames."""
        self._frames = []
        content = Content(key, value)
        (outcome,) = self.store.write([Write(self._world.members.public, kind, content)]).result()
        if not isinstance(outcome, CisError) and outcome.dot is not None:
            self._world.ledger.mean_as_written(outcome.dot, content)
        return self._frames

    def listen(self, frames: Iterable[bytes]) -> None:
        """Take in what others wrote, as far as it fits."""
        for frame in frames:
            try:
                self.store.merge(frame).result()
            except CisError:
                continue

    def pose_as(self, replica: ReplicaId) -> None:
        """Go on with a log of somebody's, from where it is known here."""
        self.store.replica = replica

    def _claim(self, _: SpaceId) -> bytes:
        return self.authority()

    def _committed(self, commit: Commit) -> None:
        for segment in commit.written:
            self._world.ledger.record(segment, self._author)
            self._frames.append(encode(segment))
