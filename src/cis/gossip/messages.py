"""What a node remembers of messages: ids, so that nothing is taken twice; for a while bodies, to be given on asking."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from cis.gossip.config import TreeConfig
from cis.model import NodeId
from cis.wire.gossip import WANTED_MAX


def message_id(body: bytes) -> bytes:
    """Return the id of a message: 32 bytes, a hash of its body."""
    return blake2b(body, digest_size=32, person=b"cis/1 gossip").digest()


class Seen:
    """A message that came; ``passed`` once it was found sound."""

    __slots__ = ("_given", "at", "hops", "passed", "source", "tree")

    def __init__(self, at: float, hops: int, source: NodeId, tree: bytes) -> None:
        self.at = at
        self.hops = hops
        self.source = source
        self.tree = tree
        self.passed = False
        self._given: dict[NodeId, int] | None = None

    def give(self, node: NodeId) -> int:
        """Count that a node asked for the body, and return how often it did."""
        self._given = self._given or {}
        times = self._given[node] = self._given.get(node, 0) + 1
        return times


class SeenMessages:
    """The seen-cache and the bodies kept: the oldest go where there are too many, too much, or too old ones."""

    def __init__(self, config: TreeConfig) -> None:
        self._config = config
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self.crowded_out = 0
        """ids forgotten before their time, for there were too many"""

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._seen

    @property
    def kept(self) -> int:
        """How many bodies are kept."""
        return len(self._bodies)

    def find(self, id_: bytes) -> Seen | None:
        """Return what is remembered of a message."""
        return self._seen.get(id_)

    def body(self, id_: bytes) -> bytes | None:
        """Return the body of a message while it is kept."""
        return self._bodies.get(id_)

    def add(self, id_: bytes, body: bytes, seen: Seen) -> Seen:
        """Remember a new message."""
        self._seen[id_] = seen
        self._bodies[id_] = body
        self._bytes += len(body)
        self.sweep(seen.at)
        return seen

    def recent(self, now: float) -> list[tuple[bytes, int]]:
        """Return what may be offered of late messages, each with its hops, the oldest first."""
        offers: list[tuple[bytes, int]] = []
        for id_ in reversed(self._bodies):
            seen = self._seen[id_]
            if seen.at < now - self._config.recall_s or len(offers) == WANTED_MAX:
                break
            if seen.passed and seen.hops < self._config.hops_max:
                offers.append((id_, seen.hops))
        return offers[::-1]

    def forget_body(self, id_: bytes) -> None:
        """Keep no more than the id of a message."""
        body = self._bodies.pop(id_, None)
        if body is not None:
            self._bytes -= len(body)

    def sweep(self, now: float) -> None:
        """Forget what is too old or too much."""
        config, seen, bodies = self._config, self._seen, self._bodies
        while bodies and (
            len(bodies) > config.kept_max
            or self._bytes > config.kept_bytes_max
            or seen[next(iter(bodies))].at < now - config.kept_s
        ):
            self.forget_body(next(iter(bodies)))
        while seen and (len(seen) > config.seen_max or seen[next(iter(seen))].at < now - config.seen_s):
            id_, forgotten = seen.popitem(last=False)
            self.crowded_out += forgotten.at >= now - config.seen_s
            self.forget_body(id_)
