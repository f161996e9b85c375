"""What is asked about pairing and what is answered: a code is shown, or taken, and then two devices are one cluster."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cis.api.control.protocol import Request
from cis.api.peers.network_schema import RoleName
from cis.node.home.renamed import Renamed


class CodeShown(msgspec.Struct, frozen=True, kw_only=True, tag="code"):
    """The code to type on the other device; ``found`` where it can find this one by itself on the local network.

    ``anchors`` show it too; ``problems`` say why others do not.
    """

    code: str
    expires_s: float
    addresses: tuple[str, ...]
    found: bool
    anchors: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class DevicesPaired(msgspec.Struct, frozen=True, kw_only=True, tag="paired"):
    """Two devices are of one cluster; ``words`` are the same on both, or somebody stands between them.

    ``joined`` where this device is the one that joined; ``name`` and ``role`` are the joining device's,
    ``skew_s`` how far the other's clock is ahead, ``members`` those of the cluster.
    """

    peer: str
    did: str
    words: tuple[str, ...]
    joined: bool
    name: str
    role: str
    cluster: str
    members: tuple[str, ...]
    skew_s: float


class MemoriesRenamed(msgspec.Struct, frozen=True, kw_only=True, tag="renamed"):
    """This device joined, and some of its memories go by another key now, as theirs was taken."""

    renamed: tuple[Renamed, ...]


PairEvent = CodeShown | DevicesPaired | MemoriesRenamed


class ShowCode(Request[PairEvent], frozen=True, kw_only=True):
    """Show a code for another device to take, and wait until it does: a `CodeShown`, then a `DevicesPaired`.

    ``anchor`` is used in place of those of the settings. ``role`` and ``spaces`` are what the other device gets; where
    they are given, this one invites and does not join.
    """

    path: ClassVar[str] = "pairing/show"
    stream: ClassVar[bool] = True
    anchor: str | None = None
    role: RoleName | None = None
    spaces: tuple[str, ...] = ()
    name: str | None = None


class TakeCode(Request[PairEvent], frozen=True, kw_only=True):
    """Take the code another device shows, at an address, an anchor, or wherever it is: a `DevicesPaired`."""

    path: ClassVar[str] = "pairing/take"
    stream: ClassVar[bool] = True
    code: str
    at: str | None = None
    anchor: str | None = None
    role: RoleName | None = None
    spaces: tuple[str, ...] = ()
    name: str | None = None
