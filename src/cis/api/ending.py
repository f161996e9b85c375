"""When a running node ends by itself: after a time, once conditions hold, or after too many failures.

================= ==== =========================================================================================
ended by          exit as soon as
================= ==== =========================================================================================
``until``         0    all its conditions hold at one moment
``max_failures``  1    so many dials in a row came to nothing while no member was connected, or so many sessions
                       in a row failed
``max_runtime``   5    the time is over and ``until`` never held; 0 where there was none
a signal, `down`  0
================= ==== =========================================================================================

A condition is ``synced``, or a count compared with a number by ``>=``, ``>`` or ``=``: ``peers`` (members that are
connected, hence authenticated; those in quarantine are not among them), ``members`` (of the cluster, this node
included), ``memories`` (public ones).

A node is ``synced`` when it is connected with at least one member, has with each of them ended a session well since
they connected, has none under way, being served or planned, and each of them, asked then, says that it holds just what
this node holds of every space the two share.

Each address that is tried is a dial of its own; a connection ends the row of failed dials, a session that ends well
that of failed sessions. Neither is a failure: an address at which this node met itself, an attempt given up because
another was quicker, a session that made way for one the peer began.

A node that ends is connected no more: of two that both wait to be ``synced``, the slower waits in vain.

This room is pure; `cis.api.end_watch` watches a node and asks it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cis.errors import UsageError

COUNTS = {"peers": "connected", "members": "members", "memories": "public memories"}
"""What can be counted, and how a number of it is told."""
SYNCED = "synced"
RUNTIME_S_MIN, RUNTIME_S_MAX = 0.001, 3650 * 86_400.0
_CONDITION = re.compile(r"(?P<count>[a-z]+)\s*(?P<sign>>=|>|=)\s*(?P<number>\d{1,9})")
_GRAMMAR = "write synced, or peers, members or memories with >=, > or = and a number, as in 'peers>=3'"
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


@dataclass(frozen=True)
class Condition:
    """What is to hold; ``sign`` and ``number`` are empty for ``synced``."""

    count: str
    sign: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.count}{self.sign}{self.number if self.sign else ''}"


@dataclass(frozen=True)
class Terms:
    """What ends the node; nothing does by itself where all is left out."""

    max_runtime_s: float | None = None
    until: tuple[Condition, ...] = ()
    max_failures: int | None = None

    def speak_of(self, what: str) -> bool:
        """Tell whether a condition is about that."""
        return any(one.count == what for one in self.until)


NO_TERMS = Terms()


@dataclass(frozen=True)
class Ended:
    """Why a node ended, and the exit code of its process."""

    code: int
    why: str


@dataclass(frozen=True)
class Row:
    """Failures in a row, and what the last was."""

    length: int = 0
    last: str = ""

    def followed_by(self, failure: str) -> Row:
        """Return the row with one more."""
        return Row(self.length + 1, failure)

    def told(self, what: str) -> str:
        """Say how long it is."""
        return f"{self.length} {what}s in a row" if self.length > 1 else f"1 {what}"


@dataclass(frozen=True)
class Facts:
    """How things stand."""

    peers: int = 0
    members: int = 0
    memories: int = 0
    apart: str | None = None
    """why the node is not in step with its peers; empty where it is, None while they were not asked"""
    dials: Row = Row()
    sessions: Row = Row()


def terms_of(max_runtime_s: float | None, until: Sequence[str], max_failures: int | None) -> Terms:
    """Return the terms users put; `UsageError` for any that means nothing."""
    if max_runtime_s is not None and not RUNTIME_S_MIN <= max_runtime_s <= RUNTIME_S_MAX:
        raise UsageError(f"--max-runtime {span(max_runtime_s)}: from 1ms to {span(RUNTIME_S_MAX)}")
    if max_failures is not None and max_failures < 1:
        raise UsageError(f"--max-failures {max_failures}: it takes one at least")
    return Terms(max_runtime_s, tuple(map(parse_condition, until)), max_failures)


def parse_condition(text: str) -> Condition:
    """Return the condition a text stands for; `UsageError` for anything that is none."""
    stripped = text.strip()
    if stripped == SYNCED:
        return Condition(SYNCED)
    found = _CONDITION.fullmatch(stripped)
    if found is None:
        raise UsageError(f"--until {text!r} is no condition: {_GRAMMAR}")
    if found["count"] not in COUNTS:
        raise UsageError(f"--until {text!r}: {found['count']} cannot be counted; {_GRAMMAR}")
    return Condition(found["count"], found["sign"], int(found["number"]))


def require_possible(terms: Terms, *, networking: bool) -> None:
    """Raise `UsageError` for what a node that opens no socket cannot come to."""
    if networking:
        return
    waits = [str(one) for one in terms.until if one.count != "memories"]
    if waits or terms.max_failures is not None:
        what = f"--until '{waits[0]}'" if waits else "--max-failures"
        raise UsageError(f"{what}: this node opens no socket (p2p.enabled = false), so that never comes")


def judge(terms: Terms, facts: Facts, elapsed_s: float) -> Ended | None:
    """Say why the node is to end now, None where it is to go on."""
    unmet = [one for one in terms.until if not _holds(one, facts)]
    if terms.until and not unmet:
        verb = "holds" if len(terms.until) == 1 else "hold"
        return Ended(0, f"{_all_of(terms)} {verb} after {elapsed_s:.1f} s")
    if terms.max_failures is not None and facts.dials.length >= terms.max_failures:
        return Ended(1, f"{facts.dials.told('dial')} came to nothing, the last of {facts.dials.last}")
    if terms.max_failures is not None and facts.sessions.length >= terms.max_failures:
        return Ended(1, f"{facts.sessions.told('session')} failed, the last with: {facts.sessions.last}")
    if terms.max_runtime_s is not None and elapsed_s >= terms.max_runtime_s:
        over = f"{span(terms.max_runtime_s)} are over"
        if not terms.until:
            return Ended(0, over)
        together = " together" if len(terms.until) > 1 else ""
        told = [_standing(one, facts) for one in unmet if one.count != SYNCED or facts.apart is not None]
        return Ended(5, f"{over}; {_all_of(terms)} never held{together}: {'; '.join(dict.fromkeys(told))}")
    return None


def waits_for_more(terms: Terms, facts: Facts) -> bool:
    """Tell whether any condition but ``synced`` does not hold."""
    return any(one.count != SYNCED and not _holds(one, facts) for one in terms.until)


def _holds(one: Condition, facts: Facts) -> bool:
    if one.count == SYNCED:
        return facts.apart == ""
    counted: int = getattr(facts, one.count)
    if one.sign == "=":
        return counted == one.number
    return counted > one.number or (one.sign == ">=" and counted == one.number)


def _standing(one: Condition, facts: Facts) -> str:
    return facts.apart or "" if one.count == SYNCED else f"{getattr(facts, one.count)} {COUNTS[one.count]}"


def span(seconds: float) -> str:
    """Write a time span as users do: ``10m``, ``90s``."""
    for unit_s, name in _UNITS:
        if seconds >= unit_s and not seconds % unit_s:
            return f"{seconds / unit_s:.0f}{name}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def _all_of(terms: Terms) -> str:
    *others, last = map(str, terms.until)
    return f"{', '.join(others)} and {last}" if others else last
