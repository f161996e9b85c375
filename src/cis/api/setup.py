"""Making a node, and taking it into another's cluster: what happens while no daemon runs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cis.api.control.protocol import plain
from cis.errors import CisError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode, default_name
from cis.node.home.renamed import Renamed
from cis.trust import Identity, check_name
from cis.trust.recovery import recovery_text

PUBLIC_STUN_SETTING = "p2p.ice.use_public_stun"
DHT_SETTING = "p2p.discovery.enable_dht"
_STANDALONE = "[p2p]\nenabled = false   # this node opens no socket\n"


@dataclass(frozen=True)
class Created:
    """A node that was made, and the recovery key of its cluster, which is kept nowhere else."""

    name: str
    did: str
    home: Path
    recovery_key: str


@dataclass(frozen=True)
class Joining:
    """What joining would do, to be asked about first."""

    cluster: str
    public_memories: int
    name: str


@dataclass(frozen=True)
class Joined:
    """The cluster a node is in now."""

    name: str
    cluster: str
    members: tuple[str, ...]
    moved: int
    renamed: tuple[Renamed, ...]


def questions(folder: Path) -> dict[str, str]:
    """What to ask before services of strangers are used, by setting; nothing where there is a node or settings."""
    from cis.discovery.dht.options import INSTALL, PUBLIC_BOOTSTRAP, installed  # noqa: PLC0415 - only to ask somebody
    from cis.reach.public_stun import PUBLIC_STUN  # noqa: PLC0415 - as above

    home = Home(folder)
    if home.exists or home.config.exists():
        return {}
    needs = "" if installed() else f" (It needs libtorrent, which is not installed: {INSTALL})"
    return {
        PUBLIC_STUN_SETTING: "May this node ask public STUN servers "
        f"({', '.join(host for host, _ in PUBLIC_STUN)}) for its public address, so that your devices find a direct "
        "way through routers? They see that address and that STUN is used; they learn nothing of your devices, members "
        "or memories.",
        DHT_SETTING: f"May this node use the public BitTorrent DHT (entered by {PUBLIC_BOOTSTRAP[0][0]} and others), "
        "so that your devices find each other over the internet with nothing of your own to run? Nodes of the DHT see "
        "its address, and sealed records that they can neither read nor link from one quarter of an hour to the next."
        f"{needs}",
    }


def create_node(
    folder: Path, name: str | None, *, standalone: bool, consents: Mapping[str, bool | None] = {}
) -> Created:
    """Make identity, store and a cluster of one; `UsageError` where there is a node already.

    ``consents`` is whether the user agrees to each of the `questions`, None where nobody said.
    """
    home, recovery = Home(folder), Identity.generate(os.urandom)
    name = check_name(name or default_name(socket.gethostname()))
    with LocalNode.create(home, name, recovery=recovery.node) as local:
        if standalone and not home.config.exists():
            handle = os.open(home.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_STANDALONE)
        for setting, agreed in consents.items():
            _keep_consent(folder, setting, agreed=agreed)
        return Created(local.cluster.me.name, local.identity.did, folder, recovery_text(recovery))


def _keep_consent(folder: Path, setting: str, *, agreed: bool | None) -> None:
    """Write what was said to the settings; without a word the default holds: no."""
    if agreed is None or (not agreed and not Home(folder).config.exists()):
        return
    from cis.api.configuration.configuring import write_setting  # noqa: PLC0415 - slow to load

    write_setting(folder, setting, "true" if agreed else "false")


def check_ticket(text: str) -> None:
    """Raise `UsageError` for what is no ticket, or one that has expired by this machine's clock."""
    from cis.trust import parse_ticket  # noqa: PLC0415 - loads what only joining needs

    parse_ticket(text, time.time_ns() // 1_000_000)


class Joiner:
    """A node about to join, under ``name`` if given; a context manager that closes its store."""

    def __init__(self, folder: Path, ticket: str, name: str | None = None) -> None:
        from cis.node.entry.joining import check_may_join  # noqa: PLC0415 - loads the network
        from cis.trust import parse_ticket  # noqa: PLC0415 - as above

        wished = check_name(name) if name is not None else None
        self._local = LocalNode.open(Home(folder))
        self._name = wished or self._local.cluster.me.name
        try:
            self._ticket = parse_ticket(ticket, self._local.clock_ms())
            check_may_join(self._local, self._ticket)
        except BaseException:
            self._local.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._local.close()

    def plan(self) -> Joining:
        """Say what would move."""
        return Joining(self._ticket.cluster.hex(), self._local.public_count(), self._local.cluster.me.name)

    def join(self) -> Joined:
        """Join; raises `Unavailable` when the issuer cannot be reached, `Denied` when it refuses."""
        from cis.node.entry.joining import join  # noqa: PLC0415 - as above

        moved = self._local.public_count()
        try:
            membership = asyncio.run(join(self._local, self._ticket, self._name))
        except CisError as error:
            raise plain(error) from error
        members = tuple(sorted(member.name for member in membership.members()))
        local = self._local
        return Joined(local.cluster.me.name, membership.cluster.hex(), members, moved, local.renamed)
