"""What `cis doctor` asks of a node, and how it answers."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request

Status = Literal["ok", "warn", "bad"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: how it is, and what to type where it should be otherwise."""

    check: str
    status: Status
    found: str
    fix: str = ""


class TrustFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of its cluster that bears on security; lists hold names, times are Unix milliseconds."""

    members: int
    admins: tuple[str, ...]
    removed: int
    recovery: bool
    """whether the cluster was founded with a recovery key"""
    unrenewed: tuple[str, ...]
    """spaces, and the discovery key, whose key a removed member knows"""
    lacking: tuple[str, ...]
    """members that lack keys they are entitled to"""
    renewed_ms: int
    """when a key was last made anew, else when the cluster was founded"""
    now_ms: int
    tickets_ms: tuple[int, ...]
    """when tickets that may still be used expire"""
    silent_days: dict[str, int]
    """for how long members reported nothing, while this node was there to hear"""
    skews_ms: dict[str, int] = {}
    """how far the clocks of members are ahead, as far as they were asked"""


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the whole store found.

    ``changes`` were verified against their signatures; ``damaged`` runs of them are missing or not what was signed,
    ``wrong`` memories are shown otherwise than their changes say; ``complaints`` are SQLite's about the file.
    """

    changes: int
    damaged: int
    wrong: int
    complaints: tuple[str, ...] = ()


class CheckStore(Request[Integrity], frozen=True, kw_only=True):
    """Verify the whole store, and mend nothing; takes time in proportion to it."""

    path: ClassVar[str] = "node/check-store"


class GetTrust(Request[TrustFacts], frozen=True, kw_only=True):
    """Say what bears on the security of the cluster."""

    path: ClassVar[str] = "node/trust"
