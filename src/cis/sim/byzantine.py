"""One member that lies: it forges, replays, floods, equivocates, withholds, impersonates, and writes on when removed.

It is an ordinary node with a second mind: what its node says in sessions it alters, and over its node's connections it
says what it likes. It hears everything that is sent, and has the keys of the reader and of nodes that were removed.
Which of its deeds a run sees is drawn; each that reached somebody is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cis.model import Kind, ReplicaId, node_of
from cis.sim.forging import Forger
from cis.sim.node import SimNode
from cis.sim.puppets import Puppet
from cis.sim.stolen import Thief
from cis.trust.identity import Identity, Label
from cis.trust.signing import _leaves, _links, _slots, verify
from cis.wire.gossip import BODY_BYTES_MAX, TREE_BYTES, Gossip
from cis.wire.messages import MembershipEntries, MembershipIds, Message, Summary, Vector, decode, encode, is_segment
from cis.wire.segment import HEADER, Segment, layout_of

if TYPE_CHECKING:
    from cis.sim.wires import End
    from cis.sim.world import World

OVERHEARD_MAX = 200
FLOOD = 40
GOSSIP_TAG = 40
EQUIVOCATES = 0.4
"""In how many runs it says two things under one dot: then states cannot be compared by their hash alone."""
ABUSES = 0.5
ATTEMPTS = (
    "replay", "flood", "equivocation", "garbage", "impersonation", "reader_write", "reader_as_writer",
    "false_vector", "claimed_floor", "log_rollback", "withheld_removal",
    "unsigned_entry", "entry_without_right", "foreign_entry", "altered_entry", "backdated_entry", "abuse_of_office",
    "write_by_old_right", "new_incarnation", "forged_head", "reused_dots", "relayed_removed",
)  # fmt: skip
"""What it attempts; each is counted as ``attempt NAME``."""
Deed = Callable[[Sequence["End"]], bool]


class Byzantine:
    """Acts through its node's connections; see the module."""

    def __init__(self, world: World, node: SimNode, folder: Path) -> None:
        self.node = node
        self._world = world
        self._rng = world.kernel.rng
        self._overheard: deque[bytes] = deque(maxlen=OVERHEARD_MAX)
        self._lie = ""
        seed = self._rng.getrandbits(64)
        self._twins = [
            Puppet(world, node, folder / f"twin{one}", node.identity, seed, self._own_right) for one in (0, 1)
        ]
        self._outlaw = Puppet(world, node, folder / "outlaw", world.members.reader, seed + 1, self._own_right)
        self._thief = Thief(world, node, folder)
        self._forger = Forger(world, node)
        self._deeds = self._repertoire()

    def overhear(self, sender: int, frame: bytes) -> None:
        """Remember what others say."""
        if sender == self.node.number:
            return
        if is_segment(frame):
            self._overheard.append(frame)
        elif len(frame) > 1 and frame[1] == GOSSIP_TAG:
            said = decode(frame)
            if isinstance(said, Gossip) and is_segment(said.body):
                self._overheard.append(said.body)

    def close(self) -> None:
        """Let the stores go."""
        self._thief.close()
        for puppet in (*self._twins, self._outlaw):
            puppet.store.close()

    def act(self) -> None:
        """Do one bad deed, if there is anybody to do it to."""
        ends = [end for _, end in sorted(self.node.talk.ends.items())] if self.node.up else []
        if not ends:
            return
        if self._rng.random() < 0.2:
            self._lie = self._rng.choice(("stale", "ahead", "floor", "floor", ""))
            self._forger.rollback = self._rng.choice(("old", "withheld", ""))
            return
        name = self._rng.choice([*self._deeds, *(("equivocation",) * 3 if "equivocation" in self._deeds else ())])
        if self._deeds[name](ends):
            self._attempted(name)

    def forge(self, frame: bytes) -> bytes:
        """Return what to say instead of a message of a session or audit."""
        message = decode(frame)
        forged: Message = message
        match message:
            case Vector() if self._lie:
                forged = self._false(message)
                self._attempted("claimed_floor" if self._lie == "floor" else "false_vector")
            case Summary() | MembershipIds() | MembershipEntries() if self._forger.rollback:
                forged = self._forger.rolled_back(message)
                if forged != message:
                    self._attempted("log_rollback" if self._forger.rollback == "old" else "withheld_removal")
        return frame if forged is message else encode(forged)

    def _attempted(self, name: str) -> None:
        assert name in ATTEMPTS, name
        self._world.count("byzantine_deeds")
        self._world.count(f"attempt {name}")

    def _repertoire(self) -> dict[str, Deed]:
        forger, thief = self._forger, self._thief
        deeds: dict[str, Deed] = {
            "replay": self._replay,
            "flood": self._flood,
            "equivocation": self._equivocate,
            "garbage": self._babble,
            "impersonation": self._impersonate,
            "reader_write": self._smuggle,
            "reader_as_writer": self._sign_as_reader,
            "unsigned_entry": lambda _: self._tell(forger.unsigned()),
            "entry_without_right": lambda _: self._tell(forger.without_right()),
            "foreign_entry": lambda _: self._tell(forger.foreign()),
            "altered_entry": lambda _: self._tell(forger.altered()),
            "backdated_entry": lambda _: self._tell(forger.backdated(self._world.oracle.membership.law(self.node))),
            "abuse_of_office": lambda _: self._rng.random() < ABUSES and self._tell(forger.abuse(), heeded=True),
            "write_by_old_right": lambda ends: self._say(ends, thief.old_authority(self._overheard)),
            "new_incarnation": lambda ends: self._say(ends, thief.new_incarnation(self._overheard)),
            "forged_head": lambda ends: self._say(ends, thief.forged_head(self._overheard)),
            "reused_dots": lambda ends: self._say(ends, thief.reused_dots(self._overheard)),
            "relayed_removed": lambda ends: self._say(ends, thief.relayed(self._overheard)),
        }
        if self._rng.random() >= EQUIVOCATES:
            del deeds["equivocation"], deeds["reused_dots"]
        return deeds

    def _own_right(self) -> bytes:
        """The head under which the Byzantine member itself may write."""
        return self.node.cluster.membership.authority(self.node.id, self._world.members.public) or bytes(32)

    # --- changes -----------------------------------------------------------------------------------------------------

    def _say(self, ends: Sequence[End], frames: Sequence[bytes]) -> bool:
        """Tell segments by gossip to one or to all, each in its author's tree; False where there is none to tell."""
        told = False
        for end in ends if self._rng.random() < 0.3 else [self._rng.choice(ends)]:
            for frame in frames:
                segment = decode(frame)
                if len(frame) <= BODY_BYTES_MAX and isinstance(segment, Segment):
                    end.send_message(encode(Gossip(0, segment.replica[:TREE_BYTES], frame)))
                    told = True
        return told

    def _any_overheard(self) -> list[bytes]:
        return [self._rng.choice(self._overheard)] if self._overheard else []

    def _replay(self, ends: Sequence[End]) -> bool:
        return self._say(ends, self._any_overheard())

    def _flood(self, ends: Sequence[End]) -> bool:
        return self._say([self._rng.choice(ends)], [frame for _ in range(FLOOD) for frame in self._any_overheard()])

    def _equivocate(self, ends: Sequence[End]) -> bool:
        key = f"z{self._rng.randrange(2)}"
        said = [twin.write(Kind.PUT, key, b"twin %d" % number) for number, twin in enumerate(self._twins)]
        told = [self._say([end], said[number % 2]) for number, end in enumerate(ends)]
        return all(told)

    def _babble(self, ends: Sequence[End]) -> bool:
        frame = self._rng.randbytes(self._rng.randrange(1, 200))
        if self._overheard and self._rng.random() < 0.7:
            altered = bytearray(self._rng.choice(self._overheard))
            altered[self._rng.randrange(len(altered))] ^= 1 << self._rng.randrange(8)
            frame = encode(Gossip(0, self.node.id[:TREE_BYTES], bytes(altered)))
        self._rng.choice(ends).send_message(frame)
        return True

    def _impersonate(self, ends: Sequence[End]) -> bool:
        """Go on with somebody's log in their name, without their key."""
        return self._say(ends, [encode(_continued(frame)) for frame in self._any_overheard()])

    def _sign_as_reader(self, ends: Sequence[End]) -> bool:
        """Go on with a writer's log, signed by the reader."""
        reader = self._world.members.reader
        writers = [frame for frame in self._overheard if node_of(_replica(frame)) != reader.node]
        return bool(writers) and self._say(ends, [encode(_signed(_continued(self._rng.choice(writers)), reader))])

    def _smuggle(self, ends: Sequence[End]) -> bool:
        """Pass on what the reader wrote over what it saw."""
        self._outlaw.listen(self._overheard)
        kind = self._rng.choice((Kind.PUT, Kind.DELETE))
        return self._say(ends, self._outlaw.write(kind, f"register/{self._rng.randrange(2)}", b"by a reader"))

    # --- sessions and entries ----------------------------------------------------------------------------------------

    def _false(self, message: Vector) -> Vector:
        if self._lie == "stale":
            seqs = [(replica, max(1, seq // 2), b"") for replica, seq, _ in message.seqs]
            return msgspec.structs.replace(message, seqs=seqs)
        seqs = [(replica, seq + 3, b"") for replica, seq, _ in message.seqs]
        if self._lie == "ahead":
            return msgspec.structs.replace(message, seqs=seqs)
        floor = [(replica, seq) for replica, seq, _ in seqs]
        return msgspec.structs.replace(message, seqs=seqs, floor=floor)

    def _tell(self, entries: Sequence[bytes], *, heeded: bool = False) -> bool:
        """Tell membership entries in a bulletin; with ``heeded`` they are the liar's right to state."""
        if not entries:
            return False
        keys = self.node.cluster.keys.spaces[self.node.cluster.public]
        if heeded:
            self.node.upkeep.learn(entries)
        self.node.telling.topics.tell_membership(entries, keys)
        return True


def _continued(frame: bytes) -> Segment:
    """Return a segment's changes once more, as if they came after it."""
    segment = decode(frame)
    assert isinstance(segment, Segment)
    found = verify(segment)
    headers, after = bytearray(), found.last + 1
    for at, count in enumerate(found.layout.counts.tolist()):
        _, *rest = HEADER.unpack_from(segment.headers, HEADER.size * at)
        headers += HEADER.pack(after, *rest)
        after += count
    return msgspec.structs.replace(segment, first=found.last + 1, previous=found.links[-1], headers=bytes(headers))


def _signed(segment: Segment, identity: Identity) -> Segment:
    """Return a segment with somebody else's signature over what it says."""
    layout = layout_of(segment)
    links = _links(segment, layout, _leaves(segment, layout, _slots(segment, layout)))
    return msgspec.structs.replace(segment, signature=identity.sign(Label.CHANGESET, links[-1]))


def _replica(frame: bytes) -> ReplicaId:
    segment = decode(frame)
    assert isinstance(segment, Segment)
    return ReplicaId(segment.replica)
