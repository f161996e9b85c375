"""Where vectors go once they are made: those of a node's own memories to everybody, the others to its own index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cis.model import Kind
from cis.store.author import Write, Written
from cis.store.indexing import LocalVector
from cis.store.reading import Unembedded
from cis.store.store import Store
from cis.wire.content import Content, Form

TAKEN_BACK_MAX = 32


def keep_vectors(
    store: Store, model: str, embedded: Sequence[tuple[Unembedded, bytes]], is_own: Callable[[Unembedded], bool]
) -> None:
    """Publish the vectors of what this node wrote in one changeset; keep the others, and those it may not publish."""
    own = [pair for pair in embedded if is_own(pair[0])]
    kept = [pair for pair in embedded if not is_own(pair[0])]
    writes = [Write(one.space, Kind.VECTOR, _content(one, model, vector)) for one, vector in own]
    outcomes = store.write(writes).result() if writes else []
    kept += [pair for pair, outcome in zip(own, outcomes, strict=True) if not isinstance(outcome, Written)]
    if kept:
        store.keep_vectors([LocalVector(one.memory, one.digest, model, vector) for one, vector in kept]).result()


def take_back(store: Store) -> None:
    """Take back vectors of this node's whose memory was deleted elsewhere while they were written."""
    writes = [Write(space, Kind.VECTOR, Content(key)) for space, _, key in store.dangling_vectors(TAKEN_BACK_MAX)]
    if writes:
        store.write(writes).result()


def _content(one: Unembedded, model: str, vector: bytes) -> Content:
    return Content(one.key, one.digest, form=Form.BYTES, vector=vector, vector_model=model)
