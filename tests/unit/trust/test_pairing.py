from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as replaced

import msgspec
import pytest

from cis.trust.codes import Code
from cis.trust.invites import Ticket
from cis.trust.pairing import (
    Agreed,
    Broken,
    Clash,
    Clashed,
    Offered,
    PairStep,
    Shower,
    Side,
    Taker,
    fingerprint,
    settle,
)
from cis.trust.words import WORDS
from cis.wire.handshake import HELLO_BYTES
from cis.wire.pairing import Claim, Introduction
from tests.unit.trust.cluster import CERTIFICATE_HASH, NOW_MS, entropy, identity

CODE = Code(42, ("copper", "otter"))
EVE = identity(3)
Alter = Callable[[int, bytes], bytes]


def claim(seed: int, *, movable: bool = True, admin: bool = True) -> Claim:
    who = identity(seed)
    return Claim(who.node, who.derive_key("cluster"), f"node{seed}", movable, admin, NOW_MS)


def ticket_of(issuer: Claim) -> Ticket:
    return Ticket(issuer.cluster, issuer.node, (("192.0.2.1", 7677),), bytes([7]) * 32, NOW_MS)


@dataclass
class Exchange:
    """Both ends of one pairing; ``run`` hands every frame over, through ``alter`` if given."""

    taker: Taker
    shower: Shower
    frames: list[bytes] = field(default_factory=list)
    last: dict[Side, PairStep] = field(default_factory=dict)

    def run(self, alter: Alter = lambda _, frame: frame) -> tuple[object, object]:
        """Return what became of it for the taker and for the shower."""
        ends = (self.shower, self.taker)
        frame: bytes | None = self.taker.start()
        while frame is not None:
            self.frames.append(frame)
            end = ends[(len(self.frames) - 1) % 2]
            step = end.receive(alter(len(self.frames) - 1, frame))
            self.last[end.side] = step
            frame = step.send
            if isinstance(step.outcome, Agreed):
                own = self.taker if end is self.taker else self.shower
                frame = end.offer(ticket_of(own._own))
        return self.outcome(Side.TAKER), self.outcome(Side.SHOWER)

    def outcome(self, side: Side) -> object:
        return self.last[side].outcome if side in self.last else None


def exchange(
    taker: Claim | None = None,
    shower: Claim | None = None,
    *,
    typed: Code = CODE,
    taker_hash: bytes = CERTIFICATE_HASH,
    seed: int = 50,
) -> Exchange:
    return Exchange(
        Taker(typed, taker or claim(1), taker_hash, entropy(seed)),
        Shower(CODE, shower or claim(2), CERTIFICATE_HASH, entropy(seed + 1)),
    )


def succeeded(outcome: object) -> bool:
    return isinstance(outcome, Agreed | Offered)


def test_the_taker_joins_where_both_are_alone_and_gets_a_ticket_of_the_shower() -> None:
    taker, shower = exchange().run()
    assert isinstance(taker, Offered)
    assert isinstance(shower, Agreed)
    assert taker.ticket == ticket_of(claim(2))
    assert taker.peer.node == claim(2).node
    assert shower.peer.node == claim(1).node
    assert taker.words == shower.words


def test_the_shower_joins_where_the_taker_has_a_cluster_to_keep() -> None:
    taker, shower = exchange(claim(1, movable=False)).run()
    assert isinstance(taker, Agreed)
    assert isinstance(shower, Offered)
    assert shower.ticket.issuer == claim(1).node
    assert taker.words == shower.words


def test_the_words_depend_on_both_ids_and_the_cluster() -> None:
    others = [
        exchange(),
        exchange(claim(1), claim(3)),
        exchange(claim(3), claim(2)),
        exchange(claim(1), msgspec.structs.replace(claim(2), cluster=bytes(32))),
    ]
    seen = [one.run()[0].words for one in others]
    assert len(set(seen)) == 4
    assert all(len(words) == 4 and set(words) <= set(WORDS) for words in seen)


def test_the_words_change_with_either_sides_nonce() -> None:
    mine, other = bytes(32), b"\1" + bytes(31)
    seen = {fingerprint(claim(2), claim(1), nonces) for nonces in (mine + mine, other + mine, mine + other)}
    assert len(seen) == 3
    taker, shower = exchange(seed=50).run()
    again, _ = exchange(seed=70).run()
    assert taker.words == shower.words != again.words


def change_claim(shower: Shower) -> Introduction:
    return Introduction(shower._introduction.nonce, claim(3))


def change_nonce(shower: Shower) -> Introduction:
    return Introduction(bytes(32), shower._introduction.claim)


@pytest.mark.parametrize("taker", [claim(1), claim(1, movable=False)], ids=["taker joins", "shower joins"])
@pytest.mark.parametrize("change", [change_claim, change_nonce])
def test_a_shower_that_changes_its_claim_after_seeing_the_takers_nonce_is_refused(
    taker: Claim, change: Callable[[Shower], Introduction]
) -> None:
    met = exchange(taker)
    introduced = met.taker.receive(met.shower.receive(met.taker.start()).send).send
    met.shower._introduction = change(met.shower)
    ended = met.taker.receive(met.shower.receive(introduced).send)
    assert isinstance(ended.outcome, Broken)
    assert "bound" in ended.outcome.detail
    assert ended.send is None


@pytest.mark.parametrize(
    ("taker", "shower", "settled"),
    [
        (claim(1), claim(2), Side.TAKER),
        (claim(1), claim(2, movable=False), Side.TAKER),
        (claim(1, movable=False), claim(2), Side.SHOWER),
        (claim(1, movable=False), claim(2, movable=False), Clash.BOTH_SETTLED),
        (claim(1), claim(2, movable=False, admin=False), Clash.NOT_ADMIN),
        (claim(1, movable=False, admin=False), claim(2), Clash.NOT_ADMIN),
        (claim(1), claim(1), Clash.SELF),
        (claim(1), msgspec.structs.replace(claim(2), cluster=claim(1).cluster), Clash.SAME_CLUSTER),
    ],
)
def test_who_joins_whom_follows_from_both_claims(taker: Claim, shower: Claim, settled: Side | Clash) -> None:
    assert settle(taker, shower) is settled
    if isinstance(settled, Clash):
        outcomes = exchange(taker, shower).run()
        assert outcomes == (Clashed(shower, settled), Clashed(taker, settled))


@pytest.mark.parametrize(
    "typed",
    [Code(42, ("copper", "parrot")), Code(42, ("otter", "copper")), Code(43, ("copper", "otter"))],
    ids=str,
)
def test_a_wrong_code_is_found_by_the_shower_which_has_said_nothing_of_itself(typed: Code) -> None:
    met = exchange(typed=typed)
    taker, shower = met.run()
    assert isinstance(shower, Broken)
    assert met.last[Side.SHOWER].send is None
    assert taker is None
    assert len(met.frames) == 3
    assert not any(claim(2).node in frame for frame in met.frames)


def test_nothing_that_names_a_node_travels_open() -> None:
    for taker in (claim(1), claim(1, movable=False)):
        met = exchange(taker)
        met.run()
        said = b"".join(met.frames)
        for who in (claim(1), claim(2)):
            assert who.node not in said
            assert who.cluster not in said
            assert who.name.encode() not in said
        assert CODE.secret not in said


def test_the_first_frame_is_as_long_as_a_hello_and_claims_differ_in_no_length() -> None:
    named = msgspec.structs.replace(claim(1), name="a" * 32)
    lengths = set()
    for taker in (claim(1), named):
        met = exchange(taker)
        met.run()
        assert len(met.frames[0]) == HELLO_BYTES
        lengths.add(tuple(map(len, met.frames)))
    assert len(lengths) == 1


def test_one_in_the_middle_with_a_certificate_of_its_own_is_found_by_both() -> None:
    forwarded = exchange(taker_hash=bytes(32))
    assert isinstance(forwarded.run()[1], Broken)
    taker = exchange(taker_hash=bytes(32)).taker  # its claim cannot be answered by who only knows the other channel
    other = exchange()
    other.run()
    reply = other.frames[1]
    taker.start()
    assert taker.receive(reply).send is not None
    assert isinstance(taker.receive(other.frames[3]).outcome, Broken)


def test_one_in_the_middle_that_guesses_wrong_towards_both_is_found_by_both() -> None:
    wrong = Code(42, ("parrot", "zigzag"))
    taker, shower = exchange().taker, exchange().shower
    to_taker = Shower(wrong, claim(3), CERTIFICATE_HASH, entropy(8))
    to_shower = Taker(wrong, claim(3), CERTIFICATE_HASH, entropy(9))
    answered = taker.receive(to_taker.receive(taker.start()).send)
    assert isinstance(to_taker.receive(answered.send).outcome, Broken)
    assert isinstance(taker.receive(answered.send).outcome, Broken)
    claimed = to_shower.receive(shower.receive(to_shower.start()).send)
    assert isinstance(shower.receive(claimed.send).outcome, Broken)


@pytest.mark.parametrize("taker", [claim(1), claim(1, movable=False)], ids=["taker joins", "shower joins"])
def test_a_changed_byte_anywhere_keeps_the_ticket_from_whoever_is_not_meant(taker: Claim) -> None:
    honest = exchange(taker)
    honest.run()
    for number, frame in enumerate(honest.frames):
        for place in range(0, len(frame), 17):
            changed = frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :]
            outcomes = exchange(taker).run(lambda at, sent, n=number, c=changed: c if at == n else sent)
            assert any(isinstance(one, Broken) for one in outcomes), (number, place)
            assert not all(map(succeeded, outcomes)), (number, place)


def test_frames_of_another_exchange_with_the_same_code_are_refused() -> None:
    earlier = exchange(seed=90)
    earlier.run()
    for number in range(1, len(earlier.frames)):
        outcomes = exchange().run(lambda at, sent, n=number: earlier.frames[n] if at == n else sent)
        assert any(isinstance(one, Broken) for one in outcomes), number
        assert not all(map(succeeded, outcomes)), number


def test_replaying_a_whole_taker_gets_nothing_from_a_new_run_of_the_code() -> None:
    honest = exchange()
    honest.run()
    shower = exchange(seed=60).shower
    assert shower.receive(honest.frames[0]).send is not None
    assert isinstance(shower.receive(honest.frames[2]).outcome, Broken)


@pytest.mark.parametrize("swapped", [(0, 2), (2, 4)])
def test_frames_out_of_order_are_refused(swapped: tuple[int, int]) -> None:
    honest = exchange()
    honest.run()
    first, second = swapped
    outcomes = exchange().run(lambda at, sent: honest.frames[second] if at == first else sent)
    assert any(isinstance(one, Broken) for one in outcomes)


@pytest.mark.parametrize("number", [1, 3])
def test_an_answer_made_of_what_was_asked_is_refused(number: int) -> None:
    met = exchange()
    outcomes = met.run(lambda at, sent: met.frames[at - 1] if at == number else sent)
    assert isinstance(outcomes[0], Broken)


def test_our_own_element_sent_back_is_refused() -> None:
    taker = exchange().taker
    element = taker.start()
    place = element.index(b"\xc4\x20") + 2
    reply = msgspec.msgpack.encode([65, 1, element[place : place + 32], bytes(32)])
    assert isinstance(taker.receive(reply).outcome, Broken)


@pytest.mark.parametrize(
    "element",
    [
        bytes(32),
        b"\1" + bytes(31),
        b"\xff" * 32,
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
    ids=["zero", "neutral", "no point", "small order"],
)
def test_what_is_no_element_of_the_group_is_refused(element: bytes) -> None:
    start = msgspec.msgpack.decode(exchange().taker.start())
    forged = msgspec.msgpack.encode([64, start[1], element, start[3]])
    assert isinstance(exchange().shower.receive(forged).outcome, Broken)
    taker = exchange().taker
    taker.start()
    assert isinstance(taker.receive(msgspec.msgpack.encode([65, 1, element, bytes(32)])).outcome, Broken)


def test_a_ticket_of_another_node_or_cluster_is_refused() -> None:
    for other in (replaced(ticket_of(claim(2)), issuer=EVE.node), replaced(ticket_of(claim(2)), cluster=bytes(32))):
        met = exchange()
        frame: bytes | None = met.taker.start()
        for end in (met.shower, met.taker, met.shower, met.taker):
            frame = end.receive(frame).send
        assert isinstance(met.shower.receive(frame).outcome, Agreed)
        assert isinstance(met.taker.receive(met.shower.offer(other)).outcome, Broken)


def test_versions_that_do_not_meet_end_it() -> None:
    start = msgspec.msgpack.decode(exchange().taker.start())
    assert isinstance(exchange().shower.receive(msgspec.msgpack.encode([64, [9], *start[2:]])).outcome, Broken)


def test_the_taker_knows_whether_the_other_side_had_a_guess() -> None:
    met = exchange()
    first = met.taker.start()
    assert not met.taker.begun
    met.taker.receive(met.shower.receive(first).send)
    assert met.taker.begun
