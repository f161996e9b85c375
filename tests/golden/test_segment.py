"""One segment as the first version wrote it: it must be read for ever, and written the same while the version stands.

`python -m tests.golden.test_segment` writes the file anew; a new version of the format gets a file of its own.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from cis.model import Kind, Ref, ReplicaId, hlc
from cis.store.author import Draft, _Line
from cis.sync import digest
from cis.trust.signing import GENESIS, Verified, verify
from cis.wire.content import Content, encode_content
from cis.wire.messages import decode, encode
from cis.wire.segment import Segment, reference_columns, unpack_reference
from tests.stores import KEYS, SPACE, START_MS, Author, merge, open_store, recall, segments, state_hash, text

FILE = Path(__file__).with_name("segment_v1.json")
MEMBER, OTHER = Author(1), Author(2)
OWN = ReplicaId(MEMBER.node + b"golden-1")
THEIRS = ReplicaId(OTHER.node + b"golden-2")
AUTHORITY = bytes(range(32))


def build() -> list[bytes]:
    """Frames of two logs, served by a store that merged them: superseded bodies are left out."""
    first = _changeset(MEMBER, OWN, 1, GENESIS, _put("editor", "light"), _put("shell", "fish"), _add("tools", b"git"))
    second = _changeset(
        MEMBER,
        OWN,
        4,
        first.links[-1],
        _put("editor", "dark", Ref(OWN, 1, prefix=True), Ref(THEIRS, 1, prefix=False)),
        _line(Kind.COUNT, Content("starts", added=5, subtracted=2)),
        _line(Kind.REMOVE, Content("tools", b"git"), Ref(OWN, 3, prefix=False)),
        _line(Kind.DELETE, Content("shell"), Ref(OWN, 2, prefix=True)),
    )
    theirs = _changeset(OTHER, THEIRS, 1, GENESIS, _put("editor", "solarized"), _put("größe", "ünïcödé"))
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), Author(3)) as store:
        merge(store, *[verified.segment for verified in (first, second, theirs)])
        return sorted(encode(segment) for segment in segments(store))


def _line(kind: Kind, content: Content, *refs: Ref) -> _Line:
    plaintext = None if kind in {Kind.DELETE, Kind.REMOVE} else encode_content(content)
    return _Line(KEYS.memory_id(content.key), kind, hlc(START_MS, int(kind)), refs, plaintext)


def _put(key: str, value: str, *refs: Ref) -> _Line:
    content = Content(key, value.encode(), category="preference", tags=("a", "b"), ttl_ms=1000)
    return _line(Kind.PUT, content, *refs)


def _add(key: str, element: bytes) -> _Line:
    return _line(Kind.ADD, Content(key, element, vector=b"\0\0\x80\x3f", vector_model="one"))


def _changeset(author: Author, replica: ReplicaId, first: int, previous: bytes, *lines: _Line) -> Verified:
    return Draft(KEYS, replica, first, previous, AUTHORITY, list(lines)).close(author.sign, bytes)


def golden() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = json.loads(FILE.read_text())
    return loaded


def golden_segments() -> list[Segment]:
    found = []
    for frame in golden()["frames"]:
        message = decode(bytes.fromhex(frame))
        assert isinstance(message, Segment)
        found.append(message)
    return found


def test_the_golden_frames_decode_verify_and_encode_to_the_same_bytes() -> None:
    for frame, segment in zip(golden()["frames"], golden_segments(), strict=True):
        verify(segment)
        assert encode(segment).hex() == frame


def test_their_references_read_as_they_were_meant() -> None:
    (own,) = [segment for segment in golden_segments() if segment.replica == OWN]
    changes, packed = reference_columns(own, verify(own).layout)
    read = sorted(
        (change, *unpack_reference(one)) for change, one in zip(changes.tolist(), packed.tolist(), strict=True)
    )
    assert read == [(3, 0, 1, True), (3, 1, 1, False), (5, 0, 3, False), (6, 0, 2, True)]


def test_a_new_store_takes_them_in_and_shows_what_was_written(tmp_path: Path) -> None:
    with open_store(tmp_path, Author(9)) as store:
        merge(store, *golden_segments())
        assert (text(store, "editor"), text(store, "größe"), text(store, "shell")) == ("dark", "ünïcödé", None)
        starts = recall(store, "starts")
        assert starts is not None
        assert starts.latest.content == Content("starts", added=5, subtracted=2)
        assert [state_hash(store).hex()] == golden()["state"]
        with store.snapshot() as reader:
            assert [digest(reader.vector(SPACE)).hex()] == golden()["vector"]


def test_todays_code_writes_the_same_bytes() -> None:
    assert [frame.hex() for frame in build()] == golden()["frames"]


def _generate() -> str:
    frames = build()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), Author(9)) as store:
        for frame in frames:
            store.merge(frame).result()
        with store.snapshot() as reader:
            state, vector = reader.state_hash(SPACE).hex(), digest(reader.vector(SPACE)).hex()
    return json.dumps({"frames": [one.hex() for one in frames], "state": [state], "vector": [vector]}, indent=1)


if __name__ == "__main__":
    FILE.write_text(_generate() + "\n")
