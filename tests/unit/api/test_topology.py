"""Who is connected with whom, put together from what members say."""

from __future__ import annotations

from cis.api.telemetry.topology import ties_between
from cis.model import NodeId
from cis.node.bulletins.presence import Tie

ANA, BOB, EVE, NOBODY = (NodeId(bytes([number]) * 32) for number in (3, 2, 1, 9))
NAMES = {ANA: "ana", BOB: "bob", EVE: "eve"}


def test_what_both_ends_say_is_one_tie_and_the_first_ones_word_counts() -> None:
    (tie,) = ties_between(NAMES, {BOB: [Tie(ANA, "lan", True, 2000)], ANA: [Tie(BOB, "punched", False, 9000)]})
    assert (tie.ends, tie.told_by) == (("ana", "bob"), ("ana", "bob"))
    assert (tie.path, tie.neighbour, tie.rtt_ms) == ("lan", True, 2.0)


def test_ties_are_in_the_order_of_their_names_and_say_who_told_them() -> None:
    stated = {EVE: [Tie(BOB, "lan", True), Tie(ANA, "relayed", False)], ANA: [Tie(BOB, "lan", True)], BOB: []}
    found = list(ties_between(NAMES, stated))
    assert [tie.ends for tie in found] == [("ana", "bob"), ("ana", "eve"), ("bob", "eve")]
    assert [tie.told_by for tie in found] == [("ana",), ("eve",), ("eve",)]
    assert found[1].rtt_ms is None


def test_nobody_is_tied_to_itself_or_to_who_is_no_member() -> None:
    assert not list(ties_between(NAMES, {ANA: [Tie(ANA, "lan", True), Tie(NOBODY, "lan", True)]}))
