"""The candidates of a node (RFC 8445 §5.1): their priorities and foundations, and which of them an address is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cis.reach.names import Address, is_usable
from cis.wire.signals import CandidateKind, IceCandidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cis.net.paths import Carrier

_TYPE_PREFERENCES = {"host": 126, "mapped": 100, "srflx": 100, "relay": 0}
"""RFC 8445 §5.1.2.2."""
_COMPONENT = 1
_PREFERENCE_MAX = 65535
_UNMAPPED_PREFERENCE = 32767
"""A mapping stays open by itself and lets everybody in: it comes before other reflexive candidates."""


class Local(Protocol):
    """This node's side of a search (`cis.reach.gathering.Gatherer`)."""

    on_change: list[Callable[[], None]]
    """Called when the candidates have changed."""

    @property
    def relay(self) -> Carrier | None:
        """The allocation whose address is among the candidates."""

    def candidates(self) -> tuple[IceCandidate, ...]:
        """The candidates known by now."""

    def freshen(self) -> None:
        """A search begins: make sure of what was learnt a while ago."""


def numbered(found: Iterable[tuple[CandidateKind, Address]]) -> tuple[IceCandidate, ...]:
    """Give each address its priority, within a kind the earlier ones first; leave out the repeated and the unusable."""
    made: dict[Address, IceCandidate] = {}
    ranks: dict[CandidateKind, int] = {}
    for kind, address in found:
        if address in made or not is_usable(*address):
            continue
        rank = ranks[kind] = ranks.get(kind, -1) + 1
        preference = (_UNMAPPED_PREFERENCE if kind == "srflx" else _PREFERENCE_MAX) - rank
        priority = _TYPE_PREFERENCES[kind] << 24 | preference << 8 | 256 - _COMPONENT
        made[address] = IceCandidate(f"{kind}{rank}", priority, *address, kind)
    return tuple(made.values())


def standing(address: Address, candidates: Sequence[IceCandidate]) -> str:
    """Which kind of candidate an address is that somebody saw us at; ``prflx`` when none of them."""
    return next((one.kind for one in candidates if (one.host, one.port) == address), "prflx")
