"""What admins decide in a run: they remove members, apart and at once, let them in again, demote, renew keys, feud.

A removal often falls into a partition, in which the removed member goes on writing among those who have not heard.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from cis.errors import CisError
from cis.node.membership.cluster import Build
from cis.node.membership.governing import Governing
from cis.wire.membership import NO_SPACE, Role

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.storm import Storm
    from cis.sim.world import World

MEMBERS_MIN = 3
"""So many honest members no admin goes below."""
APART = 0.6
BY_TWO = 0.4
AGAIN = 0.6
LIAR_CHOSEN = 0.4


class Decrees:
    """Of one run; each method is one fault."""

    def __init__(self, world: World, storm: Storm) -> None:
        self._world = world
        self._storm = storm
        self._rng = world.kernel.rng

    def revoke(self) -> None:
        """An admin removes a member, or two do, each by what it holds; some time later it may be let in again."""
        rng, admin = self._rng, self._admin()
        subject = self._subject(admin) if admin is not None else None
        if admin is None or subject is None:
            return
        others = [one for one in self._admins() if one not in {admin, subject}]
        second = rng.choice(others) if others and rng.random() < BY_TWO else None
        if rng.random() < APART:
            self.part({admin.number}, {subject.number, *([second.number] if second is not None else ())})
        self._keep_writing(subject)
        self._remove(admin, subject)
        if second is not None:
            self._after(rng.uniform(0.0, 2.0), lambda: self._remove(second, subject))
        if rng.random() < AGAIN:
            self._after(rng.uniform(2.0, 10.0), lambda: self._let_in_again(subject))

    def feud(self) -> None:
        """Two admins, apart, remove each other, and go on governing as long as they have not heard."""
        admins = self._admins()
        if len(admins) < 2:
            return
        one, other = self._rng.sample(admins, 2)
        self._world.count("feuds")
        self.part({one.number}, {other.number})
        for admin, rival in ((one, other), (other, one)):
            self._keep_writing(admin)
            self._after(self._rng.uniform(0.0, 1.5), partial(self._remove, admin, rival))
            self._after(self._rng.uniform(0.0, 3.0), partial(self._promote, admin))
        self._after(self._rng.uniform(6.0, 12.0), lambda: self._let_in_again(self._rng.choice((one, other))))

    def demote(self) -> None:
        """An admin takes a writer's right to write, and leaves it the reader's; of an admin it makes a writer."""
        admin = self._admin()
        subject = self._subject(admin) if admin is not None else None
        member = admin.cluster.membership.member(subject.id) if admin is not None and subject is not None else None
        if admin is None or subject is None or member is None:
            return
        public = admin.cluster.public
        spaces = () if member.role is Role.ADMIN else (public,)
        less = Role.WRITER if member.role is Role.ADMIN else Role.READER
        self._keep_writing(subject)
        if self._decide(admin, lambda by: by.revocation(subject.id, spaces)):
            self._world.count("demotions")
            self._decide(admin, lambda by: by.grant(subject.id, less, (public,)))

    def rotate(self) -> None:
        """An admin renews the keys; now and then so does another at the same time."""
        admins = self._admins()
        for admin in self._rng.sample(admins, min(len(admins), self._rng.choice((1, 1, 2)))):
            if self._decide(admin, partial(Governing.rotation, spaces=(NO_SPACE, admin.cluster.public))):
                self._world.count("rotations")

    def part(self, one: Collection[int], other: Collection[int]) -> None:
        """Part the cluster between these, everybody else on either side, for a while."""
        inside = set(one)
        for node in self._world.nodes:
            if node.number not in other and self._rng.random() < 0.5:
                inside.add(node.number)
        self._storm.separate(inside, "both", self._rng.uniform(2.0, 8.0))

    # --- parts of it -----------------------------------------------------------------------------------------------

    def _admins(self) -> list[SimNode]:
        return [node for node in self._world.honest if node.up and node.cluster.is_admin]

    def _admin(self) -> SimNode | None:
        admins = self._admins()
        return self._rng.choice(admins) if admins else None

    def _subject(self, admin: SimNode) -> SimNode | None:
        """Somebody the admin may remove: the Byzantine member more often than others."""
        liar = self._world.byzantine.node if self._world.byzantine is not None else None
        members = [node for node in self._world.nodes if self._knows(admin, node) and node is not admin]
        if liar in members and self._rng.random() < LIAR_CHOSEN:
            return liar
        honest = [node for node in members if node.honest]
        return self._rng.choice(honest) if len(honest) >= MEMBERS_MIN else None

    def _knows(self, admin: SimNode, node: SimNode) -> bool:
        return admin.cluster.membership.member(node.id) is not None

    def _keep_writing(self, node: SimNode) -> None:
        """Somebody writes a few times in the seconds to come, whatever is decided about it."""
        for _ in range(self._rng.choice((1, 2, 4))):
            self._after(self._rng.uniform(0.0, 4.0), lambda: self._storm.write_at(node))

    def _remove(self, admin: SimNode, subject: SimNode) -> None:
        if self._decide(admin, lambda by: by.revocation(subject.id, ())):
            self._world.count("revocations")

    def _let_in_again(self, subject: SimNode) -> None:
        role = self._rng.choice((Role.WRITER, Role.WRITER, Role.ADMIN, Role.READER))
        role = Role.WRITER if role is Role.ADMIN and not subject.honest else role
        for admin in self._admins():
            if admin.cluster.membership.revoked(subject.id):
                if self._decide(admin, lambda by: by.grant(subject.id, role, (admin.cluster.public,))):  # noqa: B023 - at once
                    self._world.count("grants_again")
                return

    def _promote(self, admin: SimNode) -> None:
        """Make an admin of a writer: a grant that is void if its issuer was removed meanwhile."""
        membership = admin.cluster.membership
        writers = [member.node for member in membership.members() if member.role is Role.WRITER]
        honest = [node.id for node in self._world.honest if node.id in writers]
        if honest:
            chosen = self._rng.choice(honest)
            self._decide(admin, lambda by: by.grant(chosen, Role.ADMIN, ()))

    def _decide(self, admin: SimNode, decide: Callable[[Governing], Build]) -> bool:
        """Let an admin decide something; False where it is no admin any more, or it makes no sense to it."""
        if not admin.up:
            return False
        try:
            admin.upkeep.govern(decide)
        except CisError:
            self._world.count("decisions_refused")
            return False
        return True

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._world.kernel.after(delay_s, action)
