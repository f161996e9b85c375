"""What is asked about one memory that is not where it is looked for, and how it is answered."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request
from cis.api.health.doctor_schema import Row


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a memory on one device: whether it is there, and each thing that bears on it."""

    name: str
    here: bool
    """whether it is the device asked"""
    has: Literal["yes", "no", "unknown"]
    rows: tuple[Row, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, this device first."""

    key: str
    devices: tuple[Device, ...]


class ExplainMemory(Request[Explanation], frozen=True, kw_only=True):
    """Say why a memory is or is not on this device, and on the node named, else on every other member."""

    path: ClassVar[str] = "node/why"
    key: str
    space: str | None = None
    """look in this one alone"""
    node: str | None = None
