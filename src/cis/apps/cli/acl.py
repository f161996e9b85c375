"""``cis acl``: who of the members may do what, and which of them this node connects with."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from cis.api.membership.trust_schema import (
    AccessEdited,
    AclShown,
    EditAccess,
    GrantRole,
    KeyShown,
    ListDecisions,
    MemberShown,
    PlanRevocation,
    RevocationPlan,
    Revoked,
    RevokeMember,
    RotateKeys,
    SetAccessMode,
    ShowAcl,
)
from cis.apps.cli.printing import ago, ask_secret, moment, say, show_json, show_table, tell
from cis.apps.cli.shared import Json, Spaces, agree, group, node_of
from cis.errors import UsageError

app = group("Who may do what: roles, removals, keys, and this node's own access list.")

Member = Annotated[str, typer.Argument(help="A member's name or DID, or the beginning of its DID.", show_default=False)]
Pattern = Annotated[
    str, typer.Argument(help="A name with * and ?, as work* or did:cis:work*, or did:key:z6Mk…", show_default=False)
]
Remove = Annotated[bool, typer.Option("--remove", help="Take the pattern off the list.")]
RecoveryKey = Annotated[
    bool, typer.Option("--recovery-key", help="Sign with the recovery key of `cis init`, which is asked for.")
]
_ACCESS = {"admit": "admitted", "refuse": "refused", "quarantine": "in quarantine"}


@app.command("show")
def show(context: typer.Context, json: Json = False) -> None:
    """Show this node's access list, the members with their roles, who was removed, and how old the keys are.

    Example: cis acl show
    """
    with node_of(context) as node:
        found = node.call(ShowAcl())
    if json:
        show_json(found)
        return
    say(f"mode     {found.access.mode}")
    say(f"allowed  {', '.join(found.access.allowed) or 'no pattern'}")
    say(f"denied   {', '.join(found.access.denied) or 'no pattern'}")
    say("")
    show_table(("member", "role", "spaces", "since", "here"), [_member(one) for one in found.members])
    _show_removed(found)
    say("")
    show_table(("key", "age", "renewals", ""), [_key(one) for one in found.keys])


@app.command("log")
def log(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="At most so many, up to 10000.")] = 100,
    json: Json = False,
) -> None:
    """List what this node decided about others, newest first: admitted, refused, joined, granted, removed, and more.

    Example: cis acl log --limit 20
    """
    with node_of(context) as node:
        found = node.call(ListDecisions(limit=limit))
    if json:
        show_json(found)
        return
    rows = [
        (moment(one.at_ms), one.what, one.node, f"{one.detail} ({one.count} times)" if one.count > 1 else one.detail)
        for one in found
    ]
    show_table(("when", "what", "node", "about"), rows)


@app.command("allow")
def allow(context: typer.Context, pattern: Pattern, remove: Remove = False, json: Json = False) -> None:
    """Put members on the list of the allowed, which counts in the mode `whitelist`. It holds at once.

    Example: cis acl allow "work*"
    """
    with node_of(context) as node:
        edited = node.call(EditAccess(verb="allow", pattern=pattern, remove=remove))
    _say_edited(edited, json, *_said(pattern, "allowed", remove=remove))


@app.command("deny")
def deny(context: typer.Context, pattern: Pattern, remove: Remove = False, json: Json = False) -> None:
    """Have this node refuse members, whatever allows them. It holds at once; other nodes go on with them.

    Example: cis acl deny old-laptop
    """
    with node_of(context) as node:
        edited = node.call(EditAccess(verb="deny", pattern=pattern, remove=remove))
    _say_edited(edited, json, *_said(pattern, "denied", remove=remove))


@app.command("mode")
def mode(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="MODE", help="open, whitelist, solitary or quarantine.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Choose which members this node connects with. It holds at once, and admits nobody who is no member.

    open: all that are not denied. whitelist: only the allowed. solitary: nobody. quarantine: they are connected and
    recorded, and nothing is exchanged.

    Example: cis acl mode whitelist
    """
    if wanted not in {"open", "whitelist", "solitary", "quarantine"}:
        raise UsageError(f"mode {wanted}: there are open, whitelist, solitary and quarantine")
    with node_of(context) as node:
        edited = node.call(SetAccessMode(mode=wanted))  # type: ignore[arg-type] # one of the four
    _say_edited(edited, json, f"the mode is {wanted}", f"the mode is {wanted} already")


@app.command("grant")
def grant(
    context: typer.Context,
    member: Member,
    role: Annotated[str, typer.Argument(help="admin, writer, reader or blind.", show_default=False)],
    space: Spaces = None,
    recovery_key: RecoveryKey = False,
    json: Json = False,
) -> None:
    """Give a member, or one that was removed, a role: in the public space unless spaces are named.

    An admin has a part in every space; blind is who keeps and passes on what it cannot read. Where no admin is left, a
    node makes itself one with the recovery key.

    Example: cis acl grant phone reader --space notes
    """
    if role not in {"admin", "writer", "reader", "blind"}:
        raise UsageError(f"role {role}: there are admin, writer, reader and blind")
    key = _recovery_key() if recovery_key else None
    request = GrantRole(node=member, role=role, spaces=tuple(space or ()), recovery_key=key)  # type: ignore[arg-type] # one of the four
    with node_of(context) as node:
        granted = node.call(request)
    if json:
        show_json(granted)
        return
    roles = "; ".join(f"{has} in {name}" for name, has in granted.spaces.items())
    say(f"{granted.name} {'is' if granted.changed else 'was already'}: {roles}")


@app.command("revoke")
def revoke(
    context: typer.Context,
    member: Member,
    space: Spaces = None,
    recovery_key: RecoveryKey = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a node from the cluster, or from spaces, and make new keys for those who stay.

    It is disconnected wherever that is heard, and can neither return nor read what is written under the new keys.

    Example: cis acl revoke laptop
    """
    spaces = tuple(space or ())
    with node_of(context) as node:
        plan = node.call(PlanRevocation(node=member, spaces=spaces, recovery=recovery_key))
        if not yes:
            agree(f"{_planned(plan)} Go on?")
        key = _recovery_key() if recovery_key else None
        done = node.call(RevokeMember(node=plan.did, spaces=spaces, recovery_key=key))
        if json:
            show_json(done)
        else:
            _say_revoked(plan, done, running=node.running)


@app.command("rotate")
def rotate(context: typer.Context, space: Spaces = None, json: Json = False) -> None:
    """Make new keys, of all spaces and the cluster unless spaces are named. Removing a node does it by itself.

    Example: cis acl rotate --space notes
    """
    with node_of(context) as node:
        rotated = node.call(RotateKeys(spaces=tuple(space or ())))
    if json:
        show_json(rotated)
    else:
        say(f"new keys: {', '.join(rotated.keys)}")


def _member(one: MemberShown) -> tuple[str, ...]:
    by_role: dict[str, list[str]] = {}
    for space, role in one.spaces.items():
        by_role.setdefault(role, []).append(space)
    spaces = "all" if one.role == "admin" else "; ".join(f"{role}: {', '.join(by_role[role])}" for role in by_role)
    here = "this node" if one.this_node else f"{_ACCESS[one.access]}: {one.why}"
    return one.name, one.role, spaces, moment(one.since_ms), here


def _show_removed(found: AclShown) -> None:
    if found.removed:
        say("")
        rows = [
            (one.name, one.did, ", ".join(one.spaces) or "the cluster", one.by, moment(one.at_ms))
            for one in found.removed
        ]
        show_table(("removed", "did", "from", "by", "when"), rows)


def _key(one: KeyShown) -> tuple[str, ...]:
    age = ago(max(0.0, time.time() - one.since_ms / 1000)) if one.since_ms is not None else "?"
    state = "" if one.usable else "known to a removed member: an admin's node makes another"
    return one.space, age, str(one.earlier), state


def _said(pattern: str, what: str, *, remove: bool) -> tuple[str, str]:
    """Return what to say of a list of the allowed or denied that changed, and of one that did not."""
    if remove:
        return f"{pattern} is off the list of the {what}", f"{pattern} was not on the list of the {what}"
    return f"{pattern} is {what}", f"{pattern} is {what} already"


def _say_edited(edited: AccessEdited, json: bool, done: str, unchanged: str) -> None:
    if json:
        show_json(edited)
        return
    say(done if edited.changed else unchanged)
    for one in edited.affected:
        say(f"  {one.name}: {_ACCESS[one.before]} until now, {_ACCESS[one.after]} from now on")
    if edited.note:
        tell(edited.note)


def _planned(plan: RevocationPlan) -> str:
    what = (
        "is removed from the cluster: it is disconnected, cannot return uninvited, and what it writes counts no more"
        if plan.whole
        else f"loses {', '.join(plan.spaces)}"
    )
    keys = f"New keys: {', '.join(plan.new_keys)}." if plan.new_keys else "No key changes, since it had none."
    return f"{plan.name} ({plan.role}, {plan.did}) {what}. {keys} What it has read it may keep."


def _say_revoked(plan: RevocationPlan, done: Revoked, *, running: bool) -> None:
    say(f"{done.name} is removed" if plan.whole else f"{done.name} has lost {', '.join(plan.spaces)}")
    if done.heard:
        say(f"heard by {', '.join(done.heard)}")
    if done.unheard:
        say(f"perhaps not yet by {', '.join(done.unheard)}: each learns it from the first member it meets that knows")
    for ticket in done.tickets:
        named = f" {ticket.name}" if ticket.name else ""
        tell(f"a ticket made here still admits{named} as {ticket.role} who holds it, until {moment(ticket.expires_ms)}")
    if not running:
        tell("no node runs here, so nobody can have heard: start it with `cis up`")


def _recovery_key() -> str:
    """Ask for the key, unseen; without a terminal it is read from standard input."""
    return ask_secret("recovery key") or sys.stdin.readline()
