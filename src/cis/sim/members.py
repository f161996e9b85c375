"""The members of a simulated cluster: identities, the membership log and the keys, all grown from the seed.

Grants are signed as always, but carry no sealed keys (HPKE draws its own randomness): each member is handed the
same secrets directly. The last member may only read; what it writes nobody may accept.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from cis.model import NodeId, SpaceId
from cis.trust import PRIVATE, PUBLIC, ClusterKeys, Identity, Membership, found, space_id
from cis.trust.entries import hash_attachment, sign_entry
from cis.trust.keys import private_keys
from cis.wire.membership import EntryKind, Grant, Role, Statement, encode_part

START_MS = 1_700_000_000_000
"""What every clock shows when a run begins."""


@dataclass(frozen=True)
class Members:
    """Who takes part: members 0 to n - 1, the founder first, then the one that may only read."""

    identities: tuple[Identity, ...]
    cluster: bytes
    entries: tuple[bytes, ...]
    """the founding grant, then one for each further member, in order"""
    keys: tuple[ClusterKeys, ...]

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


def gather(count: int, rng: Random) -> Members:
    """Found a cluster of ``count`` writers and one reader."""
    identities = [Identity.generate(rng.randbytes) for _ in range(count + 1)]
    founder = identities[0]
    founded = found(founder, "m0", rng.randbytes, START_MS)
    entries, keys = [founded.entry], [founded.keys]
    for number, identity in enumerate(identities[1:], start=1):
        role = Role.READER if number == count else Role.WRITER
        grant = Grant(identity.node, identity.sealing_public, f"m{number}", role, tuple(founded.keys.spaces))
        raw = _grant(founder, founded.membership, grant, rng)
        founded.membership.add(raw)
        entries.append(raw)
        own = private_keys(founded.membership.cluster, rng.randbytes)
        keys.append(ClusterKeys(founded.keys.discovery, founded.keys.spaces, own))
    return Members(tuple(identities), founded.membership.cluster, tuple(entries), tuple(keys))


def _grant(founder: Identity, membership: Membership, grant: Grant, rng: Random) -> bytes:
    statement = Statement(
        EntryKind.GRANT,
        membership.cluster,
        tuple(membership.ids()[-1:]),
        founder.node,
        START_MS,
        rng.randbytes(16),
        encode_part(grant),
        hash_attachment(b""),
    )
    return sign_entry(founder, statement, b"")
