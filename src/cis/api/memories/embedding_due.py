"""Which texts a node embeds now, and which it leaves to their authors' nodes for a while.

The node that wrote a memory embeds it and tells the others; those wait `GRACE_S` for that from when they first saw
the text, or until somebody searches, and then make a vector for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cis.model import NodeId, node_of

if TYPE_CHECKING:
    from cis.store.reading import Unembedded

GRACE_S = 30.0
HURRIED_MAX = 64
"""Texts a search may have embedded at once: more take longer than anybody waits."""

SEEN_MAX = 8192
DONE_S = 10.0
"""How long the index has to take a vector in before its text is embedded again."""
REFUSED_S = 3600.0
"""After so long a text that the model refused is tried again."""

_Name = tuple[bytes, bytes]


class Due:
    """Remembers since when each text has waited; ``node`` is this one."""

    def __init__(self, node: NodeId, grace_s: float = GRACE_S) -> None:
        self._node = node
        self._grace_s = grace_s
        self._seen_s: dict[_Name, float] = {}
        self._done_s: dict[_Name, float] = {}
        self._refused_s: dict[_Name, float] = {}
        self.aside = 0
        """how many of those considered last the model refused: they wait for nothing"""

    def choose(
        self, waiting: Sequence[Unembedded], now_s: float, hurried: int
    ) -> tuple[list[Unembedded], float | None]:
        """Return those to embed now, and in how many seconds the next is due; None where none is.

        ``waiting`` are those considered, newest first; ``hurried`` is how many of them somebody searches for,
        so that they are due now.
        """
        names = [_name(one) for one in waiting]
        self._done_s = {name: done_s for name, done_s in self._done_s.items() if done_s + DONE_S > now_s}
        self._refused_s = {name: since_s for name, since_s in self._refused_s.items() if since_s + REFUSED_S > now_s}
        self.aside = sum(name in self._refused_s for name in names)
        if len(self._seen_s) > SEEN_MAX:
            self._seen_s = {name: self._seen_s[name] for name in names if name in self._seen_s}
        due: list[Unembedded] = []
        later: list[float] = []
        for one, name in zip(waiting, names, strict=True):
            if name in self._done_s or name in self._refused_s:
                continue
            left_s = self._seen_s.setdefault(name, now_s) + self._grace_s - now_s
            if self.is_own(one) or left_s <= 0 or len(due) < hurried:
                due.append(one)
            else:
                later.append(left_s)
        return due, min(later, default=None)

    def is_own(self, one: Unembedded) -> bool:
        """Tell whether this node wrote the memory, in whichever incarnation."""
        return node_of(one.author) == self._node

    def done(self, embedded: Iterable[Unembedded], now_s: float) -> None:
        """Say that these need no more, though the index may not have taken their vectors in yet."""
        self._done_s.update((_name(one), now_s) for one in embedded)

    def refuse(self, refused: Iterable[Unembedded], now_s: float) -> None:
        """Say that the model does not want these texts, so that they hold up no others."""
        self._refused_s.update((_name(one), now_s) for one in refused)


def _name(one: Unembedded) -> _Name:
    return one.memory, one.digest
