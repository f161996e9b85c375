"""One member that lies: it replays, floods, equivocates, states false vectors, talks garbage, smuggles.

It is an ordinary node with a second mind. Its two contents under one dot come from two stores that share an
incarnation, as a cloned disk's do; what it equivocates about are memories of its own, since two contents of one
dot cannot agree.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from cis.errors import CisError
from cis.model import Kind, SpaceId
from cis.sim.node import STORE_KEY, SimNode, signer
from cis.store.author import Write
from cis.store.store import Setting, Store
from cis.trust import Identity
from cis.trust.signing import verify
from cis.wire.content import Content
from cis.wire.gossip import BODY_BYTES_MAX, TREE_BYTES, Gossip
from cis.wire.messages import Vector, decode, encode, is_segment
from cis.wire.segment import HEADER, Segment

if TYPE_CHECKING:
    from cis.sim.wires import End
    from cis.sim.world import World
    from cis.store.engine import Commit

OVERHEARD_MAX = 200
FLOOD = 40
GOSSIP_TAG = 40


class Puppet:
    """A store of the Byzantine member's that nobody asked for: it accepts all and writes as it is told."""

    def __init__(self, world: World, node: SimNode, folder: Path, identity: Identity, seed: int) -> None:
        self._world = world
        self._node = node
        self._sound = identity is node.identity
        self._frames: list[bytes] = []
        setting = Setting(
            identity.node,
            signer(identity),
            self._authority,
            lambda *_: None,
            node.clock_ms,
            Random(seed).randbytes,
        )
        folder.mkdir()
        self.store = Store(folder, STORE_KEY, setting, threaded=False)
        keys = world.members.keys[0].spaces[world.members.public]
        self.store.add_space(keys, "public", replicated=True)
        self.store.on_commit(self._committed)

    def write(self, kind: Kind, key: str, value: bytes) -> list[bytes]:
        """Write, and return the frames."""
        self._frames = []
        self.store.write([Write(self._world.members.public, kind, Content(key, value))]).result()
        return self._frames

    def _authority(self, space: SpaceId) -> bytes:
        """The head under which the Byzantine member itself may write."""
        return self._node.cluster.membership.authority(self._node.id, space) or bytes(32)

    def _committed(self, commit: Commit) -> None:
        for segment in commit.written:
            self._world.ledger.record(segment, self._node.number, sound=self._sound)
            self._frames.append(encode(segment))


class Byzantine:
    """Acts through its node's connections; see the module."""

    def __init__(self, world: World, node: SimNode, folder: Path) -> None:
        self.node = node
        self._world = world
        self._rng = world.kernel.rng
        self._overheard: deque[bytes] = deque(maxlen=OVERHEARD_MAX)
        self._lie = ""
        seed = self._rng.getrandbits(64)
        self._twins = [Puppet(world, node, folder / f"twin{one}", node.identity, seed) for one in (0, 1)]
        self._outlaw = Puppet(world, node, folder / "outlaw", world.members.reader, seed + 1)

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
        for puppet in (*self._twins, self._outlaw):
            puppet.store.close()

    def act(self) -> None:
        """Do one bad deed, if there is anybody to do it to."""
        if self.node.up:
            ends = [end for _, end in sorted(self.node.talk.ends.items())]
            deeds = [self._replay, self._flood, self._equivocate, self._lie_about_vectors]
            deed = self._rng.choice([*deeds, *deeds, *deeds, self._babble, self._smuggle, self._impersonate])
            if ends:
                self._world.count("byzantine_deeds")
                deed(ends)

    def forge(self, frame: bytes) -> bytes:
        """Return what to say instead of a message of a session."""
        message = decode(frame)
        if not self._lie or not isinstance(message, Vector):
            return frame
        if self._lie == "stale":
            seqs = [(replica, max(1, seq // 2), b"") for replica, seq, _ in message.seqs]
        else:
            seqs = [(replica, seq + 3, b"") for replica, seq, _ in message.seqs]
        return encode(msgspec.structs.replace(message, seqs=seqs))

    def _replay(self, ends: list[End]) -> None:
        if self._overheard:
            _say(self._rng.choice(ends), self._rng.choice(self._overheard))

    def _flood(self, ends: list[End]) -> None:
        if self._overheard:
            end = self._rng.choice(ends)
            for _ in range(FLOOD):
                _say(end, self._rng.choice(self._overheard))

    def _equivocate(self, ends: list[End]) -> None:
        key = f"z{self._rng.randrange(2)}"
        said = [twin.write(Kind.PUT, key, b"twin %d" % number) for number, twin in enumerate(self._twins)]
        for number, end in enumerate(ends):
            for frame in said[number % 2]:
                _say(end, frame)

    def _lie_about_vectors(self, _: list[End]) -> None:
        self._lie = self._rng.choice(("stale", "ahead", ""))

    def _babble(self, ends: list[End]) -> None:
        frame = self._rng.randbytes(self._rng.randrange(1, 200))
        if self._overheard and self._rng.random() < 0.7:
            altered = bytearray(self._rng.choice(self._overheard))
            altered[self._rng.randrange(len(altered))] ^= 1 << self._rng.randrange(8)
            frame = encode(Gossip(0, self.node.id[:TREE_BYTES], bytes(altered)))
        self._rng.choice(ends).send_message(frame)

    def _impersonate(self, ends: list[End]) -> None:
        """Go on with somebody's log in their name, without their key."""
        if self._overheard:
            segment = decode(self._rng.choice(self._overheard))
            assert isinstance(segment, Segment)
            found = verify(segment)
            headers, after = bytearray(), found.last + 1
            for at, count in enumerate(found.layout.counts.tolist()):
                _, *rest = HEADER.unpack_from(segment.headers, HEADER.size * at)
                headers += HEADER.pack(after, *rest)
                after += count
            again = msgspec.structs.replace(
                segment, first=found.last + 1, previous=found.links[-1], headers=bytes(headers)
            )
            _say(self._rng.choice(ends), encode(again))

    def _smuggle(self, ends: list[End]) -> None:
        """Pass on what the reader wrote over what it saw."""
        for frame in self._overheard:
            try:
                self._outlaw.store.merge(frame).result()
            except CisError:
                continue
        kind = self._rng.choice((Kind.PUT, Kind.DELETE))
        for frame in self._outlaw.write(kind, f"register/{self._rng.randrange(2)}", b"by a reader"):
            _say(self._rng.choice(ends), frame)


def _say(end: End, frame: bytes) -> None:
    """Tell a segment by gossip, in its author's tree."""
    segment = decode(frame)
    if len(frame) <= BODY_BYTES_MAX and isinstance(segment, Segment):
        end.send_message(encode(Gossip(0, segment.replica[:TREE_BYTES], frame)))
