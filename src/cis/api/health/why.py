"""``cis doctor --why``: why a memory is or is not on a device, judged by what this node knows of it; no I/O.

A member's device is looked at in the order in which things can be missing there: the space, the role, the key, the
change itself, then the way it would take. What it last stated to hold decides; where it stated nothing, the answer is
unknown, and the rows say what is in the way. An explanation tells what this node knows: what another node refuses for
reasons of its own is seen as the error it answered with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cis.api.health.doctor_schema import Row, Status
from cis.api.health.tracing import Fate, Trace
from cis.api.health.why_schema import Device
from cis.model import CHANGE_FUTURE_LIMIT_MS, NodeId, SpaceId, VersionVector, hlc_ms, node_of
from cis.trust import Member
from cis.trust.acl import REFUSAL, Access, Mode, Verdict
from cis.wire.membership import Role

NameOf = Callable[[NodeId], str]
HELD_MINUTES = CHANGE_FUTURE_LIMIT_MS // 60_000
_DENIED = "denied by "


@dataclass(frozen=True)
class Standing:
    """How things stand with one member; ``stated`` is what it told to hold, ``stated_s`` seconds ago."""

    connected: bool = False
    asked: bool = False
    stated: Mapping[SpaceId, VersionVector] = field(default_factory=dict)
    stated_s: float | None = None
    banned_s: float = 0.0
    parted: bool = False
    syncing: bool = False
    problem: str = ""
    known: bool = False
    """whether some way to it is known"""
    skew_ms: int = 0


@dataclass(frozen=True)
class Way:
    """What lies between this device and a member's: this node's own access list, and how things stand."""

    member: Member
    verdict: Verdict
    mode: Mode
    standing: Standing
    running: bool
    networking: bool


@dataclass(frozen=True)
class Case:
    """One memory in one space, and one member whose device is looked at.

    ``forked`` is whether the member's copy of the author's log and the one here contradict each other.
    """

    trace: Trace
    role: Role | None
    lacks_key: bool
    is_private: bool
    forked: bool
    now_ms: int
    way: Way

    @property
    def name(self) -> str:
        """The member's name."""
        return self.way.member.name

    @property
    def standing(self) -> Standing:
        """How things stand with the member."""
        return self.way.standing

    @property
    def holds(self) -> bool | None:
        """Whether the member has all of it by its own word; None where it never said."""
        stated = self.standing.stated.get(self.trace.space)
        return None if stated is None else all(dot in stated for dot in self.trace.dots)


def judge_member(cases: Sequence[Case], name: str) -> Device:
    """Return what is known of the memory on a member's device, from one case for each space it is in."""
    rows = [(case, row) for case in cases for check in _CHECKS if (row := check(case)) is not None]
    structural = {row.check for _, row in rows if row.status == "bad"} & {"space", "key", "memory", "author", "clock"}
    held = [case.holds for case in cases]
    has: Literal["yes", "no", "unknown"] = "no" if structural or False in held else "unknown" if None in held else "yes"
    return Device(name=name, here=False, has=has, rows=tuple(row for _, row in rows))


def judge_here(traces: Sequence[Trace], name_of: NameOf, now_ms: int) -> tuple[Row, ...]:
    """Return what became of a memory on this device, one row for each space it is in, and what is still to come."""
    rows = [_fate(trace, name_of) for trace in traces]
    rows += [_coming(trace, name_of, now_ms) for trace in traces if trace.coming and trace.fate is not Fate.HELD]
    return tuple(rows)


def has_it(traces: Iterable[Trace]) -> bool:
    """Tell whether it is shown here in some space."""
    return any(trace.fate in {Fate.SHOWN, Fate.ELSEWHERE} for trace in traces)


def _fate(trace: Trace, name_of: NameOf) -> Row:
    by = f"{name_of(node_of(trace.latest.dot.replica))} on {_when(hlc_ms(trace.latest.hlc))}"
    match trace.fate:
        case Fate.SHOWN | Fate.ELSEWHERE:
            there = trace.fate is Fate.SHOWN
            where = "" if there else "; its value is on other devices by choice"
            fix = "" if there else f"cis memory get KEY fetches it; cis space keep {trace.name} --all keeps values here"
            return _row("memory", "ok", f"in {trace.name}, written by {by}{where}", fix)
        case Fate.EXPIRED:
            found = f"in {trace.name}, written by {by}: its time to live passed on {_when(trace.expires_ms)}"
            return _row("memory", "bad", found, "write it again, with a longer --ttl or none: cis memory set KEY VALUE")
        case Fate.DELETED:
            found = f"deleted in {trace.name} by {by}, and so on every device"
            return _row("memory", "bad", found, "cis memory history KEY shows what is still known; write it again")
        case Fate.HELD:
            found = (
                f"in {trace.name}, dated ahead: {by} by its author's clock, shown once that is {HELD_MINUTES} min away"
            )
            return _row("memory", "bad", found, "set the clock of its author's device: timedatectl set-ntp true")
        case Fate.BARE:
            found = f"in {trace.name}, by {by}: its header came, its value has not"
            return _row("memory", "bad", found, "cis p2p sync --full fetches it from whoever holds it")
        case Fate.SEALED:
            fix = "connect an admin's node, which hands out keys: cis p2p connect NODE"
            return _row("memory", "bad", f"in {trace.name}, by {by}: {trace.why}", fix)


def _coming(trace: Trace, name_of: NameOf, now_ms: int) -> Row:
    last = trace.coming[-1]
    ahead_s = (hlc_ms(last.hlc) - now_ms) / 1000
    author = name_of(node_of(last.dot.replica))
    found = f"a newer change by {author} is dated {ahead_s / 60:.0f} min ahead, and waits for its time"
    return _row("memory", "warn", found, f"set the clock of {author}: timedatectl set-ntp true")


# --- another member's device ----------------------------------------------------------------------------------------


def _space(case: Case) -> Row | None:
    space, name = case.trace.name, case.name
    if case.is_private:
        fix = "write it to a space others share: cis memory set KEY VALUE --space public"
        return _row("space", "bad", "it is private, which never leaves this device", fix)
    if case.role is None:
        return _row("space", "bad", f"{name} has no part in {space}", f"cis space share {space} {name}")
    if case.role is Role.BLIND:
        fix = f"cis acl grant {name} reader --space {space}"
        return _row("space", "bad", f"{name} keeps {space} sealed: its role there is blind", fix)
    return _row("space", "ok", f"{name} is {case.role.name.lower()} in {space}")


def _key(case: Case) -> Row | None:
    if not case.lacks_key:
        return None
    fix = f"an admin's node gives it by itself: connect one to {case.name}"
    return _row("key", "bad", f"{case.name} was not given a key of {case.trace.name} yet", fix)


def _memory(case: Case) -> Row | None:
    if case.trace.fate in {Fate.DELETED, Fate.EXPIRED}:
        return _row("memory", "bad", f"it is {case.trace.fate.value} here, and so there", "as on this device")
    return None


def _stated(case: Case) -> Row | None:
    if case.is_private or case.role is None:
        return None
    when = "now" if case.standing.asked else _ago(case.standing.stated_s)
    if case.holds is None:
        return _row("changes", "warn", f"{case.name} has not told what it holds", "what is in the way is told below")
    if case.holds:
        return _row("changes", "ok", f"it has them, as it told {when}")
    fix = f"cis p2p sync --node {case.name}" if case.standing.connected else "what is in the way is told below"
    return _row("changes", "warn", f"it lacks them, as it told {when}", fix)


def _taken(case: Case) -> Row | None:
    """Whether the member set aside the log the change is in."""
    if not case.forked or case.holds:
        return None
    found = "the log it is in goes on otherwise there: its author's disk was cloned or rolled back"
    return _row("author", "bad", found, "write it again on a device that has it: cis memory set KEY VALUE")


def _reached(case: Case) -> Row | None:
    """The first thing in the way of a change that the member lacks, or may lack."""
    if case.is_private or case.role is None or case.holds or case.forked:
        return None
    return in_the_way(case.way)


def in_the_way(way: Way) -> Row | None:
    """Return the first thing in the way of whatever a member lacks; None where nothing is known to be."""
    name, standing = way.member.name, way.standing
    if way.verdict.access is not Access.ADMIT:
        return _access(name, way.verdict, way.mode)
    if not way.running:
        return _row("connection", "bad", "no node runs on this device, so nothing leaves it", "cis up --detach")
    if not way.networking:
        fix = "cis config set p2p.enabled true, then cis down; cis up --detach"
        return _row("connection", "bad", "this node opens no socket", fix)
    return _exchange(name, standing) if standing.connected else _unconnected(name, standing)


def _access(name: str, verdict: Verdict, mode: Mode) -> Row:
    if verdict.why.startswith(_DENIED):
        fix = f'cis acl deny "{verdict.why.removeprefix(_DENIED)}" --remove'
    else:
        fix = f"cis acl allow {name}" if mode is Mode.WHITELIST else "cis acl mode open"
    what = "is in quarantine" if verdict.access is Access.QUARANTINE else "is refused"
    return _row("access list", "bad", f"{name} {what} by this device: {verdict.why}", fix)


def _unconnected(name: str, standing: Standing) -> Row:
    if standing.banned_s > 0:
        found = f"{name} broke the protocol and is shut out for {standing.banned_s:.0f} s"
        return _row("connection", "bad", found, f"update cis on {name}; the ban ends by itself")
    if standing.parted:
        return _row("connection", "bad", "it was closed by `cis p2p disconnect`", f"cis p2p connect {name}")
    if REFUSAL in standing.problem:
        found = f"{name} refuses this device by its own access list"
        return _row("connection", "bad", found, f"on {name}: cis acl show, then cis acl allow or cis acl deny --remove")
    why = standing.problem or ("" if standing.known else "no address of it is known")
    found = f"{name} is not connected" + (f": {why}" if why else "")
    return _row("connection", "bad", found, f"cis p2p connect {name}, which says what becomes of each attempt")


def _exchange(name: str, standing: Standing) -> Row:
    if standing.problem:
        found = f"connected, and the exchange fails: {standing.problem}"
        return _row("connection", "bad", found, f"cis p2p sync --node {name}; the log of {name} says more")
    if standing.syncing:
        return _row("connection", "warn", "an exchange is under way", "wait a moment, then ask again")
    return _row("connection", "warn", "connected, and not exchanged yet", f"cis p2p sync --node {name}")


def _clock(case: Case) -> Row | None:
    """Whether what the member holds is dated ahead of its clock, so that it does not show it yet."""
    ahead_ms = hlc_ms(case.trace.latest.hlc) - (case.now_ms + case.standing.skew_ms)
    if not case.holds or case.trace.fate not in {Fate.SHOWN, Fate.ELSEWHERE} or ahead_ms <= CHANGE_FUTURE_LIMIT_MS:
        return None
    found = f"dated {ahead_ms / 60_000:.0f} min ahead of the clock of {case.name}, where it is held back"
    return _row("clock", "bad", found, f"set the clock of {case.name}: timedatectl set-ntp true")


_CHECKS: tuple[Callable[[Case], Row | None], ...] = (_space, _key, _memory, _stated, _taken, _reached, _clock)


def _row(check: str, status: Status, found: str, fix: str = "") -> Row:
    return Row(check=check, status=status, found=found, fix=fix)


def _when(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def _ago(seconds: float | None) -> str:
    return "before" if seconds is None else f"{seconds:.0f} s ago"
