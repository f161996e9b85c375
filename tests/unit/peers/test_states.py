"""Where a peer stands: every row of the table, in the code and in the words beside it."""

from __future__ import annotations

import itertools

import pytest

from cis.model import NodeId
from cis.peers import Peer, State, states
from cis.peers.states import TRANSITIONS, Happening

ROWS = [line.split()[:3] for line in (states.__doc__ or "").splitlines() if line.split()[:1] and line[0].islower()]
ROWS = [row for row in ROWS if row[0] in set(State)]


def test_the_table_is_complete_and_says_what_its_words_say() -> None:
    assert set(TRANSITIONS) == set(itertools.product(State, Happening))
    assert {(State(state), Happening(what)): State(then) for state, what, then in ROWS} == dict(TRANSITIONS)


@pytest.mark.parametrize(("state", "what", "then"), ROWS)
def test_a_peer_goes_on_as_the_table_says(state: str, what: str, then: str) -> None:
    peer = Peer(NodeId(bytes(32)), state=State(state))
    peer.happened(Happening(what))
    assert peer.state == State(then)


def test_nothing_but_a_connection_makes_a_peer_active_and_nothing_makes_it_unknown_again() -> None:
    for (state, what), then in TRANSITIONS.items():
        assert (then is State.ACTIVE) == (what is Happening.CONNECTED or (state is State.ACTIVE and what != "lost"))
        assert then is not State.UNKNOWN or state is State.UNKNOWN
