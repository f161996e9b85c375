"""The parameters of the overlay, of the tree and of the order, with the papers' values where they give any."""

from __future__ import annotations

from dataclasses import dataclass, field

from cis.wire.gossip import HOPS_MAX, WANTED_MAX

TIMER_SLACK_S = 0.001
"""a timer may come so much early: clocks are coarse, and adding a delay to a time rounds"""


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """HyParView; its names for these are in the comments."""

    active_max: int = 5
    passive_max: int = 30
    lost_max: int = 16
    """nodes that could not be reached any more, kept to be tried again"""
    join_walk: int = 6  # ARWL
    join_walk_passive: int = 3  # PRWL
    shuffle_active: int = 3  # ka
    shuffle_passive: int = 4  # kp
    shuffle_s: float = 60.0
    shuffle_first_s: float = 2.0
    """after the first neighbour, so that a node soon knows more than whom it joined through"""
    jitter: float = 0.2
    """each period is drawn from 1 ± jitter of itself"""
    ask_s: float = 5.0
    """how long a node that was asked may take to answer"""
    dial_s: float = 60.0
    """how long a dial may take before it is given up as forgotten"""
    patience_s: float = 1.0
    """after this long without an answer, others are asked beside"""
    asks_max: int = 16
    answers_max: int = 4
    """dials under way only to answer a shuffle"""
    retry_s: float = 1.0
    """first pause after a refusal or a failure; doubles each time"""
    refused_max_s: float = 60.0
    lost_max_s: float = 300.0
    rest_after: int = 3
    """refusals in a row after which the search rests"""
    insist_after: int = 8
    """and after which a node that lacks more than one neighbour insists"""
    circle_max: int = 3
    """shuffles in a row answered by neighbours, after which a stranger is let in: the circle may be closed"""
    forced_s: float = 10.0
    """a node makes this one drop a neighbour for it, or tell others that it joined, once in so long"""
    forced_max: int = 64
    """nodes that may do so within that time"""
    linger_s: float = 10.0
    """a link is released this long after its last use, so that what was sent arrives"""


@dataclass(frozen=True, slots=True)
class TreeConfig:
    """Plumtree."""

    offer_s: float = 0.1
    """offers wait this long for others to travel with"""
    graft_first_s: float = 0.5
    """from the first offer of a message to asking for it: the tree gets this long, and up to twice as long"""
    graft_next_s: float = 0.25
    """from asking one offerer to asking the next"""
    optimise_hops: int = 4
    """a neighbour that had a message so many hops earlier takes the place of the one it came from"""
    detour_hops: int = 2
    """of two that pushed a message, the one so much nearer to the source stays, even if it came second"""
    recall_s: float = 30.0
    """a new neighbour is offered what came within so long"""
    trees_max: int = 1024
    """authors whose tree is remembered; the messages of others go everywhere"""
    hops_max: int = HOPS_MAX
    seen_max: int = 65_536
    seen_s: float = 120.0
    kept_max: int = 4096
    kept_bytes_max: int = 16 << 20
    kept_s: float = 60.0
    wanted_max: int = WANTED_MAX
    """messages one neighbour was the first to offer, that have not come yet"""
    offers_max: int = 8
    """offerers remembered of one message"""
    graft_bytes_max: int = 4 << 20
    """given for one Graft"""
    given_max: int = 3
    """how often one neighbour is given one message on asking"""


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """Both."""

    views: ViewConfig = field(default_factory=ViewConfig)
    tree: TreeConfig = field(default_factory=TreeConfig)
