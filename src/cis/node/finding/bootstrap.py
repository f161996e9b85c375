"""bootstrap.json: what this node knows of where members are, best first, so that a restart finds them again.

It is written every minute and at the end, whole or not at all: synced beside its place, renamed into it, and the folder
synced. Of the best `PEERS_KEPT_MAX` members eight addresses each are kept, none longer than 30 days after it last led
there or was last told of, but for those a user gave; nobody who is no member. What makes no sense in it is kept aside
in bootstrap.json.bad, with the reason, and the rest is used; a file that cannot be read at all is kept as
bootstrap.json.unreadable. A peers.json, as earlier versions wrote it, is read once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from cis.discovery.address import Source
from cis.errors import CisError
from cis.model import NodeId, did_of
from cis.node.finding.bootstrap_file import Bad, Calendar, Read, lasts, read, text_of
from cis.node.home.local import LocalNode
from cis.peers import Peer, PeerBook, Target
from cis.peers.choice import drawn
from cis.peers.peer import BY_INVITE
from cis.peers.score import by_score
from cis.trust.files import replace_private

_log = logging.getLogger(__name__)

SAVE_S = 60.0
PEERS_KEPT_MAX = 512
BYTES_MAX = 4 << 20
BAD_KEPT_MAX = 64
BAD_BYTES_MAX = 8 << 20
Note = Callable[[str, str], None]
"""Tells of a problem: where it is, and what."""


class Bootstrap:
    """The file of one node; any thread may write it, one at a time."""

    def __init__(self, local: LocalNode, note: Note | None = None) -> None:
        self._local = local
        self._note = note or _log_problem
        self._writing = threading.Lock()

    def load(self, now: float) -> list[Peer]:
        """Return what is written down, in the order it stands there; what makes no sense is kept aside and told of."""
        home = self._local.home
        old = not home.bootstrap.exists()
        path = home.peers_before if old else home.bootstrap
        for left in home.folder.glob(f"{home.bootstrap.name}*.part"):  # of a process that was killed as it wrote
            left.unlink(missing_ok=True)
        try:
            large = path.stat().st_size > BYTES_MAX
            found = Read() if large else read(path.read_bytes(), self._who, self._calendar(now))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._note(path.name, f"it cannot be read: {error.strerror}")
            return []
        if large or found.unreadable:
            aside = path.with_name(f"{home.bootstrap.name}.unreadable")
            path.replace(aside)
            why = f"it is larger than {BYTES_MAX >> 20} MiB" if large else found.unreadable
            self._note(home.bootstrap.name, f"{why}: the whole file is kept aside as {aside.name}")
            return []
        found = self._of_members(found)
        if found.bad:
            self._set_aside(path.name, found.bad)
        if found.bad or old:
            self.write(self._text(found.peers, now))
            home.peers_before.unlink(missing_ok=True)
        return found.peers

    def text(self, book: PeerBook, now: float) -> bytes:
        """Forget what is known no longer, and return the file for what is known."""
        book.expire(now)
        return self._text(self.known(book, now), now)

    def known(self, book: PeerBook, now: float) -> list[Peer]:
        """Return the members whose address is known, best first."""
        member = self._local.cluster.membership.member
        members = (peer for peer in book if peer.node is not None and member(peer.node) is not None)
        return by_score((peer for peer in members if any(map(lasts, peer.addresses))), now)

    def write(self, text: bytes) -> None:
        """Put a text in the place of the file; a problem where that fails."""
        with self._writing:
            try:
                replace_private(self._local.home.bootstrap, text)
            except CisError as error:
                self._note(self._local.home.bootstrap.name, str(error))

    def save(self, book: PeerBook, now: float) -> None:
        """Write down what is known."""
        self.write(self.text(book, now))

    async def keep(self, book: PeerBook) -> None:
        """Save every minute until cancelled."""
        while True:
            await asyncio.sleep(SAVE_S)
            await asyncio.to_thread(self.write, self.text(book, asyncio.get_running_loop().time()))

    def aside(self) -> list[dict[str, Any]]:
        """Return what was kept aside, the oldest first: ``at``, ``why`` and ``entry`` of each."""
        lines: list[dict[str, Any]] = []
        with contextlib.suppress(OSError):
            for line in self._local.home.bootstrap_bad.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    one = json.loads(line)
                    lines += [one] if isinstance(one, dict) else []
        return lines[-BAD_KEPT_MAX:]

    def _text(self, peers: Sequence[Peer], now: float) -> bytes:
        best = peers[:PEERS_KEPT_MAX]
        by_user = [peer for peer in peers[PEERS_KEPT_MAX:] if any(one.held for one in peer.addresses)]
        return text_of([*best, *by_user], self._local.cluster.name_of, self._calendar(now))

    def _calendar(self, now: float) -> Calendar:
        return Calendar(now, self._local.clock_ms())

    def _who(self, name: str) -> NodeId | None:
        members = self._local.cluster.membership.members()
        return next((one.node for one in members if one.name == name), None)

    def _of_members(self, found: Read) -> Read:
        """What was read, without those who are no members; who was removed is passed over in silence."""
        membership, own = self._local.cluster.membership, self._local.identity.node
        kept = Read(bad=found.bad)
        for peer in found.peers:
            if peer.node is None or peer.node == own:
                continue
            if membership.member(peer.node) is not None:
                kept.peers.append(peer)
            elif not membership.revoked(peer.node):
                places = [f"{one.host}:{one.port}" for one in peer.addresses]
                kept.bad.append(Bad("it is no member of this cluster", {"did": did_of(peer.node), "addresses": places}))
        return kept

    def _set_aside(self, name: str, bad: Sequence[Bad]) -> None:
        """Append to the file of what makes no sense, once each, the oldest going for it where it is full."""
        before = self.aside()
        known = [(one.get("why"), one.get("entry")) for one in before]
        at = datetime.fromtimestamp(self._local.clock_ms() // 1000, UTC).isoformat()
        fresh = [{"at": at, "why": one.why, "entry": one.entry} for one in bad if (one.why, one.entry) not in known]
        lines = [json.dumps(one, ensure_ascii=False) for one in [*before, *fresh][-BAD_KEPT_MAX:]]
        raw = [line.encode(errors="backslashreplace") + b"\n" for line in lines]
        while len(raw) > 1 and sum(map(len, raw)) > BAD_BYTES_MAX:
            del raw[0]
        replace_private(self._local.home.bootstrap_bad, b"".join(raw))
        what = f"{bad[0].why}" + (f", and {len(bad) - 1} more" if len(bad) > 1 else "")
        self._note(name, f"{what}: kept aside in {self._local.home.bootstrap_bad.name}, the rest is used")


def remember_peer(local: LocalNode, node: NodeId, addresses: Sequence[tuple[str, int]]) -> None:
    """Write down where a node is said to be: the issuer of the ticket this node joined by."""
    book = PeerBook(local.identity.node, Random())
    for host, port in addresses:
        book.sighted(Target(node, host, port, Source.MEMBER.value, BY_INVITE), 0.0)
    Bootstrap(local).save(book, 0.0)


def order_of_recall(peers: Sequence[Peer], now: float, rng: Random) -> list[Peer]:
    """Return peers in the order in which they are to be tried: drawn as neighbours are, and then the others."""
    from cis.node.core.overlay import NEIGHBOURS_MAX  # noqa: PLC0415 - loads gossip, which no command needs

    first = drawn(peers, NEIGHBOURS_MAX, now, rng)
    taken = {peer.node for peer in first}
    return [*first, *(peer for peer in peers if peer.node not in taken)]


def _log_problem(where: str, what: str) -> None:
    _log.warning("%s: %s", where, what)
