from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from cis.errors import Fault
from cis.trust.handshake import (
    KEYS_MAX,
    Authenticated,
    Dialler,
    HandshakeKey,
    KeyUsed,
    Listener,
    Refused,
    Step,
    Transcript,
    _mac,
)
from cis.trust.identity import Identity, Label
from cis.trust.invites import ticket_id
from cis.trust.membership import Membership, state
from cis.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    HELLO_BYTES,
    Accept,
    Proof,
    Refuse,
    decode_answer,
    decode_hello,
    decode_proof,
    encode_frame,
    encode_hello,
)
from cis.wire.membership import Role
from cis.wire.pairing import encode_start
from tests.unit.trust.cluster import CERTIFICATE_HASH, Cluster, Meeting, entropy, identity, meeting

SECRET = bytes([7]) * 32
TICKET = HandshakeKey(SECRET, ticket_id(SECRET))


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.admit(identity(2), "bob")
    return made


def refused_with(step: Step, fault: Fault) -> str:
    assert isinstance(step.outcome, Refused), step
    assert step.outcome.fault is fault, step
    return step.outcome.detail


def test_two_members_learn_who_the_other_is(cluster: Cluster) -> None:
    bob = identity(2)
    dialled, listened = meeting(cluster, bob, cluster.ana, expected=cluster.ana.node).run()
    assert isinstance(dialled.outcome, Authenticated)
    assert isinstance(listened.outcome, Authenticated)
    assert dialled.outcome.node == cluster.ana.node
    assert listened.outcome.node == bob.node
    assert dialled.outcome.membership == cluster.log.digest()
    assert dialled.outcome.version == listened.outcome.version == 1
    assert listened.outcome.key_used is KeyUsed.DISCOVERY
    assert listened.outcome.cluster == cluster.log.cluster


def test_any_member_is_good_for_a_dialler_that_expects_no_one(cluster: Cluster) -> None:
    dialled, _ = meeting(cluster, identity(2), cluster.ana, expected=None).run()
    assert isinstance(dialled.outcome, Authenticated)


def test_the_hello_has_one_length_whatever_it_offers() -> None:
    lengths = {len(encode_hello(range(1, last), bytes(32), bytes(32))) for last in range(2, 17)}
    assert lengths == {HELLO_BYTES}


def test_a_whole_handshake_stays_within_its_limit(cluster: Cluster) -> None:
    met = meeting(cluster, identity(2), cluster.ana)
    met.run()
    assert len(met.frames) == 4
    assert sum(map(len, met.frames)) < HANDSHAKE_BYTES_MAX // 4


def test_a_dialler_without_the_key_gets_no_byte_back(cluster: Cluster) -> None:
    met = meeting(cluster, identity(2), cluster.ana, dialler_key=HandshakeKey(bytes(32)))
    _, listened = met.run()
    refused_with(listened, Fault.REFUSED)
    assert listened.send is None
    assert len(met.frames) == 1


def test_a_scanner_gets_the_same_refusal_for_whatever_it_sends(cluster: Cluster) -> None:
    hello = meeting(cluster, identity(2), cluster.ana).dialler.start()
    wrong_key = encode_hello([1], bytes(32), bytes(32))
    wrong_version = encode_hello([9], bytes(32), bytes(32))
    for frame in (b"", b"GET / HTTP/1.1", hello[:-1], hello + b"\0", wrong_key, wrong_version, bytes(70_000)):
        step = meeting(cluster, identity(2), cluster.ana).listener.receive(frame)
        refused_with(step, Fault.REFUSED)
        assert step.send is None


def test_a_listener_that_does_not_know_the_cluster_learns_no_identity(cluster: Cluster) -> None:
    met = meeting(cluster, identity(2), cluster.ana)
    stranger = meeting(cluster, identity(2), cluster.ana, listener_keys=[HandshakeKey(bytes(32))]).listener
    refused_with(stranger.receive(met.dialler.start()), Fault.REFUSED)


def test_a_pairing_code_that_nobody_waits_for_is_called_that(cluster: Cluster) -> None:
    listener = meeting(cluster, identity(2), cluster.ana).listener
    detail = refused_with(listener.receive(encode_start((1,), bytes(32))), Fault.REFUSED)
    assert "pairing code" in detail
    assert "cis pair" in detail


def test_a_listener_with_many_keys_finds_the_right_one(cluster: Cluster) -> None:
    keys = [HandshakeKey(bytes([number]) * 32, bytes([number]) * 16) for number in range(62)]
    _, listened = meeting(cluster, identity(2), cluster.ana, listener_keys=[*keys, cluster.key(), TICKET]).run()
    assert isinstance(listened.outcome, Authenticated)
    assert listened.outcome.ticket_id is None


def test_a_listener_takes_no_more_keys_than_its_limit(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match=f"at most {KEYS_MAX}"):
        Listener(cluster.local(cluster.ana), [cluster.key()] * (KEYS_MAX + 1), entropy(1))
    Listener(cluster.local(cluster.ana), [cluster.key()] * KEYS_MAX, entropy(1))


def test_another_cluster_with_the_same_key_is_refused(cluster: Cluster) -> None:
    dialled, listened = meeting(cluster, identity(2), cluster.ana, cluster=bytes(32)).run()
    refused_with(dialled, Fault.REFUSED)
    assert listened.outcome is None


def test_one_between_with_its_own_certificate_is_caught_by_the_listener(cluster: Cluster) -> None:
    _, listened = meeting(cluster, identity(2), cluster.ana, certificate_hash=bytes(32)).run()
    refused_with(listened, Fault.REFUSED)


def test_one_between_who_knows_the_key_is_caught_by_both_sides(cluster: Cluster) -> None:
    # The dialler's channel ends at the man in the middle, whose certificate hash differs. Knowing K he makes
    # the HMACs anew; what he cannot make is either signature.
    bob, middle = identity(2), identity(3)
    met = meeting(cluster, bob, cluster.ana, expected=cluster.ana.node, certificate_hash=bytes(32))
    met.dialler.start()
    towards_ana = Dialler(cluster.local(middle), cluster.key(), None, entropy(9))
    answer = met.listener.receive(towards_ana.start()).send
    assert answer is not None
    mac = _mac(cluster.keys.discovery_key, b"L" + met.dialler._transcript.digest())
    passed_on = encode_frame(msgspec.structs.replace(decode_answer(answer), mac=mac))
    assert "identity" in refused_with(met.dialler.receive(passed_on), Fault.REFUSED)
    as_bob = towards_ana.receive(answer).send
    assert as_bob is not None
    claimed = encode_frame(msgspec.structs.replace(decode_proof(as_bob), node=bob.node))
    assert "identity" in refused_with(met.listener.receive(claimed), Fault.REFUSED)


def test_a_recorded_hello_is_refused_under_another_certificate(cluster: Cluster) -> None:
    recorded = meeting(cluster, identity(2), cluster.ana)
    recorded.run()
    renewed = replace(cluster.local(cluster.ana), certificate_hash=bytes(32))
    refused_with(Listener(renewed, [cluster.key()], entropy(99)).receive(recorded.frames[0]), Fault.REFUSED)


def test_a_recorded_proof_is_refused_by_a_listener_with_a_fresh_nonce(cluster: Cluster) -> None:
    recorded = meeting(cluster, identity(2), cluster.ana)
    recorded.run()
    again = Listener(cluster.local(cluster.ana), [cluster.key()], entropy(99))
    assert again.receive(recorded.frames[0]).outcome is None
    refused_with(again.receive(recorded.frames[2]), Fault.REFUSED)


def test_another_node_at_the_address_dialled_is_refused_before_the_dialler_says_who_it_is(
    cluster: Cluster,
) -> None:
    carol = identity(3)
    cluster.admit(carol, "carol")
    met = meeting(cluster, identity(2), carol, expected=cluster.ana.node)
    dialled, _ = met.run()
    refused_with(dialled, Fault.REFUSED)
    assert len(met.frames) == 2


def test_a_node_that_dialled_itself_says_so(cluster: Cluster) -> None:
    dialled, _ = meeting(cluster, cluster.ana, cluster.ana).run()
    refused_with(dialled, Fault.SELF)


def test_one_who_knows_the_key_but_is_no_member_hears_why_he_is_refused(cluster: Cluster) -> None:
    dialled, listened = meeting(cluster, identity(9), cluster.ana).run()
    refused_with(listened, Fault.NOT_MEMBER)
    assert "cis invite" in refused_with(dialled, Fault.NOT_MEMBER)


def test_a_dialler_does_not_take_a_listener_that_is_no_member(cluster: Cluster) -> None:
    dialled, _ = meeting(cluster, identity(2), identity(9)).run()
    refused_with(dialled, Fault.NOT_MEMBER)


@pytest.mark.parametrize("dialling", [True, False])
def test_a_member_the_other_has_not_heard_of_is_known_by_its_chain(dialling: bool) -> None:
    cluster, admin, newcomer = Cluster(), identity(2), identity(3)
    cluster.admit(admin, "admin", Role.ADMIN)
    behind = cluster.copy()
    cluster.admit(newcomer, "newcomer", issuer=admin)
    if dialling:
        met = meeting(cluster, newcomer, cluster.ana, listener_log=behind)
    else:
        met = meeting(cluster, cluster.ana, newcomer, dialler_log=behind)
    for step in met.run():
        assert isinstance(step.outcome, Authenticated), step


def test_a_chain_made_by_a_writer_admits_no_one(cluster: Cluster) -> None:
    writer, friend = identity(2), identity(3)
    forged = state(writer, cluster.log.cluster, cluster.log.ids(), cluster.grant(friend, "friend"), b"", bytes(16), 0)
    met = meeting(cluster, friend, cluster.ana, chain=(*cluster.log.chain(writer.node), forged))
    refused_with(met.run()[1], Fault.NOT_MEMBER)


def test_a_ticket_authenticates_one_who_is_no_member_as_holder_of_that_ticket(cluster: Cluster) -> None:
    joiner = identity(5)
    nothing = Membership(cluster.log.cluster)
    dialled, listened = meeting(
        cluster,
        joiner,
        cluster.ana,
        dialler_key=TICKET,
        listener_keys=[cluster.key(), TICKET],
        expected=cluster.ana.node,
        dialler_log=nothing,
    ).run()
    assert isinstance(dialled.outcome, Authenticated)
    assert isinstance(listened.outcome, Authenticated)
    assert listened.outcome.key_used is KeyUsed.TICKET
    assert listened.outcome.ticket_id == ticket_id(SECRET)
    assert listened.outcome.node == joiner.node


def test_a_ticket_is_shown_to_its_issuer_only(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="issuer"):
        Dialler(cluster.local(identity(5)), TICKET, None, entropy(1))
    dialled, _ = meeting(
        cluster,
        identity(5),
        identity(2),
        dialler_key=TICKET,
        listener_keys=[TICKET],
        expected=cluster.ana.node,
    ).run()
    refused_with(dialled, Fault.REFUSED)


def test_the_highest_common_version_is_chosen(cluster: Cluster) -> None:
    dialled, _ = meeting(cluster, identity(2), cluster.ana, versions=(3, 1, 2)).run()
    assert isinstance(dialled.outcome, Authenticated)
    assert dialled.outcome.version == 1


def test_the_listener_chooses_among_the_versions_it_speaks_itself(cluster: Cluster) -> None:
    dialler = Dialler(replace(cluster.local(identity(2)), versions=(1, 2, 3)), cluster.key(), None, entropy(71))
    listener = Listener(replace(cluster.local(cluster.ana), versions=(1, 2)), [cluster.key()], entropy(72))
    for ended in Meeting(dialler, listener).run():
        assert isinstance(ended.outcome, Authenticated)
        assert ended.outcome.version == 2


def test_without_a_common_version_one_who_knows_the_key_hears_so(cluster: Cluster) -> None:
    _, listened = meeting(cluster, identity(2), cluster.ana, versions=(2,)).run()
    refused_with(listened, Fault.VERSION)


@pytest.mark.parametrize("altered", [0, 1, 2])
def test_no_byte_of_the_first_three_frames_can_be_changed(cluster: Cluster, altered: int) -> None:
    bob = identity(2)
    founding = Membership(cluster.log.cluster, cluster.log.entries_missing_from()[:1])

    def run(place: int | None) -> tuple[list[bytes], bool]:
        def alter(number: int, frame: bytes) -> bytes:
            if number != altered or place is None:
                return frame
            return frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :]

        met = meeting(cluster, bob, cluster.ana, listener_log=founding)
        return met.frames, any(isinstance(step.outcome, Refused) for step in met.run(alter))

    frames, refused = run(None)
    assert not refused
    assert [place for place in range(len(frames[altered])) if not run(place)[1]] == []


def test_a_dialler_knows_only_the_faults_it_knows(cluster: Cluster) -> None:
    met = meeting(cluster, identity(2), cluster.ana)
    answer = met.listener.receive(met.dialler.start()).send
    assert answer is not None
    met.dialler.receive(answer)
    step = met.dialler.receive(encode_frame(Refuse(999, "a reason of a later version")))
    assert refused_with(step, Fault.REFUSED) == "a reason of a later version"


def test_the_hello_says_nothing_of_who_dials(cluster: Cluster) -> None:
    frame = meeting(cluster, identity(2), cluster.ana).dialler.start()
    assert identity(2).node not in frame
    assert cluster.log.cluster not in frame
    assert decode_hello(frame).padding == bytes(len(decode_hello(frame).padding))


@pytest.mark.parametrize("wrong", [{"mac": bytes(32)}, {"version": 7}], ids=["mac", "version"])
def test_an_answer_must_show_the_key_and_a_version_that_was_offered(cluster: Cluster, wrong: dict[str, object]) -> None:
    met = meeting(cluster, identity(2), cluster.ana)
    answer = met.listener.receive(met.dialler.start()).send
    assert answer is not None
    altered = encode_frame(msgspec.structs.replace(decode_answer(answer), **wrong))
    refused_with(met.dialler.receive(altered), Fault.REFUSED)


def test_an_acceptance_of_another_node_is_none(cluster: Cluster) -> None:
    met = meeting(cluster, identity(2), cluster.ana)
    answer = met.listener.receive(met.dialler.start()).send
    assert answer is not None
    met.dialler.receive(answer)
    refused_with(met.dialler.receive(encode_frame(Accept(identity(3).node, bytes(32), ()))), Fault.REFUSED)


def proof_by(cluster: Cluster, who: Identity, chain: tuple[bytes, ...]) -> Step:
    """What the listener says to a proof made by hand, its signature right."""
    met = meeting(cluster, identity(2), cluster.ana)
    transcript = Transcript(CERTIFICATE_HASH)
    hello = transcript.take(met.dialler.start())
    answer = met.listener.receive(hello).send
    assert answer is not None
    transcript.take(answer)
    signature = who.sign(Label.DIALLER, cluster.log.cluster + transcript.digest())
    return met.listener.receive(encode_frame(Proof(who.node, chain, signature)))


def test_a_listener_knows_its_own_identity_when_it_meets_it(cluster: Cluster) -> None:
    refused_with(proof_by(cluster, cluster.ana, ()), Fault.SELF)


def test_a_handshake_over_its_limit_in_all_is_refused_though_each_frame_is_within(cluster: Cluster) -> None:
    assert isinstance(proof_by(cluster, identity(2), (bytes(7000),)).outcome, Authenticated)
    refused_with(proof_by(cluster, identity(2), (bytes(7000), bytes(7000), bytes(2000))), Fault.REFUSED)
