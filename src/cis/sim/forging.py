"""Membership entries that nobody may accept, or that must not have the effect they claim; and the log rolled back.

Some are broken (unsigned, altered, of another cluster, by nobody's right). Others are signed as they should be, by a
removed admin that pretends not to know it: these every log takes in, and nobody heeds. In sessions, the log is stated
as it once was, and served without the removals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from cis.errors import CisError
from cis.model import NodeId
from cis.sim.members import START_MS
from cis.trust import Identity, found
from cis.trust.entries import hash_attachment, read_entry
from cis.trust.identity import Label
from cis.trust.membership import state
from cis.wire.membership import (
    NO_SPACE,
    PARENTS_MAX,
    Cut,
    Entry,
    EntryKind,
    Grant,
    Revoke,
    Role,
    Rotate,
    Statement,
    decode_entry,
    encode_part,
)
from cis.wire.messages import MembershipEntries, MembershipIds, Message, Summary

if TYPE_CHECKING:
    from cis.sim.law import Law
    from cis.sim.node import SimNode
    from cis.sim.world import World

OLD_SHARE = 0.5
"""How much of the log is left of one that is rolled back."""


class Forger:
    """Of one run; each method of a kind returns entries to tell, none where it makes no sense."""

    def __init__(self, world: World, node: SimNode) -> None:
        self._world = world
        self._node = node
        self._rng = world.kernel.rng
        self.rollback = ""
        """how the log is told in sessions: as it is, ``old``, or ``withheld``"""

    # --- broken entries --------------------------------------------------------------------------------------------

    def unsigned(self) -> list[bytes]:
        """An entry in an admin's name that the liar signed."""
        admin = self._admin()
        statement = encode_part(self._statement(admin, self._favour(), self._heads()))
        return [encode_part(Entry(statement, self._node.identity.sign(Label.MEMBERSHIP, statement), b""))]

    def without_right(self) -> list[bytes]:
        """An entry by somebody who never was an admin."""
        return [self._stated(Identity.generate(self._rng.randbytes), self._favour(), self._heads())]

    def foreign(self) -> list[bytes]:
        """The founding entry of a cluster of the liar's own, and what it grants there."""
        other = found(self._node.identity, "own", self._rng.randbytes, START_MS)
        grant = state(
            self._node.identity, other.membership.cluster, (other.membership.cluster,), self._favour(), b"",
            self._rng.randbytes(16), START_MS,
        )  # fmt: skip
        return [self._rng.choice((other.entry, grant))]

    def altered(self) -> list[bytes]:
        """A real entry, its attachment changed: other cuts, or other keys."""
        known = list(self._node.cluster.membership.log.known.values())
        held = [one.entry for one in known if one.entry.attachment]
        if not held:
            return []
        entry = decode_entry(self._rng.choice(held).raw)
        changed = encode_part(()) if self._rng.random() < 0.5 else entry.attachment + b"\0"
        return [encode_part(msgspec.structs.replace(entry, attachment=changed))]

    # --- entries that stand in the log, and have no effect -----------------------------------------------------------

    def backdated(self, law: Law) -> list[bytes]:
        """What a removed admin states as if it had not heard: it lets itself in, puts others out, renews keys."""
        removed = [node for node in law.removed if self._ended(law, node)]
        if not removed:
            return []
        node = self._rng.choice(removed)
        end = self._ended(law, node)
        identity = self._world.members.identities[self._world.members.place(node)]
        others = [one for one in law.roles if one != node]
        if not end or not others:
            return []
        body: Grant | Revoke | Rotate = self._rng.choice(
            (
                self._favour(),
                self._favour(node),
                Revoke(self._rng.choice(others), ()),
                Rotate(self._rng.choice((NO_SPACE, self._world.members.public)), self._rng.randbytes(32)),
            )
        )
        return [self._stated(identity, body, (end,))]

    def _ended(self, law: Law, node: NodeId) -> bytes:
        """The last entry before a node's removal at which it was an admin; empty where it never was."""
        removals = [one for one in law.standing if one.stated.subject == node]  # type: ignore[union-attr] # revocations
        before = [item.id for item in law.items if any(item.id in one.before for one in removals)]
        able = [one for one in before if law.role_at(node, self._world.members.public, law.seen_at(one)) is Role.ADMIN]
        return able[-1] if able else b""

    # --- what an admin may, and should not ---------------------------------------------------------------------------

    def abuse(self) -> list[bytes]:
        """As an admin, remove an honest member as if it had written nothing, or more than it has."""
        cluster = self._node.cluster
        others = [node for node in self._world.honest if cluster.membership.member(node.id) is not None]
        if not cluster.is_admin or len(others) <= 3:
            return []
        subject = self._rng.choice(others)
        public = cluster.public
        logs = (
            [(replica, seq) for replica, seq in subject.store.reader.vector(public).seqs.items()] if subject.up else []
        )
        cuts = [
            Cut(public, replica, max(0, seq + self._rng.choice((-1, 1))))
            for replica, seq in logs
            if replica.startswith(subject.id) and self._rng.random() < 0.5
        ]
        try:
            return [
                cluster.membership.revoke(
                    self._node.identity, subject.id, (), cuts, self._rng.randbytes, self._node.clock_ms()
                )
            ]
        except CisError:
            return []

    # --- sessions ----------------------------------------------------------------------------------------------------

    def rolled_back(self, message: Message) -> Message:
        """Return what to say of the log in a session, in place of the truth."""
        known = list(self._node.cluster.membership.log.known.values())
        kept = (
            known[: max(1, int(len(known) * OLD_SHARE))]
            if self.rollback == "old"
            else [one for one in known if one.entry.statement.kind != EntryKind.REVOKE]
        )
        ids = {one.entry.id for one in kept}
        match message:
            case Summary() if self.rollback == "old":
                return msgspec.structs.replace(message, membership=self._rng.randbytes(32))
            case MembershipIds() if self.rollback == "old":
                return MembershipIds([one.entry.id for one in kept])
            case MembershipEntries():
                left = [raw for raw in message.entries if read_entry(raw).id in ids]
                return MembershipEntries(left, message.more and bool(left))
        return message

    # --- parts -------------------------------------------------------------------------------------------------------

    def _favour(self, subject: NodeId | None = None) -> Grant:
        """Make the liar, or somebody, an admin."""
        number = self._world.members.place(subject) if subject is not None else self._node.number
        identity = self._world.members.identities[number]
        spaces = (self._world.members.public,)
        return Grant(identity.node, identity.sealing_public, f"evil-{self._rng.randrange(99)}", Role.ADMIN, spaces)

    def _admin(self) -> NodeId:
        members = self._node.cluster.membership.members()
        admins = [member.node for member in members if member.role is Role.ADMIN and member.node != self._node.id]
        return self._rng.choice(admins) if admins else self._world.members.identities[0].node

    def _heads(self) -> tuple[bytes, ...]:
        return tuple(self._node.cluster.membership.log.heads)[:PARENTS_MAX]

    def _statement(self, issuer: NodeId, body: Grant | Revoke | Rotate, parents: Sequence[bytes]) -> Statement:
        kinds = {Grant: EntryKind.GRANT, Revoke: EntryKind.REVOKE, Rotate: EntryKind.ROTATE}
        return Statement(
            kinds[type(body)], self._world.members.cluster, tuple(parents), issuer, START_MS,
            self._rng.randbytes(16), encode_part(body), hash_attachment(b""),
        )  # fmt: skip

    def _stated(self, issuer: Identity, body: Grant | Revoke | Rotate, parents: Sequence[bytes]) -> bytes:
        nonce = self._rng.randbytes(16)
        return state(issuer, self._world.members.cluster, tuple(parents), body, b"", nonce, START_MS)
