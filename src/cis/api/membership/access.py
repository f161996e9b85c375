"""The node's own access list: edited in the settings file, and applied from then on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from cis.api.membership.trust_schema import AccessChange, AccessEdited, AccessList, EditAccess, SetAccessMode
from cis.errors import UsageError
from cis.node.home.local import LocalNode
from cis.trust import Member
from cis.trust.acl import Access, Acl, Mode, check_pattern, spelt_out

PATTERNS_MAX = 1000
"""Patterns in one list: every connection is judged by all of them."""
_LISTS = {"allow": "whitelist", "deny": "blacklist"}
_PAST = {"allow": "allowed", "deny": "denied"}


def acl_of(home: Path) -> Acl:
    """Return the access list the settings of a node say."""
    from cis.api.membership.access_file import read_acl  # noqa: PLC0415 - settings take as long to load as all else together

    return read_acl(home)


def shown(acl: Acl) -> AccessList:
    """Return an access list as it is told."""
    return AccessList(acl.mode.value, acl.allowed, acl.denied)


class AccessOperations:
    """Edits the list, one edit after the other; ``on_changed`` is called on the caller's thread when one is done."""

    def __init__(self, local: LocalNode, on_changed: Callable[[], None] = lambda: None) -> None:
        self._local = local
        self._home = local.home.folder
        self._on_changed = on_changed
        self._editing = threading.Lock()

    def edit(self, request: EditAccess) -> AccessEdited:
        """Put a pattern on a list, or take it off, however it is spelt there."""
        from cis.api.membership.access_file import edit_list  # noqa: PLC0415 - as above

        pattern = check_pattern(request.pattern.strip())
        with self._editing:
            before = acl_of(self._home)
            listed = before.allowed if request.verb == "allow" else before.denied
            changed = request.remove == (spelt_out(pattern) in map(spelt_out, listed))
            if changed and not request.remove and len(listed) >= PATTERNS_MAX:
                raise UsageError(f"the list holds {PATTERNS_MAX} patterns already: write fewer, with * and ?")
            if changed:
                edit_list(self._home, _LISTS[request.verb], pattern, remove=request.remove)
            after = self._apply()
        if changed:
            self._local.record(("no longer " if request.remove else "") + _PAST[request.verb], None, pattern)
        return self._edited(before, after, changed=changed, note=self._note(request, pattern, after))

    def set_mode(self, request: SetAccessMode) -> AccessEdited:
        """Choose the mode."""
        from cis.api.membership.access_file import write_mode  # noqa: PLC0415 - as above

        with self._editing:
            before = acl_of(self._home)
            changed = before.mode != request.mode
            if changed:
                write_mode(self._home, request.mode)
            after = self._apply()
        if changed:
            self._local.record("mode", None, request.mode)
        admitted = any(after.judge(one.node, one.name).access is Access.ADMIT for one in self._others())
        nobody = after.mode is Mode.WHITELIST and not admitted
        note = "no member is allowed, so this node connects to nobody: `cis acl allow NAME`" if nobody else ""
        return self._edited(before, after, changed=changed, note=note)

    def again(self) -> None:
        """Let the list hold that stands in the settings now; no edit made meanwhile is undone."""
        with self._editing:
            if acl_of(self._home) != self._local.cluster.acl:
                self._apply()

    def _apply(self) -> Acl:
        """Read back what was written, and let it hold."""
        acl = acl_of(self._home)
        self._local.cluster.acl = acl
        self._on_changed()
        return acl

    def _edited(self, before: Acl, after: Acl, *, changed: bool, note: str) -> AccessEdited:
        affected = []
        for one in self._others():
            was, now = (acl.judge(one.node, one.name).access for acl in (before, after))
            if was is not now:
                affected.append(AccessChange(one.name, was.value, now.value))
        return AccessEdited(access=shown(after), changed=changed, affected=tuple(affected), note=note)

    def _note(self, request: EditAccess, pattern: str, after: Acl) -> str:
        if request.remove:
            return ""
        alone = Acl(denied=(pattern,))
        matched = [one for one in self._others() if alone.judge(one.node, one.name).access is Access.REFUSE]
        if request.verb == "deny" and matched:
            names = matched[0].name if len(matched) == 1 else "NAME"
            return f"the other members still accept it: `cis acl revoke {names}` removes it from the cluster"
        if request.verb == "deny":
            return "no member has such a name now"
        denied = Acl(denied=after.denied)
        if any(denied.judge(one.node, one.name).access is Access.REFUSE for one in matched):
            return "it is denied too, which goes before: `cis acl deny PATTERN --remove`"
        if after.mode is not Mode.WHITELIST:
            return f"the mode is {after.mode}, in which this list counts for nothing: `cis acl mode whitelist`"
        return "" if matched else "no member has such a name now"

    def _others(self) -> list[Member]:
        own = self._local.identity.node
        return [one for one in self._local.cluster.membership.members() if one.node != own]
