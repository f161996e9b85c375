"""The pairs of one search (RFC 8445 §6.1.2): which use a relay, which are worth a check, and how many there may be."""

from __future__ import annotations

import ipaddress

from aioice.candidate import candidate_priority
from aioice.ice import CandidatePair, candidate_pair_priority

DIRECT_PAIRS_MAX = 48
RELAYED_PAIRS_MAX = 16
REMOTE_MAX = 64
RELAY_PRIORITY = candidate_priority(1, "relay")

State = CandidatePair.State


def is_relayed(pair: CandidatePair) -> bool:
    """Whether either end is a relay's."""
    return "relay" in (pair.local_candidate.type, pair.remote_candidate.type)


def priority(pair: CandidatePair, *, controlling: bool) -> int:
    """Its priority (§6.1.2.3)."""
    return candidate_pair_priority(pair.local_candidate, pair.remote_candidate, controlling)


def worth_checking(pair: CandidatePair) -> bool:
    """Whether it may work at all: a relay out in the world does not reach into private networks."""
    relay, there = pair.local_candidate, pair.remote_candidate
    if relay.type != "relay" or not ipaddress.ip_address(relay.host).is_global:
        return True
    return ipaddress.ip_address(there.host).is_global


def surplus(pairs: list[CandidatePair]) -> list[CandidatePair]:
    """The unchecked pairs beyond the caps, of a list in order; relayed ones have places of their own."""
    found = []
    for relayed, most in ((False, DIRECT_PAIRS_MAX), (True, RELAYED_PAIRS_MAX)):
        kept = [pair for pair in pairs if is_relayed(pair) == relayed]
        found += [pair for pair in kept[most:] if pair.state == State.WAITING and pair.task is None]
    return found


def has_room(pairs: list[CandidatePair], *, relayed: bool) -> bool:
    """Whether one more pair may be made for an address that a check came from."""
    return sum(is_relayed(pair) == relayed for pair in pairs) < (RELAYED_PAIRS_MAX if relayed else DIRECT_PAIRS_MAX)
