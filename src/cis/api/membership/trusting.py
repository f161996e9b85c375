"""Operations on who may do what in the cluster: shown, granted, taken away, keys made anew, decisions listed.

They block until what they did is durable, so a server calls them in threads. Nothing here waits for other members:
what was done reaches them as soon as they are connected to one that knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cis.api.membership.access import acl_of, shown
from cis.api.membership.membership_history import Removal, keys_since, removals
from cis.api.membership.spaces import ROLE_NAMES, ROLES, SpaceNames
from cis.api.membership.trust_schema import (
    DECISIONS_MAX,
    AclShown,
    Decision,
    Granted,
    GrantRole,
    KeyShown,
    ListDecisions,
    MemberShown,
    PlanRevocation,
    RemovedShown,
    RevocationPlan,
    Revoked,
    RevokeMember,
    Rotated,
    RotateKeys,
    ShareSpace,
    ShowAcl,
    TicketShown,
)
from cis.errors import Denied, UsageError
from cis.model import NodeId, SpaceId, did_of
from cis.node.home.local import LocalNode
from cis.trust import Identity, Member
from cis.trust.acl import Acl
from cis.trust.recovery import parse_recovery_key
from cis.trust.rights import check_scope
from cis.wire.membership import NO_SPACE, Role

DISCOVERY = "discovery"
"""What the key is called by which members know each other."""


class TrustOperations:
    """Shows and changes who may do what; ``acl`` is the access list in force, else the one the settings say."""

    def __init__(self, local: LocalNode, acl: Callable[[], Acl] | None = None) -> None:
        self._local = local
        self._acl = acl or (lambda: acl_of(local.home.folder))

    def show(self, _: ShowAcl) -> AclShown:
        """Say who may do what, as this node knows it."""
        membership, names = self._local.cluster.membership, SpaceNames(self._local)
        acl, own = self._acl(), self._local.identity.node
        members = []
        for member in sorted(membership.members(), key=lambda one: one.name):
            verdict = acl.judge(member.node, member.name)
            members.append(
                MemberShown(
                    name=member.name,
                    did=did_of(member.node),
                    role=ROLE_NAMES[member.role],
                    spaces=names.roles(member.node),
                    since_ms=member.since_ms,
                    this_node=member.node == own,
                    access="admit" if member.node == own else verdict.access.value,
                    why="" if member.node == own else verdict.why,
                )
            )
        removed = tuple(_removed(one, names) for one in removals(membership))
        return AclShown(access=shown(acl), members=tuple(members), removed=removed, keys=tuple(self._keys(names)))

    def decisions(self, request: ListDecisions) -> tuple[Decision, ...]:
        """List what this node decided, newest first."""
        if not 0 < request.limit <= DECISIONS_MAX:
            raise UsageError(f"a limit of {request.limit}: it is 1 to {DECISIONS_MAX}")
        return tuple(
            Decision(
                at_ms=one.at_ms,
                what=one.what,
                node=self._name(one.node) if one.node is not None else "",
                did=did_of(one.node) if one.node is not None else None,
                detail=one.detail,
                count=one.count,
            )
            for one in reversed(self._local.decisions(request.limit))
        )

    # --- changing ------------------------------------------------------------------------------------------------

    def share(self, request: ShareSpace) -> Granted:
        """Give a member a role in one space."""
        return self.grant(GrantRole(node=request.node, role=request.role, spaces=(request.space,)))

    def grant(self, request: GrantRole) -> Granted:
        """Give a member a role, or one that was removed; `UsageError` where it has a stronger one, which stays."""
        local, role, names = self._local, ROLES[request.role], SpaceNames(self._local)
        member, recovery = local.cluster.find_former(request.node), _recovery(request.recovery_key)
        if recovery is None:
            self._refuse_oneself(member)
        check_scope(role, given := [names.find(text) for text in request.spaces])
        wanted = given or [local.cluster.public]
        before = {space: local.cluster.membership.space_role(member.node, space) for space in wanted}
        for space, has in before.items():
            if has is not None and has < role:
                scope = "" if has is Role.ADMIN else f" --space {names.name(space)}"
                raise UsageError(
                    f"{member.name} is {ROLE_NAMES[has]} in {names.name(space)}, and a grant takes nothing away: "
                    f"`cis acl revoke {member.name}{scope}` does, and then grant again"
                )
        changed = any(has is not role for has in before.values())
        if changed:
            local.grant(member.node, role, tuple(given), recovery)
        return Granted(name=member.name, spaces=SpaceNames(local).roles(member.node), changed=changed)

    def plan(self, request: PlanRevocation) -> RevocationPlan:
        """Say what a removal would come to; `Denied` where this node may not, `UsageError` where there is nothing."""
        if not self._local.cluster.is_admin and not request.recovery:
            raise Denied("only an admin removes members: ask one, or sign with the recovery key (--recovery-key)")
        member, spaces, names = self._revocable(request.node, request.spaces)
        membership = self._local.cluster.membership
        lost = spaces or [space for space in names.spaces if membership.space_role(member.node, space) is not None]
        read = [space for space in lost if membership.space_role(member.node, space) is not Role.BLIND]
        anew = [*(() if spaces else (DISCOVERY,)), *(names.name(space) for space in read)]
        return RevocationPlan(
            name=member.name,
            did=did_of(member.node),
            role=ROLE_NAMES[member.role],
            whole=not spaces,
            spaces=tuple(sorted(names.name(space) for space in lost)),
            new_keys=tuple(anew),
        )

    def revoke(self, request: RevokeMember) -> Revoked:
        """Remove a node from the cluster or from spaces, and make new keys."""
        member, spaces, _ = self._revocable(request.node, request.spaces)
        self._local.revoke(member.node, tuple(spaces), _recovery(request.recovery_key))
        own = self._local.identity.node
        others = {one.name for one in self._local.cluster.membership.members() if one.node not in {own, member.node}}
        return Revoked(
            name=member.name,
            did=did_of(member.node),
            heard=(),
            unheard=tuple(sorted(others)),
            tickets=tuple(
                TicketShown(role=ROLE_NAMES[one.role], name=one.name, expires_ms=one.expires_ms)
                for one in self._local.cluster.invitations.usable()
                if not spaces
            ),
        )

    def rotate(self, request: RotateKeys) -> Rotated:
        """Make new keys of spaces, or of all."""
        names = SpaceNames(self._local)
        wanted = [names.find(text) for text in request.spaces]
        for space in wanted:
            self._local.rotate(space)
        if not wanted:
            self._local.rotate()
        return Rotated(tuple(map(names.name, wanted)) or (DISCOVERY, *map(names.name, names.spaces)))

    def _refuse_oneself(self, member: Member) -> None:
        if member.node == self._local.identity.node:
            raise UsageError(f"{member.name} is this very node: another admin can do that")

    def _revocable(self, text: str, given: Sequence[str]) -> tuple[Member, list[SpaceId], SpaceNames]:
        member, names = self._local.cluster.find(text), SpaceNames(self._local)
        self._refuse_oneself(member)
        spaces = [names.find(one) for one in given]
        for space in spaces:
            role = self._local.cluster.membership.space_role(member.node, space)
            if role is None:
                raise UsageError(f"{member.name} has no part in {names.name(space)}: nothing to take away")
            if role is Role.ADMIN:
                raise UsageError(f"{member.name} is an admin, who has a part in every space: remove it as a whole")
        return member, spaces, names

    def _name(self, node: NodeId) -> str:
        """Return the name a node has or had, which decisions about it are remembered by."""
        former = self._local.cluster.former(node)
        return former.name if former is not None else self._local.cluster.name_of(node)

    def _keys(self, names: SpaceNames) -> list[KeyShown]:
        membership, keys = self._local.cluster.membership, []
        readable = [space for space in names.spaces if space in self._local.cluster.keys.spaces]
        for space in (NO_SPACE, *readable):
            epochs = membership.epochs(space)
            keys.append(
                KeyShown(
                    space=DISCOVERY if space == NO_SPACE else names.name(space),
                    earlier=len(epochs) - 1,
                    since_ms=keys_since(membership, space),
                    usable=membership.epoch(space) is not None,
                )
            )
        return keys


def _recovery(text: str | None) -> Identity | None:
    return parse_recovery_key(text) if text is not None else None


def _removed(one: Removal, names: SpaceNames) -> RemovedShown:
    return RemovedShown(
        name=one.name,
        did=did_of(one.node),
        by=one.by or "the recovery key",
        at_ms=one.at_ms,
        spaces=tuple(sorted(names.name(space) for space in one.spaces)),
    )
