"""Decoders meet anything: they return, or raise `PeerFault`, and never take more memory than a few frames."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import Fault, PeerFault
from cis.model import Kind
from cis.store.author import Write
from cis.trust.signing import verify
from cis.wire import messages
from cis.wire.content import Content, decode_content, encode_content
from cis.wire.messages import FRAME_BYTES_MAX, decode, encode, is_segment
from cis.wire.segment import Segment, layout_of
from tests.stores import SPACE, Author, open_store, put, segments, write


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Segment]:
    """Segments with bodies, missing bodies, references of all forms and several changesets."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with open_store(folder / "a", Author(1)) as one, open_store(folder / "b", Author(2)) as two:
        for number in range(4):
            write(one, put("k", str(number)), put(f"k{number}"), Write(SPACE, Kind.ADD, Content("s", b"%d" % number)))
        for segment in segments(one):
            two.merge(encode(segment)).result(20)
        write(two, put("k", "two"), Write(SPACE, Kind.DELETE, Content("s")), Write(SPACE, Kind.DELETE, Content("k0")))
        return [*segments(one), *segments(two)]


def survives(frame: bytes) -> messages.Message | None:
    """Decode, lay out and verify; None where it was refused."""
    try:
        message = decode(frame)
        if isinstance(message, Segment):
            layout_of(message)
            verify(message)
    except PeerFault as fault:
        if fault.fault not in {Fault.MALFORMED, Fault.VERSION, Fault.BAD_SIGNATURE}:
            raise
        return None
    return message


@given(st.binary(max_size=400))
@settings(max_examples=400)
def test_random_bytes_are_refused_or_understood(frame: bytes) -> None:
    survives(frame)
    is_segment(frame)


@given(st.integers(1, 50), st.recursive(st.integers() | st.binary(max_size=50) | st.text(max_size=5), st.lists))
@settings(max_examples=300)
def test_random_values_under_every_tag_are_refused_or_understood(tag: int, value: object) -> None:
    try:
        frame = msgspec.msgpack.encode([tag, *(value if isinstance(value, list) else [value])])
    except OverflowError:
        return
    survives(frame)


def test_real_segments_pass(real: list[Segment]) -> None:
    for segment in real:
        assert survives(encode(segment)) == segment
        assert is_segment(encode(segment))


@given(st.data())
@settings(max_examples=400)
def test_truncated_and_mutated_segments_are_refused(real: list[Segment], data: st.DataObject) -> None:
    frame = encode(data.draw(st.sampled_from(real)))
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    altered = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(altered))
        match chance.randrange(4):
            case 0:
                del altered[at:]
            case 1:
                altered[at:at] = chance.randbytes(chance.randint(1, 9))
            case 2:
                altered[at] = chance.randrange(256)
            case 3:
                altered[at : at + 8] = b"\xff" * 8
        if not altered:
            break
    if bytes(altered) != frame:
        understood = survives(bytes(altered))
        assert understood is None or not isinstance(understood, Segment) or understood in real


COLUMNS = ("headers", "refs", "records", "extras", "missing", "missing_hashes", "bodies")


@given(st.data())
@settings(max_examples=400)
def test_columns_that_disagree_are_refused(real: list[Segment], data: st.DataObject) -> None:
    """Fields of a real segment replaced one at a time, so that the shape of the rest passes every early check."""
    segment = data.draw(st.sampled_from(real))
    column = data.draw(st.sampled_from(COLUMNS))
    value = bytearray(getattr(segment, column))
    if value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(1, 8))] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        value = bytearray(data.draw(st.binary(max_size=200)))
    changed = msgspec.structs.replace(segment, **{column: bytes(value)})
    if changed != segment:
        assert survives(encode(changed)) is None


@pytest.mark.parametrize("first", [-(1 << 63), -1, 0, (1 << 40) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_no_number_overflows(real: list[Segment], first: int) -> None:
    for segment in real:
        assert survives(encode(msgspec.structs.replace(segment, first=first))) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x92\x02\xc6\xff\xff\xff\xff",
        b"\x93\x03\xdd\x7f\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x92\x04" + b"\x91" * 5000,
        b"\x92\x03\xdc\xff\xff" + b"\xc4\x00" * 65_535,
        bytes(FRAME_BYTES_MAX),
        b"\x9d\x10" + b"\xc6\x00\x0f\x00\x00" + bytes(0xF0000),
    ],
    ids=lambda frame: frame[:4].hex(),
)
def test_claims_of_length_allocate_nothing(frame: bytes) -> None:
    tracemalloc.start()
    try:
        assert survives(frame) is None
        assert tracemalloc.get_traced_memory()[1] < 8 * FRAME_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_segment_of_the_largest_size_takes_a_few_times_its_own_memory(real: list[Segment]) -> None:
    records = real[0].records[:40] * 20_000
    big = msgspec.structs.replace(real[0], records=records, headers=real[0].headers[:66] * 20)
    frame = encode(big)
    tracemalloc.start()
    try:
        assert survives(frame) is None
        assert tracemalloc.get_traced_memory()[1] < 12 * len(frame)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_a_content_is_read_or_refused(plaintext: bytes) -> None:
    try:
        content = decode_content(plaintext)
    except (ValueError, msgspec.MsgspecError):
        return
    assert decode_content(encode_content(content)) == content


def test_a_content_with_more_levels_than_can_be_followed_is_refused() -> None:
    """A later version may add fields; whoever wrote this must not keep others from listing what else there is."""
    fields = ["key", b"value", 0, "note", [], 0, b"", "", 0, 0]
    for depth in (10, 100_000):
        plain = msgspec.msgpack.encode([*fields, msgspec.Raw(b"\x91" * depth + b"\xc0")]) + b"\x80"
        if depth == 10:
            assert decode_content(plain).key == "key"
        else:
            with pytest.raises(ValueError, match="nested"):
                decode_content(plain)


CONTENTS = st.builds(
    Content,
    key=st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f"), min_size=1, max_size=60
    ),
    value=st.binary(max_size=300),
    form=st.integers(0, 2),
    category=st.text(max_size=8),
    tags=st.lists(st.text(min_size=1, max_size=5), max_size=4).map(tuple),
    ttl_ms=st.integers(0, 1 << 46),
    vector=st.binary(max_size=8).map(lambda some: some * 4),
    added=st.integers(0, 1 << 61),
)


@given(CONTENTS)
def test_a_content_comes_back_as_it_went_in(content: Content) -> None:
    assert decode_content(encode_content(content)) == content
