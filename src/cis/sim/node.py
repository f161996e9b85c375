"""A simulated node: the real store, the real core, sessions by the real machine; time and links are the world's.

It performs what `cis.node.core.core` decides, as `cis.node.driver` does. A crash drops everything but the files; a
restart opens them again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol, cast

from cis.errors import PeerFault
from cis.gossip import Gossip
from cis.model import NodeId
from cis.node.bulletins.hearing import Message
from cis.node.bulletins.stability import STABILITY, Stability
from cis.node.core import events
from cis.node.core.choosing import Choice
from cis.node.core.core import Core
from cis.node.membership.cluster import Cluster
from cis.node.streams.links import BLAMELESS
from cis.peers import PeerBook, Target
from cis.sim.conversing import Conversation
from cis.sim.kernel import Kernel, Plan
from cis.sim.members import START_MS, Members
from cis.sim.recovering import Recovering
from cis.sim.telling import Telling
from cis.sim.upkeep import Upkeep
from cis.store.engine import Commit
from cis.store.ledger import load_cluster, owes_withdrawal, save_cluster
from cis.store.store import Setting, Store
from cis.trust import Identity, read_entry
from cis.trust.entries import id_of
from cis.trust.identity import Label
from cis.wire.membership import Role
from cis.wire.messages import encode, is_segment

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode

STORE_KEY = b"k" * 32


class Surroundings(Protocol):
    """What a node needs of its world."""

    kernel: Kernel
    members: Members

    def dial(self, node: SimNode, target: Target) -> None:
        """Answer with `SimNode.adopt` or a `DialFailed`."""

    def committed(self, node: SimNode, commit: Commit) -> None:
        """A transaction of the node's brought changes; called before anything is answered."""

    def forge(self, node: SimNode, frame: bytes) -> bytes:
        """Return what the node says in place of a message: the same, but for the Byzantine."""

    def blamed(self, node: SimNode, other: int, reason: str) -> None:
        """A node closed a connection because the other broke the protocol."""

    def read(self, node: SimNode, message: Message) -> None:
        """A reader at the node got a message."""

    def changed(self, node: SimNode) -> None:
        """The node is another, though no change was committed: entries took effect, or what others collected."""

    def count(self, what: str) -> None:
        """Something happened."""


class SimNode:
    """Member ``number``; `start` and `crash` it as often as you like.

    ``sync_s`` is the interval of sessions, ``collect_s`` that of telling what is held, and with ``collects`` of
    collecting what is stable; 0 for never.
    """

    def __init__(
        self, world: Surroundings, number: int, folder: Path, sync_s: float, collect_s: float, *, collects: bool = True
    ) -> None:
        self.world = world
        self.number = number
        self.identity = world.members.identities[number]
        self.folder = folder
        self.skew_ms = 0
        self.lives = 0
        self.up = False
        self.honest = True
        self.sightings: tuple[Target, ...] = ()
        self.store: Store
        self.cluster: Cluster
        self.core: Core
        self.talk: Conversation
        self.telling: Telling
        self.recovering: Recovering
        self.upkeep: Upkeep
        self.stability: Stability
        self._sync_s = sync_s
        self._collect_s = collect_s
        self._collects = collects
        self._chance = Random(world.kernel.rng.getrandbits(64))
        self._reported: deque[events.Event] = deque()
        self._timer: Plan | None = None

    @property
    def id(self) -> NodeId:
        """The node id."""
        return self.identity.node

    @property
    def writes(self) -> bool:
        """Whether its users may write, as far as it knows."""
        role = self.cluster.membership.space_role(self.id, self.cluster.public)
        return role in {Role.ADMIN, Role.WRITER}

    def entropy(self, length: int) -> bytes:
        """Return bytes drawn from the seed, in place of the system's."""
        return self._chance.randbytes(length)

    def clock_ms(self) -> int:
        """What its clock shows, right or wrong."""
        return START_MS + int(self.world.kernel.now * 1000) + self.skew_ms

    # --- life ------------------------------------------------------------------------------------------------------

    def prepare(self, known: int) -> None:
        """Make the store of a member that knows the first ``known`` entries of the membership log, and its own."""
        members = self.world.members
        self.folder.mkdir()
        rows = [(read_entry(raw).id, raw) for raw in members.entries[: max(known, self.number + 1)]]
        keys = members.keys[self.number].encode()
        store = Store(self.folder, STORE_KEY, self._setting(), threaded=False)
        store.execute(lambda connection: save_cluster(connection, members.cluster, keys, rows)).result()
        store.close()

    def start(self) -> None:
        """Open the store and begin to look for the others."""
        self.store = Store(self.folder, STORE_KEY, self._setting(), threaded=False)
        record = self.store.execute(load_cluster).result()
        self.cluster = Cluster(self.identity, record, self.entropy, self.clock_ms)
        self.cluster.open_spaces(self.store)
        if self.store.execute(owes_withdrawal).result():
            self.cluster.withdraw(self.store)
        self.store.on_commit(lambda commit: self.world.committed(self, commit))
        self.talk, self.recovering, self.upkeep = Conversation(self), Recovering(self), Upkeep(self)
        self.telling = Telling(self, lambda message: self.world.read(self, message))
        self.stability = Stability(cast("LocalNode", self), collects=self._collects)  # what it needs of one is here
        rng = Random(self._chance.getrandbits(64))
        book, targets_of = PeerBook(self.id, rng), self.talk.targets_of
        gossip = Gossip(self.id, self.talk.own_record, rng, taste=Choice(book, rng))
        self.core = Core(self.id, book, gossip, rng, self._sync_s, targets_of, self.cluster.sharing)
        self._reported.clear()
        self.lives += 1
        self.up = True
        self.upkeep.begin()
        if self._collect_s:
            self.later(self._collect_s * self._chance.uniform(0.5, 1.5), self._collect)

    def crash(self) -> None:
        """Lose everything but the files."""
        self.up = False
        self.talk.vanish()
        self.store.close()

    def _collect(self) -> None:
        """Collect what all members have had, and tell them what this node holds."""
        self.world.count("collections")
        for report in self.stability.round():
            self.telling.topics.tell_system(STABILITY, report)
        self.later(self._collect_s * self._chance.uniform(0.5, 1.5), self._collect)

    def broadcast(self) -> None:
        """Tell all members something, as a user does."""
        self.telling.tell_news()

    def later(self, delay_s: float, action: Callable[[], None]) -> Plan:
        """Do something after a while, if this life of the node lasts that long."""
        core = self.core
        return self.world.kernel.after(delay_s, lambda: action() if self.up and self.core is core else None)

    def report(self, event: events.Event) -> None:
        """Give the core an event and perform what it decides; what this leads to has its turn afterwards."""
        self._reported.append(event)
        if len(self._reported) > 1:
            return
        core = self.core
        while self._reported:
            for effect in core.handle(self._reported[0], self.world.kernel.now):
                self._perform(effect)
            self._reported.popleft()
        if self._timer is not None:
            self._timer.cancel()
        at = core.next_timer()
        if at is not None:
            self._timer = self.world.kernel.at(at, lambda: self._tick(core))

    def _tick(self, core: Core) -> None:
        if self.up and self.core is core:
            self.report(events.Ticked())

    # --- memories --------------------------------------------------------------------------------------------------

    def told(self, commit: Commit) -> None:
        """Send what was written here."""
        frames = tuple(encode(one) for one in commit.written if one.space == self.cluster.public)
        if frames:
            self.later(0.0, lambda: self.report(events.Written(frames)))

    def _setting(self) -> Setting:
        return Setting(
            self.id,
            signer(self.identity),
            lambda space: self.cluster.authority(space),  # noqa: PLW0108 - the cluster is loaded after the store
            lambda *changeset: self.cluster.judge(*changeset),  # noqa: PLW0108 - as above
            lambda *log: self.cluster.limit(*log),  # noqa: PLW0108 - as above
            self.clock_ms,
            self.entropy,
        )

    def outgoing(self, frame: bytes) -> bytes:
        """Return the message as this node says it."""
        return frame if self.honest else self.world.forge(self, frame)

    # --- effects ---------------------------------------------------------------------------------------------------

    def _perform(self, effect: events.Effect) -> None:
        ends = self.talk.ends
        match effect:
            case events.Dial(target):
                self.world.dial(self, target)
            case events.Close(link, fault, reason) if link in ends:
                self.later(0.0, lambda: self.talk.close(link, fault, reason))
            case events.Synchronise(link) if link in ends:
                self.later(0.0, lambda: self.talk.exchanges.synchronise(link))
            case events.Compare(link) if link in ends:
                self.later(
                    0.0,
                    lambda: self.talk.exchanges.audit(link, lambda error: self.report(events.Compared(link, error))),
                )
            case events.GossipSend(link, message) if link in ends:
                ends[link].send_message(encode(message))
            case events.Examine(link, id_, body):
                self.later(0.0, lambda: self._examine(link, id_, body))
            case events.Introduce(link) if link in ends:
                self.talk.introduce(link)

    def _examine(self, link: events.LinkId, id_: bytes, body: bytes) -> None:
        """Look at what came by gossip, as `cis.node.examining` does: commit a segment, open a bulletin."""
        end = self.talk.ends.get(link)
        try:
            if is_segment(body):
                self.report(events.Examined(id_, sound=True, gap=self.store.merge(body).result().gap))
                return
            verdict = self.telling.topics.take(body)
        except PeerFault as fault:
            if end is not None:
                self.talk.blame(end, fault)
            self.report(events.Examined(id_, sound=False, gap=fault.fault in BLAMELESS))
            return
        if verdict.entries:
            self._learn_told(id_, verdict.entries)
        else:
            self.report(events.Examined(id_, verdict.sound, verdict.gap))

    def _learn_told(self, id_: bytes, entries: Iterable[bytes]) -> None:
        """Add what a bulletin told; its author answers for it, not who passed it on."""
        try:
            self.upkeep.learn(entries)
        except PeerFault:
            self.report(events.Examined(id_, sound=False, gap=True))
            return
        known = all(self.cluster.membership.knows(id_of(raw)) for raw in entries)
        self.report(events.Examined(id_, sound=True, gap=not known))


def signer(identity: Identity) -> Callable[[bytes], bytes]:
    """Return what signs changesets as an identity."""
    return lambda message: identity.sign(Label.CHANGESET, message[len(Label.CHANGESET.value) :])
