"""The access list of one node: which members it holds connections with. It admits nobody the cluster did not.

The list is this node's own and travels nowhere. A pattern is a glob (``*``, ``?``, ``[a-z]``) on the name a member
was *assigned*, written ``did:cis:work*`` or plainly ``work*``, or on its DID, ``did:key:z6Mk…*``; what a node calls
itself is never asked. Denying goes before allowing.

========== ==============================================
mode       a member
========== ==============================================
open       is admitted unless denied
whitelist  is admitted if allowed, and not denied
solitary   is refused, whoever it is
quarantine is connected unless denied; nothing is exchanged
========== ==============================================

Sketch: ``Acl(Mode.WHITELIST, allowed=("did:cis:work*",)).judge(node, "workstation").access is Access.ADMIT``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from cis.errors import UsageError
from cis.model import NodeId, did_of

NAME_PREFIX = "did:cis:"
DID_PREFIX = "did:key:"
REFUSAL = "the access list there does not admit this node"
"""What a refused member is told: not by which pattern."""

_NAME_GLOB = re.compile(r"[a-z0-9*?\[\]!-]{1,80}")
_DID_GLOB = re.compile(r"[A-Za-z0-9*?\[\]!-]{1,80}")


class Mode(enum.StrEnum):
    """Which members are let in, when nothing else is said of them; see the table above."""

    OPEN = "open"
    WHITELIST = "whitelist"
    SOLITARY = "solitary"
    QUARANTINE = "quarantine"


class Access(enum.StrEnum):
    """What becomes of a connection with a member."""

    ADMIT = "admit"
    REFUSE = "refuse"
    QUARANTINE = "quarantine"
    """it stands, authenticated, and nothing is exchanged over it"""


class Verdict(NamedTuple):
    """What is done with a member, and why, for the user of this node."""

    access: Access
    why: str


@dataclass(frozen=True, slots=True)
class Acl:
    """A mode and two lists of patterns, each as `check_pattern` takes it."""

    mode: Mode = Mode.OPEN
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def judge(self, node: NodeId, name: str) -> Verdict:
        """Say what becomes of a connection with a member; ``name`` is the one it was assigned."""
        if self.mode is Mode.SOLITARY:
            return Verdict(Access.REFUSE, "the mode is solitary")
        if (pattern := _first(self.denied, node, name)) is not None:
            return Verdict(Access.REFUSE, f"denied by {pattern}")
        if self.mode is Mode.QUARANTINE:
            return Verdict(Access.QUARANTINE, "the mode is quarantine")
        if self.mode is Mode.OPEN:
            return Verdict(Access.ADMIT, "the mode is open")
        if (pattern := _first(self.allowed, node, name)) is not None:
            return Verdict(Access.ADMIT, f"allowed by {pattern}")
        return Verdict(Access.REFUSE, "the mode is whitelist, and nothing allows it")


def check_pattern(text: str) -> str:
    """Return a pattern; `UsageError` for one that could match no member."""
    is_did = text.startswith(DID_PREFIX)
    glob = text.removeprefix(DID_PREFIX if is_did else NAME_PREFIX)
    if (_DID_GLOB if is_did else _NAME_GLOB).fullmatch(glob) is None:
        raise UsageError(
            f"{text[:100]!r} is no pattern: write a member's name with * and ?, as work* or did:cis:work*, "
            "or a DID, as did:key:z6Mk…"
        )
    return text


def spelt_out(pattern: str) -> str:
    """Return the one spelling of a pattern, so that ``work*`` and ``did:cis:work*`` are known to be the same."""
    return pattern if pattern.startswith("did:") else NAME_PREFIX + pattern


def _first(patterns: Iterable[str], node: NodeId, name: str) -> str | None:
    return next((pattern for pattern in patterns if _matches(pattern, node, name)), None)


def _matches(pattern: str, node: NodeId, name: str) -> bool:
    if pattern.startswith(DID_PREFIX):
        return fnmatchcase(did_of(node), pattern)
    return fnmatchcase(name, pattern.removeprefix(NAME_PREFIX))
