"""What becomes of a wish to write a vector: a change, nothing, or the taking back of what describes nothing any more.

Between the embedding of a text and this moment the text may have changed; then the vector would count nowhere, and is
not written. A vector written while another node deleted the memory is left alone there, until it is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.crdt import Policy, refs_for_remove, refs_for_vector
from cis.errors import UsageError
from cis.model import Kind
from cis.model.change import VALUELESS
from cis.store.texts import DIGEST_LENGTH, counting, digest_of, embeddable, own_vector
from cis.wire.content import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cis.model import MemoryId, Ref, ReplicaId, SpaceId
    from cis.store.read import Reader, Recalled
    from cis.store.rows import Stored
    from cis.wire.content import Content


def annotate(
    reader: Reader, space: SpaceId, memory: MemoryId, content: Content, seen: Sequence[Stored], own: ReplicaId
) -> tuple[Kind, tuple[Ref, ...]] | None:
    """Return the kind and the names of the change to write; None where there is nothing to do.

    ``seen`` is what is alive of the memory, with bodies. `UsageError` where the content is no vector of a text.
    """
    vectors = [one.change for one in seen if one.change.kind is Kind.VECTOR]
    if not content.vector:
        gone = all(one.change.kind in VALUELESS for one in seen)
        return (Kind.REMOVE, refs_for_remove(vectors)) if vectors and gone else None
    if not content.vector_model or content.form != Form.BYTES or len(content.value) != DIGEST_LENGTH:
        raise UsageError(f"the vector of {content.key!r} must name its model and the digest of its text")
    recalled = reader.recalled(memory, space, seen, Policy.CRDT)
    if recalled is None or not _is_missing(recalled, content):
        return None
    model = content.vector_model
    same = {one.change.dot for one in recalled.vectors if one.content is not None and one.content.vector_model == model}
    return Kind.VECTOR, refs_for_vector(vectors, same, own)


def _is_missing(recalled: Recalled, content: Content) -> bool:
    """Tell whether that is the text shown, and it has no vector of that model."""
    text, given = embeddable(recalled), own_vector(recalled)
    if text is None or digest_of(text) != content.value:
        return False
    has_own = given is not None and given.vector_model == content.vector_model
    return not has_own and content.vector_model not in counting(recalled, content.value)
