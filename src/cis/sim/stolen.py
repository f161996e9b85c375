"""What can be done with the key of a removed node: a lost laptop, in the hands of a member that lies.

It writes on under the authority the node had, under a head that does not exist or gives no right, under a new
incarnation, over numbers the node used; it passes on what the node itself wrote after its removal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cis.model import Kind, NodeId, ReplicaId, node_of
from cis.sim.puppets import Puppet
from cis.wire.messages import decode
from cis.wire.segment import Segment

if TYPE_CHECKING:
    from cis.sim.law import Law
    from cis.sim.node import SimNode
    from cis.sim.world import World

PUPPETS_MAX = 4


class Thief:
    """Each method returns the frames of one attempt, none where there is nobody to rob."""

    def __init__(self, world: World, node: SimNode, folder: Path) -> None:
        self._world = world
        self._node = node
        self._folder = folder
        self._rng = world.kernel.rng
        self._puppets: dict[tuple[NodeId, str], Puppet] = {}

    def close(self) -> None:
        """Let the stores go."""
        for puppet in self._puppets.values():
            puppet.store.close()

    def old_authority(self, overheard: Iterable[bytes]) -> list[bytes]:
        """Go on with a removed node's log, by the right it had."""
        robbed = self._robbed()
        if robbed is None:
            return []
        node, law = robbed
        frames = list(overheard)
        puppet = self._puppet(node, "log")
        logs = sorted({replica for frame in frames if node_of(replica := _replica(frame)) == node})
        if puppet is None or not logs:
            return []
        puppet.listen(frames)
        puppet.pose_as(self._rng.choice(logs))
        puppet.authority = lambda: self._right_of(node, law)
        return self._written(puppet)

    def new_incarnation(self, overheard: Iterable[bytes]) -> list[bytes]:
        """Begin a new log of a removed node's, by the right it had."""
        return self._begun("new", overheard, self._right_of)

    def forged_head(self, overheard: Iterable[bytes]) -> list[bytes]:
        """Write for a removed node under a head that is none, or that gives it no right: its very removal."""
        return self._begun("head", overheard, self._no_right)

    def reused_dots(self, overheard: Iterable[bytes]) -> list[bytes]:
        """Write again, and otherwise, what a removed node wrote: numbers from the first on, in its own log."""
        robbed = self._robbed()
        puppet = self._puppet(robbed[0], "again") if robbed is not None else None
        if robbed is None or puppet is None:
            return []
        node, law = robbed
        logs = sorted({replica for frame in overheard if node_of(replica := _replica(frame)) == node})
        if not logs:
            return []
        puppet.pose_as(self._rng.choice(logs))
        puppet.authority = lambda: self._right_of(node, law)
        return self._written(puppet)

    def relayed(self, overheard: Iterable[bytes]) -> list[bytes]:
        """Pass on what removed nodes wrote beyond their cuts."""
        law = self._law()
        space, gone = self._world.members.public, []
        for frame in overheard:
            segment = decode(frame)
            assert isinstance(segment, Segment)
            replica = ReplicaId(segment.replica)
            cut = law.cut(space, replica)
            if law.covering(node_of(replica), space) and segment.first > (cut or 0):
                gone.append(frame)
        return gone[-3:]

    # --- whom, and by what right -----------------------------------------------------------------------------------

    def _law(self) -> Law:
        """What the honest node knows that knows the most: a thief hears everything."""
        honest = [node for node in self._world.honest if node.up]
        knowing = max(honest, key=lambda node: len(node.cluster.membership.log.known), default=self._node)
        return self._world.oracle.membership.law(knowing)

    def _robbed(self) -> tuple[NodeId, Law] | None:
        law = self._law()
        known = {identity.node for identity in self._world.members.identities}
        removed = [node for node in law.removed if node in known]
        return (self._rng.choice(removed), law) if removed else None

    def _right_of(self, node: NodeId, law: Law) -> bytes:
        """The latest head at which it might write."""
        public = self._world.members.public
        able = [item.id for item in law.items if law.may_write(node, public, item.id)]
        return able[-1] if able else bytes(32)

    def _no_right(self, node: NodeId, law: Law) -> bytes:
        covering = law.covering(node, self._world.members.public)
        return self._rng.choice([*(item.id for item in covering), self._rng.randbytes(32)])

    def _begun(self, style: str, overheard: Iterable[bytes], right: Callable[[NodeId, Law], bytes]) -> list[bytes]:
        robbed = self._robbed()
        puppet = self._puppet(robbed[0], style) if robbed is not None else None
        if robbed is None or puppet is None:
            return []
        node, law = robbed
        puppet.listen(overheard)
        puppet.authority = lambda: right(node, law)
        return self._written(puppet)

    def _puppet(self, node: NodeId, style: str) -> Puppet | None:
        place = (node, style)
        if place not in self._puppets and len(self._puppets) < PUPPETS_MAX:
            identity = self._world.members.identities[self._world.members.place(node)]
            folder = self._folder / f"stolen{len(self._puppets)}"
            self._puppets[place] = Puppet(
                self._world, self._node, folder, identity, self._rng.getrandbits(64), lambda: bytes(32)
            )
        return self._puppets.get(place)

    def _written(self, puppet: Puppet) -> list[bytes]:
        kind = self._rng.choice((Kind.PUT, Kind.PUT, Kind.DELETE))
        return puppet.write(kind, f"register/{self._rng.randrange(2)}", b"by a thief")


def _replica(frame: bytes) -> ReplicaId:
    segment = decode(frame)
    assert isinstance(segment, Segment)
    return ReplicaId(segment.replica)
