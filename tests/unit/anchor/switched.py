"""A switchboard without sockets, and nodes that talk to it."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from cis.anchor.limits import AnchorLimits
from cis.anchor.protocol import Claim, Hello, Refused, Register, ToNode, decode_to_node, encode
from cis.anchor.shelf import Shelf
from cis.anchor.switchboard import Party, Switchboard
from cis.trust.beacons import Beacon
from cis.trust.identity import Identity

NAME = "anchor.example.net"


class Anchor:
    """The machine, at a time the test sets."""

    def __init__(self, *tokens: str, **limits: Any) -> None:
        values = msgspec.structs.asdict(AnchorLimits()) | limits
        self.now = 1000.0
        self.board = Switchboard(Shelf(), AnchorLimits(**values), tokens, random.Random(1).randbytes, stun_port=3478)

    def connect(self, host: str = "203.0.113.1", *, token: str = "", greet: bool = True) -> Node:
        node = Node(self, self.board.connect(host, NAME, self.now))
        if greet:
            node.tell(Hello(1, token))
            node.welcome = node.heard()[0]
        return node


class Node:
    """One connection; `ask` returns the answer."""

    def __init__(self, anchor: Anchor, party: Party) -> None:
        self.anchor = anchor
        self.party = party
        self.welcome: ToNode | None = None
        self.number = 0

    def tell(self, message: Any) -> None:
        self.anchor.board.take(self.party, encode(message), self.anchor.now, self.anchor.now)

    def ask(self, kind: Any, *values: Any) -> Any:
        self.number += 1
        self.tell(kind(self.number, *values))
        return self.heard()[-1]

    def heard(self) -> list[Any]:
        found = []
        while (data := self.party.next()) is not None:
            found.append(decode_to_node(data))
        return found

    def claim(self, beacon: Beacon) -> Any:
        return self.ask(Claim, beacon.key, beacon.claim(self.party.challenge, NAME.encode()))

    def register(self, beacon: Beacon, sealed: bytes = b"sealed", ttl_s: int = 600) -> Any:
        return self.ask(Register, beacon.tag, ttl_s, sealed)

    def leave(self) -> None:
        self.anchor.board.leave(self.party)


def beacon(number: int, slot: int = 1) -> Beacon:
    return Beacon(Identity.generate(random.Random(number).randbytes), b"k" * 32, slot)


def refused(answer: Any) -> str:
    assert isinstance(answer, Refused), answer
    return answer.why
