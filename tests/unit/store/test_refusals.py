"""What peers must not get past the store: nothing forged, altered, reused or unauthorised leaves a trace."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.model import Dot, Kind, Ref, ReplicaId, VersionVector, hlc, node_of
from cis.store import writer
from cis.store.author import Draft, Write, _Line
from cis.store.collection import raise_floor
from cis.store.log import LogReader
from cis.store.placing import BEYOND_MAX
from cis.store.store import Store
from cis.trust.sealing import SpaceKeys
from cis.wire.content import Content, encode_content
from cis.wire.messages import Ping, encode
from cis.wire.segment import Segment
from tests.stores import (
    KEYS,
    PRIVATE_KEYS,
    SPACE,
    START_MS,
    WAIT_S,
    Author,
    Clock,
    held_changes,
    merge,
    open_store,
    put,
    recall,
    segments,
    settle,
    state_hash,
    sync,
    text,
    write,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "mine", Author(1)) as store:
        write(store, put("mine", "1"))
        yield store


@pytest.fixture
def foreign(tmp_path: Path) -> list[Segment]:
    """Three changesets of another member."""
    with open_store(tmp_path / "theirs", Author(2)) as other:
        found = []
        for number in range(3):
            write(other, put(f"k{number}", "x" * 50), put(f"l{number}"))
            found = segments(other)
    return found


def refused(store: Store, frame: bytes) -> Fault:
    """Merge what must be refused; see that nothing of it was stored."""
    before = (state_hash(store), len(held_changes(store)), vector(store))
    with pytest.raises(PeerFault) as caught:
        store.merge(frame).result(WAIT_S)
    assert (state_hash(store), len(held_changes(store)), vector(store)) == before
    return caught.value.fault


def vector(store: Store) -> object:
    with store.snapshot() as reader:
        return reader.vector(SPACE)


def forge(author: Author, replica: ReplicaId, *contents: Content, at: int = 1, hlc_ms: int = START_MS) -> Segment:
    """A changeset written by hand: whatever it claims, its author signed it."""
    lines = [_Line(KEYS.memory_id(one.key), Kind.PUT, hlc(hlc_ms), (), encode_content(one)) for one in contents]
    draft = Draft(KEYS, replica, at, bytes(32), bytes(32), lines)
    return draft.close(author.sign, author.entropy).segment


def replica_of(author: Author, life: bytes = b"12345678") -> ReplicaId:
    return ReplicaId(author.node + life)


def test_garbage_and_other_messages_are_malformed(store: Store) -> None:
    assert refused(store, b"garbage") is Fault.MALFORMED
    assert refused(store, encode(Ping(1))) is Fault.MALFORMED


def test_a_changeset_in_another_members_name_is_refused(store: Store) -> None:
    forged = forge(Author(3), replica_of(Author(2)), Content("k", b"v"))
    assert refused(store, encode(forged)) is Fault.BAD_SIGNATURE


def test_no_bit_of_a_segment_can_be_changed(store: Store, foreign: list[Segment]) -> None:
    frame = encode(foreign[0])
    chance = random.Random(7)
    for _ in range(150):
        place = chance.randrange(len(frame) * 8)
        altered = bytearray(frame)
        altered[place // 8] ^= 1 << place % 8
        assert refused(store, bytes(altered)) in {
            Fault.BAD_SIGNATURE, Fault.MALFORMED, Fault.VERSION, Fault.UNAUTHORISED, Fault.FORKED,
        }, place  # fmt: skip
    assert merge(store, foreign[0])[0].changes == 6


@pytest.mark.parametrize("column", [name for name in Segment.__struct_fields__ if name != "first"])
def test_no_column_can_be_cut_grown_or_changed(store: Store, foreign: list[Segment], column: str) -> None:
    value = getattr(foreign[0], column)
    for changed in {value[:-1], value + b"\0", value[:-1] + bytes([value[-1] ^ 1]) if value else b"\0" * 8} - {value}:
        refused(store, encode(msgspec.structs.replace(foreign[0], **{column: changed})))


@pytest.mark.parametrize("first", [0, 2, -1, 1 << 40, 1 << 64, (1 << 63) - 1])
def test_numbers_cannot_be_moved(store: Store, foreign: list[Segment], first: int) -> None:
    if first < 1 << 64:
        refused(store, encode(msgspec.structs.replace(foreign[0], first=first)))


def test_a_number_used_again_for_another_content_is_a_fork(store: Store) -> None:
    member = Author(2)
    merge(store, forge(member, replica_of(member), Content("k", b"first")))
    again = forge(member, replica_of(member), Content("k", b"second"))
    assert refused(store, encode(again)) is Fault.FORKED
    assert text(store, "k") == "first"


def test_a_number_used_again_beyond_a_gap_is_a_fork(store: Store) -> None:
    member = Author(2)
    far = [forge(member, replica_of(member), *[Content(k) for k in keys], at=at) for at, keys in ((5, "ab"), (6, "c"))]
    merge(store, far[0])
    assert refused(store, encode(far[1])) is Fault.FORKED
    assert refused(store, encode(forge(member, replica_of(member), Content("z"), at=5))) is Fault.FORKED
    assert refused(store, encode(forge(member, replica_of(member), *map(Content, "xyz"), at=4))) is Fault.FORKED
    assert refused(store, encode(forge(member, replica_of(member), Content("x"), at=7))) is Fault.FORKED


def test_what_lies_too_far_beyond_a_gap_is_not_kept(store: Store) -> None:
    member = Author(2)
    far, near = (forge(member, replica_of(member), Content("k"), at=at) for at in (BEYOND_MAX + 1, BEYOND_MAX))
    assert BEYOND_MAX == 4096
    assert [(one.changes, one.gap) for one in merge(store, far)] == [(0, True)]
    assert held_beyond(store, member) == {}
    assert [(one.changes, one.gap) for one in merge(store, near)] == [(1, True)]
    assert held_beyond(store, member) != {}


def held_beyond(store: Store, member: Author) -> Mapping[ReplicaId, object]:
    with store.snapshot() as reader:
        return reader.vector(SPACE).beyond


def test_a_fork_that_closes_a_gap_freezes_the_log_at_the_last_common_hash(store: Store, tmp_path: Path) -> None:
    """One branch is held up to the gap, the other beyond it; what is served is the common part."""
    member = Author(2)
    merge(store, forge(member, replica_of(member), Content("k2"), at=2))
    merge(store, forge(member, replica_of(member), Content("k1"), at=1))
    with store.snapshot() as reader:
        held = reader.vector(SPACE)
        assert (held.contiguous(replica_of(member)), held.beyond) == (1, {})
        served = LogReader(reader.connection, SPACE).segment(replica_of(member), 1, 2)
    assert served is not None
    with open_store(tmp_path / "other", Author(4)) as other:
        assert merge(other, served)[0].last == 1


def test_a_member_that_may_not_write_is_refused(tmp_path: Path, foreign: list[Segment]) -> None:
    def judge(replica: bytes, space: bytes, head: bytes, first: int) -> Fault | None:
        return Fault.UNAUTHORISED if node_of(replica) == Author(2).node else None

    with open_store(tmp_path / "strict", Author(1), judge) as store:
        assert refused(store, encode(foreign[0])) is Fault.UNAUTHORISED


def test_a_judge_that_fails_refuses_the_segment_alone(tmp_path: Path, foreign: list[Segment]) -> None:
    def judge(replica: bytes, space: bytes, head: bytes, first: int) -> Fault | None:
        raise RuntimeError("defect")

    with open_store(tmp_path / "strict", Author(1), judge) as store:
        assert refused(store, encode(foreign[0])) is Fault.INTERNAL
        write(store, put("still", "works"))


def test_changes_of_an_unknown_space_are_refused(store: Store, foreign: list[Segment]) -> None:
    unknown = msgspec.structs.replace(foreign[0], space=b"U" * 16)
    assert refused(store, encode(unknown)) in {Fault.UNAUTHORISED, Fault.BAD_SIGNATURE}


def test_private_changes_are_taken_from_nobody(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "other", Author(2)) as other:
        write(other, put("p", "secret", PRIVATE_KEYS.space))
        (private,) = segments(other, PRIVATE_KEYS.space)
    assert refused(store, encode(private)) is Fault.UNAUTHORISED


def test_a_body_that_names_another_key_than_its_header_is_unreadable(store: Store) -> None:
    member = Author(2)
    line = _Line(KEYS.memory_id("shown"), Kind.PUT, hlc(START_MS), (), encode_content(Content("other", b"v")))
    merge(
        store,
        Draft(KEYS, replica_of(member), 1, bytes(32), bytes(32), [line]).close(member.sign, member.entropy).segment,
    )
    recalled = recall(store, "shown")
    assert recalled is not None
    assert recalled.latest.content is None
    assert recall(store, "other") is None


@pytest.mark.parametrize("plaintext", [b"\x93not a content\x80", b"\x80", b"no mark", b"\x91\xa1k\x80\0\0"])
def test_a_malformed_body_is_unreadable_and_nothing_more(store: Store, plaintext: bytes) -> None:
    member = Author(2)
    line = _Line(KEYS.memory_id("bad"), Kind.PUT, hlc(START_MS), (), plaintext)
    merge(
        store,
        Draft(KEYS, replica_of(member), 1, bytes(32), bytes(32), [line]).close(member.sign, member.entropy).segment,
    )
    recalled = recall(store, "bad")
    assert recalled is not None
    assert recalled.latest.content is None or plaintext.startswith(b"\x91")
    with store.index(WAIT_S) as index:
        assert index.execute("SELECT count(*) FROM doc WHERE key = 'mine'").get == 1


def test_a_content_beyond_the_limits_is_unreadable(store: Store) -> None:
    """A hostile member's ``ttl`` of 2⁷⁰ years must not stop the index."""
    member = Author(2)
    merge(store, forge(member, replica_of(member), Content("bad", ttl_ms=1 << 62), Content("worse", form=9)))
    for key in ("bad", "worse"):
        recalled = recall(store, key)
        assert recalled is not None
        assert recalled.latest.content is None
    with store.index(WAIT_S) as index:
        assert [key for (key,) in index.execute("SELECT key FROM doc").fetchall()] == ["mine"]


def test_a_body_under_an_epoch_not_held_is_unreadable_until_its_key_comes(store: Store, tmp_path: Path) -> None:
    newer = SpaceKeys(KEYS.space, KEYS.memory_key, {**KEYS.epochs, 2: b"n" * 32}, 2)
    with open_store(tmp_path / "other", Author(2)) as other:
        other.add_space(newer, "public", replicated=True)
        write(other, put("k", "apple"))
        merge(store, *segments(other))
    assert text(store, "k") is None
    store.add_space(newer, "public", replicated=True)
    assert text(store, "k") == "apple"
    with store.index(WAIT_S) as index:
        assert index.execute("SELECT count(*) FROM text WHERE text MATCH 'apple'").get == 1


def test_a_change_naming_itself_or_its_future_is_dead_everywhere_alike(store: Store, tmp_path: Path) -> None:
    member = Author(2)
    own = replica_of(member)
    line = _Line(
        KEYS.memory_id("k"), Kind.PUT, hlc(START_MS), (Ref(own, 5, prefix=True),), encode_content(Content("k"))
    )
    merge(store, Draft(KEYS, own, 1, bytes(32), bytes(32), [line]).close(member.sign, member.entropy).segment)
    assert recall(store, "k") is None
    with open_store(tmp_path / "other", Author(4)) as other:
        sync(store, other)
        assert state_hash(other) == state_hash(store)


def test_a_fault_costs_only_its_own_segment(store: Store, foreign: list[Segment]) -> None:
    """Good segments, forged ones and local writes that share a transaction each get their own answer."""
    forged = encode(forge(Author(3), replica_of(Author(2)), Content("k", b"v")))
    fork = encode(forge(Author(1), store.replica, Content("k", b"v")))
    futures = [store.merge(forged), store.merge(encode(foreign[0])), store.merge(fork), store.write([put("w", "1")])]
    assert [type(future.exception(WAIT_S)) for future in futures] == [PeerFault, type(None), PeerFault, type(None)]
    assert text(store, "w") == "1"


# --- changes dated ahead -----------------------------------------------------------------------------------


def test_a_change_dated_ahead_hides_nothing_before_its_time_and_takes_effect_then(tmp_path: Path) -> None:
    early, late = Author(1), Author(2, Clock(START_MS + 3_600_000))
    with open_store(tmp_path / "a", early) as one, open_store(tmp_path / "b", late) as two:
        write(one, put("k", "now"))
        sync(one, two)
        write(two, put("k", "from the future"))
        sync(two, one)
        assert text(one, "k") == "now"
        assert text(two, "k") == "from the future"
        assert state_hash(one) == state_hash(two)
        assert vector(one) == vector(two)
        early.clock.ms += 3_600_000
        write(one, put("other", "a commit lets it go"))
        assert text(one, "k") == "from the future"


def test_a_change_dated_ahead_drags_no_clock_and_is_let_go_without_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_S", 0.01)
    early, late = Author(1), Author(2, Clock(START_MS + 3_600_000))
    with open_store(tmp_path / "a", early) as one, open_store(tmp_path / "b", late) as two:
        write(two, put("k", "ahead"))
        sync(two, one)
        (written,) = write(one, put("own"))
        assert written.hlc >> 16 == START_MS
        let_go = threading.Event()
        one.on_commit(lambda commit: let_go.set() if commit.promoted else None)
        early.clock.ms += 3_600_000
        assert let_go.wait(WAIT_S)
        assert text(one, "k") == "ahead"


def test_what_replaced_a_change_dated_ahead_stands_and_so_does_what_that_replaced(tmp_path: Path) -> None:
    """K (ahead) replaces X; a hostile M replaces K and does not say X: once K's time comes, X goes, K stays dead."""
    early, member = Author(1), Author(2)
    own, other = replica_of(member), replica_of(member, b"other---")

    def change(replica: ReplicaId, at: int, ms: int, *refs: Ref) -> Segment:
        line = _Line(KEYS.memory_id("k"), Kind.PUT, hlc(ms), refs, encode_content(Content("k", b"%d" % ms)))
        return Draft(KEYS, replica, at, bytes(32), bytes(32), [line]).close(member.sign, member.entropy).segment

    x = change(own, 1, START_MS)
    k = change(other, 1, START_MS + 3_600_000, Ref(own, 1, prefix=False))
    m = change(replica_of(member, b"third---"), 1, START_MS + 1, Ref(other, 1, prefix=False))
    ahead = Author(3, Clock(START_MS + 3_600_000))
    with open_store(tmp_path / "a", early) as one, open_store(tmp_path / "b", ahead) as two:
        merge(one, x, k, m)
        merge(two, x, k, m)
        assert state_hash(one) == state_hash(two)
        settle(one)
        assert state_hash(one) == state_hash(two)
        early.clock.ms += 3_600_000
        one.execute(lambda _: None).result(WAIT_S)
        for store in (one, two):
            recalled = recall(store, "k")
            assert recalled is not None
            assert [part.content.value for part in recalled.parts if part.content] == [b"%d" % (START_MS + 1)]
            assert recalled.siblings == ()


def test_a_delete_does_not_reach_an_element_dated_ahead_that_its_author_did_not_see(tmp_path: Path) -> None:
    """Though it lies before one that was seen, in a log held without a gap: a prefix would cover it."""
    early, member = Author(1), Author(2, Clock(START_MS + 3_600_000))
    with open_store(tmp_path / "a", early) as one, open_store(tmp_path / "b", member) as two:
        write(two, Write(SPACE, Kind.ADD, Content("s", b"ahead")))
        member.clock.ms = START_MS
        write(two, Write(SPACE, Kind.ADD, Content("s", b"now")))
        sync(two, one)
        write(one, Write(SPACE, Kind.DELETE, Content("s")))
        sync(one, two)
        early.clock.ms += 3_600_000
        one.execute(lambda _: None).result(WAIT_S)
        for store in (one, two):
            recalled = recall(store, "s")
            assert recalled is not None
            assert [part.content.value for part in recalled.parts if part.content] == [b"ahead"]


def test_a_clock_that_was_set_back_does_not_hide_what_is_written_next(tmp_path: Path) -> None:
    author = Author(1, Clock(START_MS + 86_400_000))
    with open_store(tmp_path / "a", author) as store:
        write(store, put("k", "under a wrong clock"))
        author.clock.ms = START_MS
        write(store, put("k", "under the right one"))
        assert text(store, "k") == "under the right one"
    with open_store(tmp_path / "b", Author(2)) as other, open_store(tmp_path / "a", author) as store:
        sync(store, other)
        assert text(other, "k") == "under the right one"
        assert state_hash(other) == state_hash(store)


def test_forged_writes_go_through_the_same_door(store: Store) -> None:
    """`Write` has no way to name a replica or a number; what it claims to have seen only narrows what it names.

    What it expects can only have it refused.
    """
    assert set(Write.__dataclass_fields__) == {"space", "kind", "content", "saw", "expected"}
    write(store, put("k", "one"))
    invented = frozenset({Dot(replica_of(Author(9)), 7)})
    (outcome,) = write(store, Write(SPACE, Kind.PUT, Content("k", b"two"), saw=invented))
    (written,) = [change for change in held_changes(store) if change.dot == outcome.dot]
    assert written.replaces == ()


def test_what_is_held_is_not_dropped_for_a_later_beginning_that_turns_out_to_be_a_fork(store: Store) -> None:
    member = Author(2)
    replica = replica_of(member)
    for at, keys in ((1, "k"), (5, "ab")):
        merge(store, forge(member, replica, *map(Content, keys), at=at))
    store.execute(lambda connection: raise_floor(connection, SPACE, VersionVector({replica: 3}))).result(WAIT_S)
    before = held_changes(store)
    with pytest.raises(PeerFault) as caught:
        merge(store, forge(member, replica, *map(Content, "xyz"), at=4), in_order=True)
    assert caught.value.fault is Fault.FORKED
    assert held_changes(store) == before
