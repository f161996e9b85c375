"""Whom to connect to, where more can be reached than there is room for: mostly the best, some at random, on both sides.

- A quarter of the places (`RANDOM_SHARE`) go to anybody, all alike: an overlay of the nearest alone falls into islands,
  and a node that was unreachable once would never be tried again (X-BOT, Leitão et al., SRDS 2010, keeps unbiased
  neighbours for the same reason).
- Each other place goes to the best by `cis.peers.score` of four drawn at random (`CONTENDERS`): what worked, is recent,
  near and direct is preferred, without all nodes preferring the same one.
- Where all chosen, and all that are there already, are on one side of the LAN's boundary, the last place goes to the
  other side, if anybody is known there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cis.peers.peer import Peer
from cis.peers.score import score_of

if TYPE_CHECKING:
    from random import Random

RANDOM_SHARE = 0.25
CONTENDERS = 4


def drawn(
    peers: Sequence[Peer], count: int, now: float, rng: Random, present: Iterable[bool | None] = ()
) -> list[Peer]:
    """Draw up to so many peers, in the order they were drawn; ``present`` says where those are that are there already.

    Of these and of the peers `Peer.near` is what counts.
    """
    left = list(peers)
    chosen = [_take(left, now, rng) for _ in range(min(count, len(left)))]
    there = list(present)
    if chosen and len(there) + len(chosen) > 1:
        _cross(chosen, left, there, now, rng)
    return chosen


def one_sided(sides: Iterable[bool | None]) -> bool | None:
    """Return the side of the boundary that lacks somebody: True for this network, None where nobody is missing."""
    known = [side for side in sides if side is not None]
    if not known or any(side is not known[0] for side in known):
        return None
    return not known[0]


def _take(left: list[Peer], now: float, rng: Random) -> Peer:
    if rng.random() < RANDOM_SHARE:
        return left.pop(rng.randrange(len(left)))
    contenders = rng.sample(range(len(left)), min(CONTENDERS, len(left)))
    return left.pop(max(contenders, key=lambda place: (score_of(left[place], now).total, place)))


def _cross(chosen: list[Peer], left: list[Peer], there: list[bool | None], now: float, rng: Random) -> None:
    """Give the last place to the side that nobody is on."""
    missing = one_sided([*there, *(one.near for one in chosen)])
    others = [one for one in left if missing is not None and one.near is missing]
    if others:
        chosen[-1] = _take(others, now, rng)
