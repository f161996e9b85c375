"""Sessions between real stores: what each lacks and no more, whatever is cut off, both ways at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.errors import Fault, PeerFault
from cis.model import Kind, ReplicaId, SpaceId, VersionVector
from cis.store.author import Write
from cis.store.store import Store
from cis.sync import (
    AddEntries,
    Fetch,
    Finished,
    InspectOwn,
    Send,
    SendFrame,
    Session,
    Standing,
    digest,
    from_wire,
    to_wire,
)
from cis.sync.session import WINDOW_BYTES
from cis.sync.vectors import forks
from cis.wire import messages
from cis.wire.content import Content
from cis.wire.messages import ENTRIES_MAX, FRAME_BYTES_MAX, MembershipEntries, encode
from tests.stores import SPACE, Author, open_store, put, state_hash, text, write
from tests.unit.sync.driver import Log, Side, run, sync

ME = ReplicaId(b"m" * 40)
THEM = ReplicaId(b"t" * 40)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    with open_store(tmp_path / "a", Author(1)) as one, open_store(tmp_path / "b", Author(2)) as two:
        yield one, two


def fill(store: Store, name: str, count: int, size: int = 400) -> None:
    write(store, *[put(f"{name}/{number}", f"{number:04} " + "x" * size) for number in range(count)])


def test_two_nodes_in_step_exchange_one_summary_each(stores: tuple[Store, Store]) -> None:
    one, two = stores
    fill(one, "a", 5)
    sync(one, two)
    first, second = sync(one, two)
    assert first.session.finished
    assert first.session.report.in_step
    assert first.sent + second.sent <= 1024
    assert first.sent_segments == second.sent_segments == 0


def test_both_directions_run_at_once_and_both_end_equal(stores: tuple[Store, Store]) -> None:
    one, two = stores
    fill(one, "a", 3000)
    fill(two, "b", 2000)
    first, second = sync(one, two)
    assert first.session.finished
    assert second.session.finished
    assert first.session.report.changes_received == 2000
    assert second.session.report.changes_received == 3000
    assert state_hash(one) == state_hash(two)


def test_only_what_is_lacking_is_sent(stores: tuple[Store, Store]) -> None:
    one, two = stores
    fill(one, "a", 2000)
    sync(one, two)
    write(one, put("one", "more"))
    first, second = sync(one, two)
    assert first.sent < 2048
    assert second.session.report.changes_received == 1


def test_deletes_travel(stores: tuple[Store, Store]) -> None:
    one, two = stores
    write(one, put("k", "v"))
    sync(one, two)
    write(two, Write(SPACE, Kind.DELETE, Content("k")))
    sync(one, two)
    assert text(one, "k") is None
    assert state_hash(one) == state_hash(two)


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_cut_session_resumes_with_the_rest_alone(stores: tuple[Store, Store], frames: int) -> None:
    one, two = stores
    fill(one, "a", 6000)
    cut, _ = sync(one, two, frames_max=frames)
    assert not cut.session.finished
    with two.snapshot() as reader:
        held = reader.vector(SPACE).contiguous(one.replica)
    first, second = sync(one, two)
    assert second.session.report.changes_received == 6000 - held
    assert first.session.report.segments_sent >= 1
    assert frames == 0 or 0 < held < 6000
    assert state_hash(one) == state_hash(two)


def test_what_a_third_node_wrote_passes_through(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, two = stores
    with open_store(tmp_path / "c", Author(3)) as three:
        write(three, put("k", "theirs"), put("k", "theirs again"))
        sync(one, three)
        sync(two, one)
    assert text(two, "k") == "theirs again"


def test_what_was_written_after_the_session_began_waits_for_the_next(stores: tuple[Store, Store]) -> None:
    one, two = stores
    write(one, put("before", "1"))
    sides = Side(one), Side(two)
    write(one, put("after", "2"))
    run(*sides)
    assert (text(two, "before"), text(two, "after")) == ("1", None)
    sync(one, two)
    assert text(two, "after") == "2"
    for side in sides:
        side.close()


def test_membership_goes_first_and_large_logs_go_in_batches(stores: tuple[Store, Store]) -> None:
    one, two = stores
    write(one, put("k", "v"))
    left = Side(one, Log([b"%d" % number + bytes(900) for number in range(3000)]))
    right = Side(two, Log([b"other"]))
    run(left, right)
    assert left.session.finished
    assert right.session.finished
    assert sorted(left.log.entries) == sorted(right.log.entries)
    assert text(two, "k") == "v"
    for side in (left, right):
        side.close()


def test_a_peer_that_holds_more_of_our_own_log_is_noticed(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    """A backup put back: the peer remembers what this store forgot, and gives it back."""
    one, two = stores
    write(one, put("k", "v"))
    sync(one, two)
    with open_store(tmp_path / "restored", Author(1)) as restored:
        restored.replica = one.replica  # what a rolled-back machine would go on as
        side, _ = sync(restored, two)
        assert [(effect.space, effect.seq) for effect in side.inspected] == [(SPACE, 1)]
        assert text(restored, "k") == "v"


def test_a_space_only_one_side_offers_is_left_alone(stores: tuple[Store, Store]) -> None:
    one, _ = stores
    write(one, put("k", "v"))
    mine = Session(
        {SPACE: Standing(VersionVector({ME: 3})), SpaceId(b"x" * 16): Standing(VersionVector({ME: 9}))}, Log(), own=ME
    )
    effects = mine.receive(messages.Summary(Log().digest(), [(SPACE, digest(VersionVector()))]))
    vectors = [effect.message for effect in effects if isinstance(effect, Send)]
    assert [message.space for message in vectors if isinstance(message, messages.Vector)] == [SPACE]


# --- the machine by itself -----------------------------------------------------------------------------------


def machine(seqs: dict[ReplicaId, int]) -> Session:
    return Session({SPACE: Standing(VersionVector(seqs))}, Log(), own=ME)


def page_of(seqs: dict[ReplicaId, int]) -> messages.Vector:
    (page,) = to_wire(SPACE, Standing(VersionVector(seqs)))
    return page


def streaming(seqs: dict[ReplicaId, int], theirs: dict[ReplicaId, int]) -> tuple[Session, list[object]]:
    session = machine(seqs)
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    return session, list(session.receive(page_of(theirs)))


VECTOR = page_of({})


@pytest.mark.parametrize(
    "message",
    [
        VECTOR,
        messages.Acknowledge(0),
        messages.Done(0),
        messages.MembershipIds([]),
        messages.MembershipEntries([]),
        messages.Ping(1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_whatever_comes_before_the_summary_is_a_fault(message: messages.Message) -> None:
    with pytest.raises(PeerFault, match="does not belong in summary") as caught:
        machine({ME: 1}).receive(message)
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        messages.Summary(bytes(32), []),
        VECTOR,
        to_wire(SpaceId(b"?" * 16), Standing(VersionVector())),
        messages.Acknowledge(1),
        messages.Done(5),
        messages.MembershipEntries([b"x"]),
        messages.Pong(1, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_does_not_belong_into_the_streaming_is_a_fault(message: messages.Message) -> None:
    session, _ = streaming({ME: 1}, {ME: 1, THEM: 2})
    with pytest.raises(PeerFault):
        session.receive(message)


def test_a_segment_before_the_vectors_or_after_the_end_is_a_fault() -> None:
    with pytest.raises(PeerFault):
        machine({}).receive_segment(100)
    session, _ = streaming({ME: 1}, {ME: 1, THEM: 2})
    session.receive(messages.Done(0))
    with pytest.raises(PeerFault):
        session.receive_segment(100)


def test_an_end_that_leaves_out_what_was_sent_is_a_fault() -> None:
    session, _ = streaming({ME: 1}, {ME: 1, THEM: 2})
    session.receive_segment(100)
    with pytest.raises(PeerFault, match="before all"):
        session.receive(messages.Done(99))


def test_acknowledging_what_was_not_sent_or_less_than_before_is_a_fault() -> None:
    session, effects = streaming({ME: 10}, {})
    (fetch,) = [effect for effect in effects if isinstance(effect, Fetch)]
    session.fetched(fetch, bytes(500), 5)
    with pytest.raises(PeerFault):
        session.receive(messages.Acknowledge(501))
    session.receive(messages.Acknowledge(500))
    for stale in (499, 500):  # one that says nothing new would keep a session, and its snapshot, open for ever
        with pytest.raises(PeerFault):
            session.receive(messages.Acknowledge(stale))


def test_no_more_is_sent_than_the_window_allows_and_credit_lets_it_go_on() -> None:
    session, effects = streaming({ME: 1000}, {})
    sent, at, size = 0, 1, FRAME_BYTES_MAX
    while fetches := [effect for effect in effects if isinstance(effect, Fetch)]:
        effects = list(session.fetched(fetches[0], bytes(size), at))
        sent += sum(len(effect.frame) for effect in effects if isinstance(effect, SendFrame))
        at += 1
    assert WINDOW_BYTES <= sent < WINDOW_BYTES + size
    effects = list(session.receive(messages.Acknowledge(size)))
    assert [effect.first for effect in effects if isinstance(effect, Fetch)] == [at]


def test_a_peer_that_ignores_the_window_is_stopped() -> None:
    session, _ = streaming({ME: 1}, {ME: 1, THEM: 2})
    for _ in range(WINDOW_BYTES // FRAME_BYTES_MAX + 1):
        session.receive_segment(FRAME_BYTES_MAX)
    with pytest.raises(PeerFault) as caught:
        session.receive_segment(FRAME_BYTES_MAX)
    assert caught.value.fault is Fault.TOO_LARGE


def test_nothing_is_acknowledged_before_it_is_committed() -> None:
    session, _ = streaming({ME: 1}, {ME: 1, THEM: 2})
    assert not any(isinstance(effect, Send) for effect in session.receive_segment(100))
    (acknowledge,) = session.merged(100, 1)
    assert acknowledge == Send(messages.Acknowledge(100))


def test_a_session_ends_once_both_have_ended_and_all_is_acknowledged() -> None:
    session, effects = streaming({ME: 1}, {THEM: 2})
    (fetch,) = [effect for effect in effects if isinstance(effect, Fetch)]
    effects = list(session.fetched(fetch, bytes(10), 1))
    assert Send(messages.Done(10)) in effects
    session.receive_segment(7)
    session.merged(7, 2)
    assert not any(isinstance(effect, Finished) for effect in session.receive(messages.Done(7)))
    assert any(isinstance(effect, Finished) for effect in session.receive(messages.Acknowledge(10)))
    assert session.finished


def test_nothing_is_sent_to_a_peer_that_collected_what_this_node_never_had_before_whole_states_are_compared() -> None:
    session = machine({ME: 1})
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    effects = session.receive(messages.Vector(SPACE, [(THEM, 9, b"")], [], [(THEM, 5)]))
    assert effects == [Send(messages.Done(0))]
    assert session.report.to_compare == (SPACE,)


def test_a_peer_that_had_everything_below_the_floor_is_served_as_ever() -> None:
    session = Session({SPACE: Standing(VersionVector({ME: 3}), VersionVector({ME: 2}))}, Log(), ME)
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    effects = session.receive(page_of({ME: 2}))
    assert [effect for effect in effects if isinstance(effect, Fetch)] == [Fetch(SPACE, ME, 3, 3)]
    assert not session.report.to_compare


def test_kinds_that_a_peer_keeps_away_are_left_out_of_what_is_read_for_it() -> None:
    session = machine({ME: 3})
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    effects = session.receive(messages.Vector(SPACE, [], unwanted=[3, 5]))
    assert [effect for effect in effects if isinstance(effect, Fetch)] == [Fetch(SPACE, ME, 1, 3, (3, 5))]


def test_entries_are_told_so_many_at_a_time_as_a_message_may_have() -> None:
    log = Log([number.to_bytes(2, "big") for number in range(ENTRIES_MAX + 1)])
    session = Session({SPACE: Standing(VersionVector({ME: 1}), VersionVector())}, log, ME)
    session.start()
    session.receive(messages.Summary(bytes(32), [(SPACE, bytes(32))]))
    effects = session.receive(messages.MembershipIds([]))
    batches = [one.message for one in effects if isinstance(one, Send) and isinstance(one.message, MembershipEntries)]
    assert [(len(batch.entries), batch.more) for batch in batches] == [(ENTRIES_MAX, True), (1, False)]


def test_a_peer_that_compared_whole_states_is_served_though_it_has_yet_to_have_it_all() -> None:
    session = Session({SPACE: Standing(VersionVector({ME: 3}), VersionVector({ME: 2}))}, Log(), ME)
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    effects = session.receive(messages.Vector(SPACE, [], [], [(ME, 2)]))
    assert [effect for effect in effects if isinstance(effect, Fetch)] == [Fetch(SPACE, ME, 1, 3)]
    assert not session.report.to_compare


def test_who_owes_a_comparison_is_not_in_step_with_one_that_holds_the_same() -> None:
    held, floor = VersionVector({ME: 3}), VersionVector({ME: 2})
    session = Session({SPACE: Standing(held, floor, owes=True)}, Log(), ME)
    session.receive(messages.Summary(Log().digest(), [(SPACE, digest(held))]))
    session.receive(to_wire(SPACE, Standing(held, floor))[0])
    assert session.report.to_compare == (SPACE,)


def test_our_own_log_at_the_peer_is_reported_for_inspection() -> None:
    _, effects = streaming({ME: 3}, {ME: 7})
    assert InspectOwn(SPACE, 7, b"") in effects


def test_all_of_what_a_node_states_of_a_space_is_read_as_it_was_stated() -> None:
    vector = VersionVector({ME: 3, THEM: 1})
    for stated in (
        Standing(vector, VersionVector({ME: 2}), owes=True),
        Standing(vector, VersionVector({ME: 2}), partial=True, unwanted=(3, 5)),
    ):
        assert from_wire(to_wire(SPACE, stated)) == stated


def test_a_session_that_finds_both_in_step_ends_with_its_report() -> None:
    session = Session({}, Log(), ME)
    assert session.receive(messages.Summary(Log().digest(), [])) == [Finished(session.report)]


def test_the_head_that_the_peer_has_of_our_own_log_is_inspected() -> None:
    held = VersionVector({ME: 3})
    session = Session({SPACE: Standing(held, VersionVector({}))}, Log(), ME)
    session.receive(messages.Summary(Log().digest(), [(SPACE, bytes(32))]))
    effects = session.receive(messages.Vector(SPACE, [(ME, 7, b"h" * 32), (THEM, 1, b"t" * 32)], [], []))
    assert InspectOwn(SPACE, 7, b"h" * 32) in effects


def test_entries_are_added_before_what_follows_them() -> None:
    session = machine({ME: 1})
    session.receive(messages.Summary(b"d" * 32, [(SPACE, bytes(32))]))
    session.receive(messages.MembershipIds([]))
    with pytest.raises(PeerFault):
        session.receive_segment(10)
    assert session.receive(messages.MembershipEntries([b"e"]))[0] == AddEntries((b"e",))


def test_vectors_come_back_from_the_wire_as_they_went() -> None:
    vector = VersionVector.gathered({ME: 3}, [(THEM, 5, 9), (THEM, 12, 12)])
    assert from_wire(to_wire(SPACE, Standing(vector))).vector == vector
    assert digest(from_wire(to_wire(SPACE, Standing(vector))).vector) == digest(vector)


def test_a_vector_of_any_size_is_stated_in_pages_that_are_each_taken() -> None:
    vector = VersionVector.gathered({}, [(THEM, seq, seq) for seq in range(5, 20_000, 2)])
    pages = to_wire(SPACE, Standing(vector))
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert [messages.decode(encode(page)) for page in pages] == pages
    assert from_wire(pages).vector == vector


def test_logs_that_end_alike_in_number_but_not_in_link_are_a_fork() -> None:
    mine, theirs = (VersionVector({ME: 3, THEM: 2}, heads={ME: head, THEM: b"t"}) for head in (b"a", b"b"))
    assert forks(mine, theirs) == [ME]
    assert digest(mine) != digest(theirs)
    assert forks(mine, VersionVector({ME: 4}, heads={ME: b"c"})) == []


def test_equal_vectors_have_equal_digests_and_others_do_not() -> None:
    vectors = [
        VersionVector(),
        VersionVector({ME: 1}),
        VersionVector({ME: 2}),
        VersionVector({THEM: 1}),
        VersionVector({ME: 1}, {ME: ((3, 3),)}),
        VersionVector({}, {ME: ((3, 3),)}),
        VersionVector({ME: 1, THEM: 1}),
    ]
    assert len({digest(vector) for vector in vectors}) == len(vectors)
    assert digest(VersionVector({ME: 1, THEM: 0})) == digest(VersionVector({ME: 1}))
