"""What a member signed and sealed properly, merged into a real store: it is refused, or kept, shown and served."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from cis.crdt import Policy
from cis.errors import PeerFault
from cis.model import Kind, Ref, ReplicaId
from cis.store.author import Draft, _Line
from cis.store.log import LogReader
from cis.store.store import Store
from cis.trust.signing import CHANGESET_LABEL, GENESIS, _leaves, _links, _slots, verify
from cis.wire.content import Content, encode_content
from cis.wire.messages import decode, encode
from cis.wire.segment import Segment, layout_of
from fuzz.target import Shared, Target, chosen, parsed, scratch, script, steps_in
from fuzz.targets.wire import segments
from tests.audits import self_check
from tests.stores import KEYS, SPACE, START_MS, STORE_KEY, Author, runs

SEQ_FREE = 1 << 39
_TIME = START_MS << 16
_KINDS = tuple(Kind)

_Change = tuple[int, int, int, list[tuple[bool, int, bool]], bytes]
_CHANGES = msgspec.msgpack.Decoder(list[_Change])


class _Place:
    """An empty store that is checked when it is left."""

    def __init__(self) -> None:
        self.folder = scratch()
        self.store = Store(self.folder, STORE_KEY, Author(1 << 40, entropy=bytes).setting(), threaded=False)
        self.store.add_space(KEYS, "public", replicated=True)

    def leave(self) -> None:
        """Find it whole, and forget it."""
        self.store.rest()
        checked = self_check(self.store)
        assert not checked.suspects, checked
        assert not checked.ends, checked
        assert not self.store.check()
        self.store.close()
        shutil.rmtree(self.folder)


_PLACE = Shared(_Place, _Place.leave)


def changesets(data: bytes) -> None:
    """Frames as they come, segments of any shape that are signed, and changes with any content, references and time."""
    store, author = _PLACE.next().store, Author(_PLACE.inputs, entropy=bytes)
    replica = ReplicaId(author.node + bytes(8))
    first, previous = 1, GENESIS
    for number, given in steps_in(data):
        with suppress(PeerFault, ValueError):
            match number % 3:
                case 0:
                    segment = _written(author, replica, first, previous, given)
                case 1:
                    segment = _signed(author, replica, first, previous, given)
                case _:
                    store.merge(given).result()
                    continue
            store.merge(encode(segment)).result()
            verified = verify(segment)
            first, previous = segment.first + verified.layout.changes, verified.links[-1]
    _read(store, replica)


def _written(author: Author, replica: ReplicaId, first: int, previous: bytes, given: bytes) -> Segment:
    """Return a changeset of the changes given: kind, memory, time, references and plaintext of each."""
    lines = []
    for kind, memory, time, refs, plaintext in parsed(_CHANGES, given)[:64]:
        key = f"key {memory % 4}"
        which = chosen(_KINDS, kind)
        named = tuple(
            Ref(replica if own else ReplicaId(bytes(40)), abs(seq) % SEQ_FREE or 1, prefix=prefix)
            for own, seq, prefix in refs[:32]
        )
        sealed = None if which in {Kind.DELETE, Kind.REMOVE} else plaintext
        lines.append(_Line(KEYS.memory_id(key), which, (_TIME + time) % (1 << 63), named, sealed))  # type: ignore[arg-type]  # an Hlc
    if not lines:
        raise ValueError("no changes")
    return Draft(KEYS, replica, first, previous, bytes(32), lines).close(author.sign, bytes).segment


def _signed(author: Author, replica: ReplicaId, first: int, previous: bytes, given: bytes) -> Segment:
    """Return a segment as its author might have meant it: chained and signed, whatever its columns hold."""
    segment = decode(given)
    if not isinstance(segment, Segment):
        raise ValueError("no segment")  # noqa: TRY004 - bytes that are of no use here
    segment = msgspec.structs.replace(segment, space=SPACE, replica=replica, previous=previous)
    if segment.first == 1:
        segment = msgspec.structs.replace(segment, first=first)
    layout = layout_of(segment)
    link = _links(segment, layout, _leaves(segment, layout, _slots(segment, layout)))[-1]
    return msgspec.structs.replace(segment, signature=author.sign(CHANGESET_LABEL + link))


def _read(store: Store, replica: ReplicaId) -> None:
    """Read all that is ever read; what was taken in is served as it came, and verifies."""
    with store.snapshot() as reader:
        for key in range(4):
            for policy in Policy:
                reader.recall(SPACE, f"key {key}", policy)
        vector = reader.vector(SPACE)
        held = [(1, vector.contiguous(replica)), *vector.beyond.get(replica, ())]
        for first, last in held:
            for segment in runs(LogReader(reader.connection, SPACE), replica, first, last):
                verify(segment)


def _seeds() -> Iterable[bytes]:
    memory = encode_content(Content("key 0", b"dark", category="preference", tags=("a",), vector=bytes(8), ttl_ms=9))
    counter = encode_content(Content("key 1", added=5, subtracted=2))
    every = [(kind, kind % 3, kind, [(True, 1, True), (False, 9, False)], memory) for kind in range(len(_KINDS))]
    one, two = (
        msgspec.msgpack.encode(every),
        msgspec.msgpack.encode([(0, 0, 1 << 50, [], memory), (3, 1, 0, [], counter)]),
    )
    yield script((0, two), (0, one), (0, two))
    yield from (script((1, frame), (2, frame)) for frame in segments())


TARGETS = (Target("store.changesets", changesets, _seeds, bytes_max=8192),)
