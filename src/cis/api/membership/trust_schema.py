"""What is asked about trust and what is answered: members, roles, spaces, keys, this node's own access list."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request
from cis.api.peers.network_schema import RoleName

AccessMode = Literal["open", "whitelist", "solitary", "quarantine"]
AccessWord = Literal["admit", "refuse", "quarantine"]

DECISIONS_MAX = 10_000


class AccessList(msgspec.Struct, frozen=True):
    """A node's own access list: its mode, and patterns of members allowed and denied."""

    mode: AccessMode
    allowed: tuple[str, ...]
    denied: tuple[str, ...]


class MemberShown(msgspec.Struct, frozen=True, kw_only=True):
    """A member: its strongest role, its role in each space, and what this node's access list makes of it."""

    name: str
    did: str
    role: RoleName
    spaces: dict[str, RoleName]
    since_ms: int
    this_node: bool
    access: AccessWord
    why: str


class RemovedShown(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was removed from the cluster or, where ``spaces`` are named, from these."""

    name: str
    did: str
    by: str
    at_ms: int
    spaces: tuple[str, ...]


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """The key in use of a space (``discovery``: what members know each other by): how many came before, its age.

    ``usable`` is false where a removed member knows it, until an admin's node has made another.
    """

    space: str
    earlier: int
    since_ms: int | None
    usable: bool


class AclShown(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what, as this node knows it."""

    access: AccessList
    members: tuple[MemberShown, ...]
    removed: tuple[RemovedShown, ...]
    keys: tuple[KeyShown, ...]


class ShowAcl(Request[AclShown], frozen=True, kw_only=True):
    """Say who may do what: this node's access list, the members with their roles, the removed, the keys."""

    path: ClassVar[str] = "acl/show"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Something this node decided or learned about who may do what; ``count`` times in a row, last at ``at_ms``."""

    at_ms: int
    what: str
    node: str
    did: str | None
    detail: str
    count: int


class ListDecisions(Request[tuple[Decision, ...]], frozen=True, kw_only=True):
    """List what this node decided about others, newest first."""

    path: ClassVar[str] = "acl/log"
    limit: int = 100


class AccessChange(msgspec.Struct, frozen=True):
    """A member for whom an edit of the access list changed something."""

    name: str
    before: AccessWord
    after: AccessWord


class AccessEdited(msgspec.Struct, frozen=True, kw_only=True):
    """The access list after an edit; ``changed`` is false where there was nothing to do, ``note`` says what to know."""

    access: AccessList
    changed: bool
    affected: tuple[AccessChange, ...]
    note: str


class EditAccess(Request[AccessEdited], frozen=True, kw_only=True):
    """Put a pattern on the list of the allowed or the denied, or take it off; holds at once, and is written down."""

    path: ClassVar[str] = "acl/edit"
    verb: Literal["allow", "deny"]
    pattern: str
    remove: bool = False


class SetAccessMode(Request[AccessEdited], frozen=True, kw_only=True):
    """Choose the mode of the access list; holds at once, and is written down."""

    path: ClassVar[str] = "acl/mode"
    mode: AccessMode


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """The role a member has now in each space; ``changed`` is false where it had it already."""

    name: str
    spaces: dict[str, RoleName]
    changed: bool


class GrantRole(Request[Granted], frozen=True, kw_only=True):
    """Give a member a role in spaces (the public one where none is named); an admin's counts in all.

    With the recovery key where it is given, also to this very node.
    """

    path: ClassVar[str] = "acl/grant"
    node: str
    role: RoleName
    spaces: tuple[str, ...] = ()
    recovery_key: str | None = None


class RevocationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal would come to: of whom, from which spaces, and the keys that will be made anew."""

    name: str
    did: str
    role: RoleName
    whole: bool
    spaces: tuple[str, ...]
    new_keys: tuple[str, ...]


class PlanRevocation(Request[RevocationPlan], frozen=True, kw_only=True):
    """Say what removing a node from the cluster, or from spaces, would come to; nothing is done.

    ``recovery`` when it is to be signed with the recovery key.
    """

    path: ClassVar[str] = "acl/plan-revocation"
    node: str
    spaces: tuple[str, ...] = ()
    recovery: bool = False


class TicketShown(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket made on this node that still admits who holds it, until it expires (Unix ms)."""

    role: str
    name: str | None
    expires_ms: int


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """A removal that was done here: members that are known to have heard of it, and those that are not.

    ``tickets`` are those of this node that are still good: the removed node, too, may hold one.
    """

    name: str
    did: str
    heard: tuple[str, ...]
    unheard: tuple[str, ...]
    tickets: tuple[TicketShown, ...] = ()


class RevokeMember(Request[Revoked], frozen=True, kw_only=True):
    """Remove a node from the cluster or from spaces, and make new keys; with the recovery key where it is given."""

    path: ClassVar[str] = "acl/revoke"
    node: str
    spaces: tuple[str, ...] = ()
    recovery_key: str | None = None
    timeout_s: float = 5.0
    """how long to wait for connected members to hear"""


class TicketInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket that may still be used; ``spaces`` is empty where it admits an admin, who has a part in all.

    ``bound_to`` is the one node that may use it, where it was made for one.
    """

    id: str
    name: str | None
    role: RoleName
    spaces: tuple[str, ...]
    expires_ms: int
    bound_to: str | None


class ListTickets(Request[tuple[TicketInfo, ...]], frozen=True, kw_only=True):
    """List the tickets made here by which somebody may still join."""

    path: ClassVar[str] = "tickets/list"


class CancelTicket(Request[TicketInfo], frozen=True, kw_only=True):
    """Make a ticket void, named by its id or the beginning of it."""

    path: ClassVar[str] = "tickets/cancel"
    id: str


class Rotated(msgspec.Struct, frozen=True):
    """The keys that were made anew; ``discovery`` is what members know each other by."""

    keys: tuple[str, ...]


class RotateKeys(Request[Rotated], frozen=True, kw_only=True):
    """Make new keys of spaces, or of all with the discovery key where none is named."""

    path: ClassVar[str] = "acl/rotate"
    spaces: tuple[str, ...] = ()


class SpaceMember(msgspec.Struct, frozen=True):
    """A member that has a part in a space."""

    name: str
    role: RoleName


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a device keeps of a space: headers always, and of bodies all but what is left out here.

    With ``names`` no value is kept; with ``prefixes`` or ``categories`` those alone whose memory's key begins with one,
    or whose category is one. What is not kept is listed by its name all the same, and fetched when it is read.
    """

    vectors: bool = True
    names: bool = False
    prefixes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


EVERYTHING = Kept()


class SpaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A space: ``name`` is the beginning of its id where this node cannot read it; sizes are of what is stored here."""

    name: str
    id: str
    role: RoleName | None
    """this node's in it; null for ``private``, which is nobody else's"""
    readable: bool
    usable: bool
    """whether its key may be written under: false where a removed member knows it"""
    members: tuple[SpaceMember, ...]
    memories: int
    changes: int
    bytes: int
    keeps: Kept = EVERYTHING
    """what this device keeps of it; the rest is on others"""
    elsewhere: int = 0
    """bodies that are not on this device by choice"""
    kept_by: tuple[str, ...] = ()
    """other members that reported to keep everything, of late"""


class ListSpaces(Request[tuple[SpaceInfo, ...]], frozen=True, kw_only=True):
    """List the spaces this node holds, readable or not."""

    path: ClassVar[str] = "space/list"


class CreateSpace(Request[SpaceInfo], frozen=True, kw_only=True):
    """Make a space with a key of its own, for all admins and the members named."""

    path: ClassVar[str] = "space/create"
    name: str
    members: tuple[str, ...] = ()


class ShareSpace(Request[Granted], frozen=True, kw_only=True):
    """Give a member a role in a space."""

    path: ClassVar[str] = "space/share"
    space: str
    node: str
    role: Literal["writer", "reader", "blind"] = "writer"


class KeepSpace(Request[SpaceInfo], frozen=True, kw_only=True):
    """Have this device keep that much of a space from now on; the rest is let go once others surely hold it."""

    path: ClassVar[str] = "space/keep"
    space: str
    keeps: Kept = EVERYTHING
