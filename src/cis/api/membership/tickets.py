"""Tickets this node made that somebody may still join by: to list, and to cancel."""

from __future__ import annotations

from cis.api.membership.spaces import ROLE_NAMES, SpaceNames
from cis.api.membership.trust_schema import CancelTicket, ListTickets, TicketInfo
from cis.errors import UsageError
from cis.model import did_of
from cis.node.home.local import LocalNode
from cis.trust import Invitation
from cis.wire.membership import Role

ID_SHOWN = 8
"""Hexadecimal digits of a ticket's id that are shown; any unique beginning names it."""


class TicketOperations:
    """Tickets as a user sees them; none of this shows a ticket's secret."""

    def __init__(self, local: LocalNode) -> None:
        self._local = local

    def tickets(self, _: ListTickets) -> tuple[TicketInfo, ...]:
        """List those that may still be used, the first to expire first."""
        usable = self._local.cluster.invitations.usable()
        return tuple(self._shown(one) for one in sorted(usable, key=lambda one: (one.expires_ms, one.id)))

    def cancel(self, request: CancelTicket) -> TicketInfo:
        """Make a ticket void; `UsageError` where none that is still good is meant."""
        invitations = self._local.cluster.invitations
        wanted = request.id.strip().lower()
        found = [one for one in invitations.usable() if wanted and one.id.hex().startswith(wanted)]
        if len(found) != 1:
            what = f"{len(found)} tickets begin with {wanted}" if found else f"no ticket {wanted} is open"
            raise UsageError(f"{what}: `cis invite --list` shows those that are; who joined by one stays a member")
        shown = self._shown(found[0])
        if not invitations.cancel(self._local.store, found[0].id):
            raise UsageError(f"ticket {shown.id} was used a moment ago: `cis acl show` lists who joined")
        return shown

    def _shown(self, one: Invitation) -> TicketInfo:
        cluster, names = self._local.cluster, SpaceNames(self._local)
        admin = one.role is Role.ADMIN
        return TicketInfo(
            id=one.id.hex()[:ID_SHOWN],
            name=one.name,
            role=ROLE_NAMES[one.role],
            spaces=() if admin else tuple(sorted(names.name(space) for space in one.spaces)),
            expires_ms=one.expires_ms,
            bound_to=cluster.name_of(one.bound_to) or did_of(one.bound_to) if one.bound_to is not None else None,
        )
