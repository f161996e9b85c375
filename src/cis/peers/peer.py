"""One peer of the book: who, where it stands, and the ways to it with what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from cis.model import NodeId
from cis.peers.places import is_local
from cis.peers.record import Record
from cis.peers.states import TRANSITIONS, Happening, State

DIALS_AT_ONCE = 4
"""Dials of one peer begun together; a peer with more addresses has them tried as these fail."""
ICE = "ice"
"""The source of the way to a peer that is no address."""
ICE_AFTER_S = 0.3
"""How long the addresses have to lead to a peer before ICE is tried too."""
BY_USER = "user"
"""Who found an address that a user gave: it is kept until the user takes it back."""
BY_GOSSIP = "gossip"
"""Who found an address in a record that members told."""
BY_INVITE = "invite"
"""Who found the address of the node whose ticket let this one in."""
BY_ITSELF = "incoming"
"""Who found a peer that came by itself."""
LAN = "lan"
"""The kind of a path within one network; the others are direct, mapped, punched and relayed."""
_SEEN_HERE = "mdns"
"""Who finds nobody but those on the same network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A dial to make; one with the source `ICE` has neither host nor port.

    ``source`` says whose word it is, ``found_by`` which provider or message brought it.
    """

    node: NodeId | None
    host: str
    port: int
    source: str
    found_by: str = field(default="", compare=False)


@dataclass(slots=True)
class Address(Record):
    """One way to a peer, and how it has fared."""

    host: str
    port: int
    source: str
    found_by: str = ""
    kind: str = ""
    """what the last connection by it ran on: lan, direct, mapped, punched or relayed"""
    dialling: bool = False
    failed: bool = False
    """tried in vain in the round of dials under way"""
    known_at: float = 0.0
    """when it last led to the peer, or was last told of"""
    in_use: bool = False
    """the connection there is was dialled to it"""
    last_error: str = ""
    local: bool = field(init=False)
    """whether it means something on one network alone"""

    def __post_init__(self) -> None:
        self.local = is_local(self.host)

    @property
    def likely_kind(self) -> str:
        """What a connection by it would run on, as far as that can be told."""
        if self.kind or not self.host:
            return self.kind
        return LAN if self.local else "direct"

    @property
    def held(self) -> bool:
        """Whether it is kept, however it fares."""
        return self.in_use or self.dialling or self.found_by == BY_USER


@dataclass(slots=True)
class Peer(Record):
    """What is known of one node, or of an address whose node is not known yet (``node`` None).

    A success is a connection, whoever dialled; a failure is a round of dials that led nowhere.
    """

    node: NodeId | None
    state: State = State.UNKNOWN
    addresses: list[Address] = field(default_factory=list)
    ice: Address = field(default_factory=lambda: Address("", 0, ICE))
    kind: str = ""
    """what the connection there is runs on, or the last one ran on"""
    place: tuple[str, int] | None = None
    """the peer's end of it"""
    streak: int = 0
    """rounds of dials failed since the last good news"""
    due_at: float = 0.0
    round_at: float = 0.0
    """when the round of dials under way began"""
    seen_at: float | None = None
    """when it last did something that this node saw"""
    last_error: str = ""

    @property
    def ways(self) -> list[Address]:
        """The addresses, and ICE."""
        return [*self.addresses, self.ice]

    @property
    def under_way(self) -> bool:
        """Whether it is being dialled."""
        return any(one.dialling for one in self.ways)

    @property
    def near(self) -> bool | None:
        """Whether it is on this node's own network; None where nothing shows it.

        A private address that never worked shows nothing: it may be of any network.
        """
        if self.kind:
            return self.kind == LAN
        if any(one.local and (one.successes or one.found_by == _SEEN_HERE) for one in self.addresses):
            return True
        return None if all(one.local for one in self.addresses) else False

    @property
    def found_by(self) -> str:
        """Who told of it first, of what is still known; the peer itself where nobody did."""
        told = (one.found_by or one.source for one in self.addresses)
        return next(told, BY_ITSELF if self.successes else "")

    def happened(self, what: Happening) -> None:
        """Go on to the state that follows."""
        self.state = TRANSITIONS[self.state, what]

    def hurry(self, due_at: float) -> None:
        """Begin a new round then, whatever was tried before."""
        self.due_at, self.streak = due_at, 0
        for way in self.ways:
            way.failed = False

    def way(self, target: Target) -> Address | None:
        """Return what a target stands for."""
        if target.source == ICE:
            return self.ice
        return next((one for one in self.addresses if (one.host, one.port) == (target.host, target.port)), None)
