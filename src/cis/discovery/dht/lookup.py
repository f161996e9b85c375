"""One search in the DHT: whom to ask next, and when it is over (Maymounkov and Mazieres 2002; BEP 5). Pure.

The nodes closest to the target are asked for what they hold and for nodes closer still, `AT_ONCE` at a time; it is over
when the `CLOSEST` that are not silent have answered. What the nodes say is hints of strangers: how many are asked, and
how many each may tell of, is bounded, and with ``spread`` only one of each network is, so that the owner of one network
cannot surround a target with ids of its own. ::

    search = Lookup(target, seeds)
    while not search.over:
        for node in search.due():
            search.on_reply(node, nodes_told)     # or search.on_silence(node)
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

CLOSEST = 8
AT_ONCE = 6
ASKED_MAX = 64
TOLD_MAX = 16
"""Nodes taken from one reply; most implementations tell of eight."""
ID_LENGTH = 20


@dataclass(frozen=True)
class Known:
    """A node of the DHT: its id there, and its address."""

    id: bytes
    host: str
    port: int


class _State(enum.Enum):
    HEARD_OF = enum.auto()
    ASKED = enum.auto()
    ANSWERED = enum.auto()
    SILENT = enum.auto()


class Lookup:
    """The state of one search."""

    def __init__(self, target: bytes, seeds: Iterable[Known], *, spread: bool = False) -> None:
        self._target = int.from_bytes(target, "big")
        self._spread = spread
        self._nodes: dict[bytes, Known] = {}
        self._states: dict[bytes, _State] = {}
        self._places: set[tuple[object, ...]] = set()
        self._asked = 0
        for node in sorted(seeds, key=self._distance):
            self._remember(node)

    @property
    def over(self) -> bool:
        """Whether nobody is left to be asked, and nobody close is still to answer."""
        return all(self._states[node.id] is _State.ANSWERED for node in self._near()) or (
            self._asked >= ASKED_MAX and _State.ASKED not in self._states.values()
        )

    def due(self) -> list[Known]:
        """Return whom to ask now; they count as asked from here on."""
        outstanding = sum(state is _State.ASKED for state in self._states.values())
        room = min(AT_ONCE - outstanding, ASKED_MAX - self._asked)
        found = [node for node in self._near() if self._states[node.id] is _State.HEARD_OF][: max(0, room)]
        for node in found:
            self._states[node.id] = _State.ASKED
        self._asked += len(found)
        return found

    def on_reply(self, node: Known, told: Iterable[Known]) -> None:
        """Take in that a node answered, and whom it told of."""
        self._states[node.id] = _State.ANSWERED
        for one in list(told)[:TOLD_MAX]:
            self._remember(one)

    def on_silence(self, node: Known) -> None:
        """Pass a node over that did not answer, or not sensibly."""
        self._states[node.id] = _State.SILENT

    def answered(self) -> list[Known]:
        """Return the nodes that answered, the closest first."""
        found = (node for id_, node in self._nodes.items() if self._states[id_] is _State.ANSWERED)
        return sorted(found, key=self._distance)

    def _near(self) -> list[Known]:
        alive = (node for id_, node in self._nodes.items() if self._states[id_] is not _State.SILENT)
        return sorted(alive, key=self._distance)[:CLOSEST]

    def _remember(self, node: Known) -> None:
        place = self._place(node)
        if node.id in self._nodes or place in self._places or len(node.id) != ID_LENGTH:
            return
        self._places.add(place)
        self._nodes[node.id] = node
        self._states[node.id] = _State.HEARD_OF

    def _place(self, node: Known) -> tuple[object, ...]:
        """What only one node is taken of: an address, or with ``spread`` a network of 24 bits, in IPv6 64."""
        if not self._spread:
            return node.host, node.port
        address = ipaddress.ip_address(node.host)
        return address.version, address.packed[: 3 if address.version == 4 else 8]

    def _distance(self, node: Known) -> int:
        return int.from_bytes(node.id, "big") ^ self._target
