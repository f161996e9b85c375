"""The members of a simulated cluster: identities, the membership log and the keys, all grown from the seed.

The founder and one or two more are admins, each made one by an admin before it; the last member may only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from cis.model import NodeId, SpaceId
from cis.trust import PRIVATE, PUBLIC, ClusterKeys, Identity, found, space_id
from cis.trust.keys import private_keys
from cis.wire.membership import Grant, Role

START_MS = 1_700_000_000_000
"""What every clock shows when a run begins."""


@dataclass(frozen=True)
class Members:
    """Who takes part: the founder first, the one that may only read last."""

    identities: tuple[Identity, ...]
    cluster: bytes
    entries: tuple[bytes, ...]
    """the founding grant, then one for each further member, in order"""
    keys: tuple[ClusterKeys, ...]
    """what each holds once it knows its own grant"""

    @property
    def public(self) -> SpaceId:
        """The space all share."""
        return space_id(self.cluster, PUBLIC)

    @property
    def private(self) -> SpaceId:
        """The id every member's own space has; their keys differ."""
        return space_id(self.cluster, PRIVATE)

    @property
    def reader(self) -> Identity:
        """The member that may not write."""
        return self.identities[-1]

    def place(self, node: NodeId) -> int:
        """Return a member's number."""
        return next(number for number, one in enumerate(self.identities) if one.node == node)


def gather(count: int, rng: Random, *, evil_admin: bool = False) -> Members:
    """Found a cluster of ``count`` writers, some of them admins, and one reader; the last writer may be Byzantine."""
    identities = [Identity.generate(rng.randbytes) for _ in range(count + 1)]
    founded = found(identities[0], "m0", rng.randbytes, START_MS)
    membership, held = founded.membership, [founded.keys]
    entries, admins = [founded.entry], [identities[0]]
    for number, identity in enumerate(identities[1:], start=1):
        role = _role(number, count, rng, evil_admin=evil_admin)
        grant = Grant(identity.node, identity.sealing_public, f"m{number}", role, tuple(founded.keys.spaces))
        raw = membership.grant(rng.choice(admins), grant, founded.keys, rng.randbytes, START_MS)
        membership.add(raw)
        entries.append(raw)
        admins += [identity] if role is Role.ADMIN else []
        own = private_keys(membership.cluster, rng.randbytes)
        held.append(membership.keys_of(identity, ClusterKeys.none(own)))
    return Members(tuple(identities), membership.cluster, tuple(entries), tuple(held))


def _role(number: int, count: int, rng: Random, *, evil_admin: bool) -> Role:
    if number == count:
        return Role.READER
    if number == count - 1 and number > 1:
        return Role.ADMIN if evil_admin else Role.WRITER
    return Role.ADMIN if number == 1 or (number == 2 and rng.random() < 0.5) else Role.WRITER
