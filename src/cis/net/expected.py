"""Peers that are about to dial, by the path they will come on.

An Initial from an expected carrier and address is let in without Retry and takes no stranger's place. An address is
easily forged in a first packet, so an expectation lets in few connections, and only so many are held: beyond that
the oldest is forgotten, and who comes on it is a stranger again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.net.paths import unmapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.net.paths import Carrier, Path

_ADMITTED_MAX = 8
"""Connections one expectation lets in: each attempt of a dial is one."""

_Key = tuple["Carrier", tuple[str, int]]


@dataclass(slots=True, eq=False)
class Expectation:
    """One path on which a peer will come; ``left`` connections more."""

    path: Path
    left: int = _ADMITTED_MAX


class Expectations:
    """Those not withdrawn yet, oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Expectation, _Key] = {}
        self._by_key: dict[_Key, Expectation] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, path: Path) -> Callable[[], None]:
        """Expect a peer on ``path`` until the call returned is made."""
        one = Expectation(path)
        key = (path.carrier, unmapped(path.address))
        if len(self._held) >= self._most:
            self._forget(next(iter(self._held)))
        self._held[one] = key
        self._by_key[key] = one
        return lambda: self._forget(one)

    def find(self, path: Path) -> Expectation | None:
        """Return the newest expectation of whoever comes from there, unless it has let in all it may."""
        one = self._by_key.get((path.carrier, unmapped(path.address)))
        return one if one is not None and one.left > 0 else None

    def _forget(self, one: Expectation) -> None:
        key = self._held.pop(one, None)
        if key is None or self._by_key[key] is not one:
            return
        del self._by_key[key]
        for other, where in self._held.items():
            if where == key:
                self._by_key[key] = other
