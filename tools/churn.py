"""An hour in the life of a peer book, in virtual time: members come, go, move and flap; it prints the bootstrap.json.

The book, the choice of whom to dial and the file are those of a node; the members, the network and the clock are made
up from a seed. What the node cannot know (who is really up) is kept apart, so that tests can judge what it believes::

    python -m tools.churn --hours 1 --seed 7 > bootstrap.json
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cis.model import NodeId
from cis.node.core.choosing import Bridging
from cis.node.core.dialling import Dialling
from cis.node.core.overlay import NEIGHBOURS_MAX
from cis.node.finding.bootstrap_file import Calendar, text_of
from cis.peers import PeerBook, Target
from cis.peers.score import by_score

OWN = NodeId(b"\xff" * 32)
KINDS = {"stable": 40, "joiner": 10, "leaver": 20, "mover": 15, "flapper": 15}
HOUR_S = 3600.0
TIMEOUT_S = 5.0
"""How long a dial of nobody takes."""
MEASURE_S = 5.0
KEPT_S = 120.0
"""How long a connection is of use, on average, before the other side wants others."""
CALLS_S = 7200.0
"""How often a member calls by itself, on average."""
GOSSIP_S = 30.0
"""How long news of a member take at most."""
START_MS = 1_800_000_000_000


@dataclass
class Member:
    """One member as it really is."""

    number: int
    kind: str
    near: bool
    rtt_s: float
    host: str = ""
    up: bool = False
    since: float = 0.0
    """when it came up or went down last"""
    calls: list[float] = field(default_factory=list)
    """when it was dialled by the node"""
    met: int = 0
    """how often there was a connection with it: dials begun before the last are given up"""

    @property
    def node(self) -> NodeId:
        """Its id."""
        return NodeId(self.number.to_bytes(32, "big"))

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.kind}-{self.number}"


class Churn:
    """The world; `run` as long as wanted, then look at ``book`` and ``members``."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = Random(seed)
        self.book = PeerBook(OWN, Random(seed + 1))
        self.dialling = Dialling(self.book, Random(seed + 2))
        self.bridging = Bridging(self.book, Random(seed + 3))
        kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
        self.members = [self._made(number, kind) for number, kind in enumerate(kinds)]
        self.connected: dict[NodeId, int] = {}
        self.dials: list[float] = []
        self.counts: Counter[str] = Counter()
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for member in self.members:
            self._begin(member)
        self._later(MEASURE_S, self._measure)

    def run(self, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
        """Let so much time pass; ``watch`` is called after everything that happens."""
        until = self.now + seconds
        while self._plans and self._plans[0][0] <= until:
            self.now, _, action = heapq.heappop(self._plans)
            action()
            self._dial()
            watch()
        self.now = until

    def text(self) -> bytes:
        """Return bootstrap.json as the node would write it now."""
        calendar = Calendar(self.now, START_MS + round(self.now * 1000))
        return text_of(by_score(self.book, self.now), lambda node: self.at(node).name, calendar)

    def at(self, node: NodeId) -> Member:
        """Return the member with an id."""
        return self.members[int.from_bytes(node, "big")]

    # --- members -------------------------------------------------------------------------------------------------

    def _made(self, number: int, kind: str) -> Member:
        near = number % 5 == 0
        rtt_s = self.rng.uniform(0.0005, 0.005) if near else self.rng.lognormvariate(-3.0, 0.8)
        return Member(number, kind, near, rtt_s)

    def _begin(self, member: Member) -> None:
        rng = self.rng
        match member.kind:
            case "joiner":
                self._later(rng.uniform(0, 0.8 * HOUR_S), lambda: self._rise(member))
            case "leaver":
                self._rise(member)
                self._later(rng.uniform(0.1 * HOUR_S, 0.6 * HOUR_S), lambda: self._fall(member))
            case "mover":
                self._rise(member)
                self._later(rng.uniform(300, 1200), lambda: self._move(member))
            case "flapper":
                self._later(rng.uniform(0, 180), lambda: self._flap(member))
            case _:
                self._rise(member)
        self._later(rng.expovariate(1 / CALLS_S), lambda: self._call(member))

    def _rise(self, member: Member) -> None:
        member.up, member.since = True, self.now
        if not member.host or member.kind == "mover":
            network = "192.168.1" if member.near else f"203.0.{self.rng.randrange(256)}"
            member.host = f"{network}.{self.rng.randrange(1, 255)}"
        self._later(self.rng.uniform(0, GOSSIP_S), lambda: self._tell(member, member.host))

    def _fall(self, member: Member) -> None:
        member.up, member.since = False, self.now
        if member.node in self.connected:
            self._lose(member, "it said nothing for 8 s", unwanted=False)

    def _move(self, member: Member) -> None:
        self._fall(member)
        self._later(self.rng.uniform(5, 60), lambda: self._rise(member))
        self._later(self.rng.uniform(600, 1200), lambda: self._move(member))

    def _flap(self, member: Member) -> None:
        (self._fall if member.up else self._rise)(member)
        self._later(self.rng.uniform(60, 180), lambda: self._flap(member))

    def _call(self, member: Member) -> None:
        """Let a member connect with the node by itself."""
        if member.up and member.node not in self.connected:
            self._join(member, None)
        self._later(self.rng.expovariate(1 / CALLS_S), lambda: self._call(member))

    def _tell(self, member: Member, host: str) -> None:
        found_by = "mdns" if member.near else "gossip"
        self.dialling.sighted(Target(member.node, host, 7677, "mdns" if member.near else "member", found_by), self.now)

    # --- the node ------------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        connected = list(self.connected)
        across = self.bridging.due(connected[:NEIGHBOURS_MAX], self.dialling.settled(connected), self.now)
        if across is not None:
            self.counts["bridges"] += 1
            self.dialling.want(across, self.now)
        for target in self.dialling.due(connected, max(0, NEIGHBOURS_MAX - len(connected)), self.now):
            self._try(target)
        due_at = self.dialling.next_due()
        if due_at is not None and due_at > self.now:
            self._later(due_at - self.now, lambda: None)

    def _try(self, target: Target) -> None:
        assert target.node is not None, "members have names"
        member = self.at(target.node)
        member.calls.append(self.now)
        self.dials.append(self.now)
        reached, met = member.up and target.host == member.host, member.met
        self._later(3 * member.rtt_s if reached else TIMEOUT_S, lambda: self._answer(member, target, met))

    def _answer(self, member: Member, target: Target, met: int) -> None:
        if member.met != met:
            return
        if member.up and target.host == member.host:
            self._join(member, target)
        else:
            self.dialling.failed(target, "no answer", self.now)

    def _join(self, member: Member, via: Target | None) -> None:
        self.counts["connections"] += 1
        member.met += 1
        link = self.connected[member.node] = self.counts["connections"]
        self.dialling.connected(member.node, via, self.now)
        self._later(self.rng.expovariate(1 / KEPT_S), lambda: self._part(member, link))

    def _part(self, member: Member, link: int) -> None:
        if self.connected.get(member.node) == link:
            self._lose(member, "not needed now", unwanted=True)

    def _lose(self, member: Member, reason: str, *, unwanted: bool) -> None:
        del self.connected[member.node]
        self.dialling.lost(member.node, reason, self.now, unwanted=unwanted)

    def _measure(self) -> None:
        for node in self.connected:
            member = self.at(node)
            rtt_s = member.rtt_s * self.rng.uniform(0.9, 1.4)
            self.book.measured(node, self.now, "lan" if member.near else "direct", (member.host, 7677), rtt_s)
        self._later(MEASURE_S, self._measure)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._plans, (self.now + delay_s, next(self._order), action))


def main() -> None:
    """Print the file, and on stderr how right it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    world = Churn(options.seed)
    world.run(options.hours * HOUR_S)
    sys.stdout.buffer.write(world.text())
    order = [world.at(peer.node) for peer in by_score(world.book, world.now) if peer.node is not None]
    for count in (10, 20, 50):
        print(f"of the best {count}, {sum(one.up for one in order[:count])} are up", file=sys.stderr)
    really = sum(one.up for one in world.members)
    print(
        f"{really} of {len(world.members)} members are up, {len(world.connected)} connected; "
        f"{len(world.dials)} dials, {dict(world.counts)}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
