"""The membership log: a graph of signed entries from which every node reads the same members, rights and epochs.

Each entry names the latest ones its issuer knew, so its ancestry is fixed when it is signed. Whether it is taken
in is judged by that ancestry alone (`cis.trust.chronicle`); whether it has effect by the set of all entries
(`cis.trust.standing`): so all nodes that have the same entries agree, in whatever order they arrived. Here entries
are made, and keys and epochs read from them; who is a member and who may write says `cis.trust.judging`.

Sketch: ``entry, log, keys = found(identity, "laptop", entropy, now_ms)``; ``log.grant(…)``, ``log.revoke(…)``,
``log.rotate(…)`` return a signed entry, which takes effect, here as anywhere, by ``log.add(entry)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from cis.errors import Denied, UsageError
from cis.model import NodeId, SpaceId, did_of, node_of
from cis.trust.entries import Body, hash_attachment, named_space, read_entry, sign_entry
from cis.trust.epochs import Epochs, Lack
from cis.trust.identity import Entropy, Identity
from cis.trust.judging import Judging
from cis.trust.keys import (
    PUBLIC,
    ClusterKeys,
    Offer,
    Parties,
    draw_key,
    found_keys,
    hash_key,
    new_space_keys,
    open_keys,
    seal_key,
    seal_keys,
    seal_name,
    space_id,
)
from cis.trust.names import Member, check_name, check_space_name, name_spaces
from cis.trust.sealing import SpaceKeys
from cis.wire.membership import (
    NO_CLUSTER,
    NO_SPACE,
    SEALED_KEYS_MAX,
    Cut,
    EntryKind,
    Grant,
    NewSpace,
    Revoke,
    Role,
    Rotate,
    Sealed,
    Statement,
    encode_part,
)

_KINDS: dict[type[Body], EntryKind] = {
    Grant: EntryKind.GRANT,
    Revoke: EntryKind.REVOKE,
    Rotate: EntryKind.ROTATE,
    NewSpace: EntryKind.SPACE,
}


class Founded(NamedTuple):
    """A new cluster: the bytes of its founding entry, its log, and its keys."""

    entry: bytes
    membership: Membership
    keys: ClusterKeys


class Membership(Judging):
    """The log of one cluster as far as this node has it; ``cluster`` is the id of its founding entry.

    Made from nothing (a joiner knows the id from its ticket) or from stored ``entries``, parents first.
    """

    def __init__(self, cluster: bytes, entries: Iterable[bytes] = ()) -> None:
        self._epochs: tuple[int, Epochs] | None = None
        super().__init__(cluster, entries)

    # --- stating ---------------------------------------------------------------------------------------------

    def grant(self, issuer: Identity, grant: Grant, keys: ClusterKeys, entropy: Entropy, now_ms: int) -> bytes:
        """Return a signed entry that makes ``grant`` and carries the keys of its spaces; it is not added yet.

        Raises `Denied` when the issuer is no admin or lacks the keys, `UsageError` when another member has the name,
        and `PeerFault` when the subject's sealing key is unusable.
        """
        self._check_admin(issuer, "only an admin admits members: ask one for an invitation (`cis invite` there)")
        if keys.current not in keys.discovery:
            raise Denied("this node does not hold the keys in use yet: let it sync with another admin's node first")
        for member in self.members():
            if member.name == grant.name and member.node != grant.subject:
                raise UsageError(f"the name {grant.name!r} is taken by {did_of(member.node)}: choose another")
        spaces = {Role.BLIND: (), Role.ADMIN: tuple(keys.spaces)}.get(grant.role, grant.spaces)
        parties = Parties(self.cluster, grant.subject, issuer.node)
        first = {(space, epoch) for node, space, lacked in self.lacking() if node == grant.subject for epoch in lacked}
        sealed = encode_part(seal_keys(keys, spaces, parties, grant.sealing_key, first=first))
        return self._state(issuer, grant, sealed, entropy(16), now_ms, subject=grant.subject)

    def revoke(
        self,
        issuer: Identity,
        subject: NodeId,
        spaces: Sequence[SpaceId],
        cuts: Sequence[Cut],
        entropy: Entropy,
        now_ms: int,
    ) -> bytes:
        """Return a signed entry that removes a member, or takes ``spaces`` from it; it is not added yet.

        ``cuts`` say how far each log of the subject counts; one that is not named counts for nothing. ``issuer``
        may be the recovery identity. Raises `Denied` when it is no admin, `UsageError` when the subject is the
        issuer or no member, or when spaces are taken from an admin, who has them all.
        """
        self._check_admin(issuer, "only an admin removes members: ask one to run `cis acl revoke`")
        member = self.member(subject)
        if member is None:
            raise UsageError(f"{did_of(subject)} is no member: `cis acl show` lists them")
        if subject == issuer.node:
            raise UsageError("a node cannot remove itself: run `cis acl revoke` on another admin's node")
        if spaces and member.role is Role.ADMIN:
            raise UsageError(f"{member.name} is an admin, and so in every space: revoke it whole, then grant less")
        kept = tuple(cut for cut in cuts if node_of(cut.replica) == subject and (not spaces or cut.space in spaces))
        body = Revoke(subject, tuple(spaces))
        return self._state(issuer, body, encode_part(kept), entropy(16), now_ms, removing=None if spaces else subject)

    def rotate(self, issuer: Identity, space: SpaceId, entropy: Entropy, now_ms: int) -> bytes:
        """Return a signed entry that opens a new epoch of a space (NO_SPACE: of the discovery key), not added yet.

        Its key is drawn here and sealed to every member that reads the space (NO_SPACE: to every member), which
        opens it by `keys_of` once the entry is added. Raises `Denied` when the issuer is no admin, `UsageError`
        for a space there is not.
        """
        self._check_admin(issuer, "only an admin renews keys: ask one to run `cis acl rotate`")
        taken = self.epochs(space)
        if not taken:
            raise UsageError(f"there is no space {space.hex()}: `cis space list` shows those there are")
        key = draw_key(taken, entropy)
        rotate = Rotate(space, hash_key(key))
        recipients = self.members() if space == NO_SPACE else self.readers(space)
        sealed = self._seal_to(recipients, issuer.node, space, rotate.epoch, key)
        return self._state(issuer, rotate, encode_part(sealed), entropy(16), now_ms)

    def create_space(
        self, issuer: Identity, name: str, members: Iterable[NodeId], entropy: Entropy, now_ms: int
    ) -> bytes:
        """Return a signed entry that makes a named space, its keys sealed to all admins and ``members``.

        It is not added yet. Members other than admins share it once a grant lists it. Raises `Denied` when the
        issuer is no admin, `UsageError` for a name that cannot name a space or for a node that is no member.
        """
        self._check_admin(issuer, "only an admin makes spaces: ask one to run `cis space create`")
        check_space_name(name)
        chosen = {member.node: member for member in self.members() if member.role is Role.ADMIN}
        for node in members:
            member = self.member(node)
            if member is None:
                raise UsageError(f"{did_of(node)} is no member: `cis acl show` lists them")
            chosen[node] = member
        nonce = entropy(16)
        keys = new_space_keys(named_space(self.cluster, issuer.node, nonce), entropy)
        plain = keys.memory_key + keys.epochs[0]
        sealed = self._seal_to(chosen.values(), issuer.node, keys.space, 0, plain)
        return self._state(issuer, NewSpace(keys.space, seal_name(keys, name)), encode_part(sealed), nonce, now_ms)

    # --- keys and epochs -------------------------------------------------------------------------------------

    def epoch(self, space: SpaceId) -> int | None:
        """Return the epoch to write a space under (NO_SPACE: the discovery key's); None where there is none.

        It is the latest by rank whose key no removed node was given. None: an admin must rotate first.
        """
        return self._of_epochs().usable(space)

    def epochs(self, space: SpaceId) -> tuple[int, ...]:
        """Return all epochs of a space, by rank; none of a space there is not."""
        return self._of_epochs().of(space)

    def lacking(self) -> tuple[Lack, ...]:
        """Return the members that were never sealed the keys of epochs of a space they read, and which.

        So it is where a grant and a rotation were made apart. An admin who holds these keys mends it by granting
        again. Of the discovery key (NO_SPACE) only the current epoch counts.
        """
        return self._of_epochs().lacking()

    def space_names(self, keys: ClusterKeys) -> dict[SpaceId, str]:
        """Return the names of the spaces whose keys are held: unique, the later one by rank with a suffix."""
        made = [
            (known.entry.body, keys.spaces[space])
            for space, known in self.new_spaces().items()
            if space in keys.spaces and isinstance(known.entry.body, NewSpace)
        ]
        public = space_id(self.cluster, PUBLIC)
        return ({public: PUBLIC} if public in keys.spaces else {}) | name_spaces(made)

    def keys_of(self, identity: Identity, held: ClusterKeys) -> ClusterKeys:
        """Add to what is held all keys that entries, void or not, seal to the identity, and tell which are current.

        Current is the epoch in use where its key is held, else the latest held: nothing may be written under
        that (`epoch` tells). Raises `PeerFault` MALFORMED when there is no discovery key in the end.
        """
        epochs = self._of_epochs()
        opened = open_keys(identity, self._offers_to(identity.node), held)
        spaces: dict[SpaceId, SpaceKeys] = {}
        for space, keys in opened.spaces.items():
            current = epochs.preferred(space, keys.epochs)
            spaces[space] = keys if current is None else replace(keys, current=current)
        current = epochs.preferred(NO_SPACE, opened.discovery)
        return ClusterKeys(opened.discovery, spaces, held.private, held.current if current is None else current)

    def _offers_to(self, node: NodeId) -> list[Offer]:
        """The keys sealed to a node, by rank, those of entries with effect first."""
        epochs = self._of_epochs()
        ranked = [known for known in self.ranked() if known.entry.sealed]
        ranked.sort(key=lambda known: self.rights.blame(known) is not None)
        return [
            Offer(
                Parties(known.entry.statement.cluster, node, known.entry.issuer),
                sealed.key,
                epochs.key_hash(sealed.key.space, sealed.key.epoch),
            )
            for known in ranked
            for sealed in known.entry.sealed
            if sealed.recipient == node
        ]

    def _of_epochs(self) -> Epochs:
        count = len(self.log.known)
        if self._epochs is None or self._epochs[0] != count:
            self._epochs = count, Epochs(self)
        return self._epochs[1]

    def _check_admin(self, issuer: Identity, otherwise: str) -> None:
        if not self.rights.admin_at(issuer.node, self.log.everything):
            raise Denied(otherwise)

    def _seal_to(
        self, members: Iterable[Member], issuer: NodeId, space: SpaceId, epoch: int, plain: bytes
    ) -> tuple[Sealed, ...]:
        """Seal a key to members, all of whom have usable sealing keys: grants to others are not taken in."""
        return tuple(
            Sealed(
                member.node,
                seal_key(space, epoch, plain, Parties(self.cluster, member.node, issuer), member.sealing_key),
            )
            for member in islice(members, SEALED_KEYS_MAX)
        )

    def _state(
        self,
        issuer: Identity,
        body: Body,
        attachment: bytes,
        nonce: bytes,
        now_ms: int,
        *,
        subject: NodeId | None = None,
        removing: NodeId | None = None,
    ) -> bytes:
        if not self.has_room(issuer.node, body):
            raise Denied(
                "the membership log has no room for this: an admin nearer the founder must remove who filled it"
            )
        after = self.rights.covering(subject, None) if subject is not None else []
        parents = self.parents_for(issuer.node, after=after, removing=removing)
        return state(issuer, self.cluster, parents, body, attachment, nonce, now_ms)


def found(identity: Identity, name: str, entropy: Entropy, now_ms: int, recovery: bytes = b"") -> Founded:
    """Found a cluster of one: its founding entry, whose hash is the cluster's id, its log and its keys.

    ``recovery`` is the public key of the recovery identity, if there is to be one: an admin that is no member,
    senior to all, which nobody can revoke. Raises `UsageError` for a name that is not 1 to 32 of a-z, 0-9 and
    the hyphen.
    """
    grant = Grant(identity.node, identity.sealing_public, check_name(name), Role.ADMIN, ())
    entry = state(identity, NO_CLUSTER, (), grant, recovery, entropy(16), now_ms)
    cluster = read_entry(entry).id
    return Founded(entry, Membership(cluster, [entry]), found_keys(cluster, entropy))


def state(
    issuer: Identity,
    cluster: bytes,
    parents: tuple[bytes, ...],
    body: Body,
    attachment: bytes,
    nonce: bytes,
    now_ms: int,
) -> bytes:
    """Sign one entry, whatever the log says of it."""
    hashed = hash_attachment(attachment)
    statement = Statement(_KINDS[type(body)], cluster, parents, issuer.node, now_ms, nonce, encode_part(body), hashed)
    return sign_entry(issuer, statement, attachment)
