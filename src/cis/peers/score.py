"""What a peer, and each way to it, is worth: one number from 0 to 1, of four parts, with its reasons.

========= ======= =======================================================================================
part      weight  what it is
========= ======= =======================================================================================
worked    0.45    the rate of success, of which the last outcome is a quarter (`cis.peers.record`)
recent    0.25    1 h / (1 h + time since it last worked); half of it, by when it was told of, if it never did
near      0.15    100 ms / (100 ms + round trip); as if 200 ms where none was measured
path      0.15    lan and direct 1, mapped 0.8, punched 0.6, relayed 0.2, tunnel 0.1; unknown 0.5
========= ======= =======================================================================================

Forgetting is hyperbolic, so that an hour's difference counts among peers of today and none among those of last month.
The same number orders the dials of a round, who is forgotten when the book is full, and bootstrap.json; connected peers
come before all others, and of equals the one with the smaller id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cis.peers.peer import Address, Peer
from cis.peers.record import Record
from cis.peers.states import State

WORKED, RECENT, NEAR, PATH = 0.45, 0.25, 0.15, 0.15
FORGETTING_S = 3600.0
RTT_SCALE_S = 0.1
RTT_UNKNOWN_S = 0.2
UNTRIED = 0.5
"""What being told of is worth beside having worked."""
KINDS = {"lan": 1.0, "direct": 1.0, "mapped": 0.8, "punched": 0.6, "relayed": 0.2, "tunnel": 0.1}
KIND_UNKNOWN = 0.5


class Score(NamedTuple):
    """The weighted parts; their sum is what counts."""

    worked: float
    recent: float
    near: float
    path: float

    @property
    def total(self) -> float:
        """What it is worth, from 0 to 1."""
        return self.worked + self.recent + self.near + self.path


def score_of_way(way: Address, now: float) -> Score:
    """Return what one way to a peer is worth."""
    return _score(way, way.known_at, way.likely_kind, now)


def score_of(peer: Peer, now: float) -> Score:
    """Return what a peer is worth."""
    told_at = max((one.known_at for one in peer.addresses), default=None)
    kind = peer.kind or max((one.likely_kind for one in peer.addresses), key=_worth, default="")
    return _score(peer, told_at, kind, now)


def best_way(peer: Peer, now: float) -> Address | None:
    """Return the address to try first, None where none is known."""
    return max(peer.addresses, key=lambda one: score_of_way(one, now).total, default=None)


def by_score(peers: Iterable[Peer], now: float) -> list[Peer]:
    """Return peers best first: the connected ones, then the others."""
    return sorted(peers, key=lambda one: (one.state is not State.ACTIVE, -score_of(one, now).total, one.node or b""))


def _score(record: Record, told_at: float | None, kind: str, now: float) -> Score:
    if record.succeeded_at is not None:
        recent = _freshness(now - record.succeeded_at)
    else:
        recent = UNTRIED * _freshness(now - told_at) if told_at is not None else 0.0
    rtt_s = record.rtt_s if record.rtt_s is not None else RTT_UNKNOWN_S
    near = RTT_SCALE_S / (RTT_SCALE_S + rtt_s)
    return Score(WORKED * record.rate, RECENT * recent, NEAR * near, PATH * _worth(kind))


def _freshness(age_s: float) -> float:
    return FORGETTING_S / (FORGETTING_S + max(0.0, age_s))


def _worth(kind: str) -> float:
    return KINDS.get(kind, KIND_UNKNOWN)
