"""Which text of a memory is embedded, and which vectors of it count.

A vector describes one text: it names its digest, and counts only while that is what the memory shows. So it is never
in conflict with an edit, and what is found by meaning is what is there (docs/adr/016-vectors.md).
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from typing import TYPE_CHECKING

from cis.arrays import np
from cis.crdt import Shape
from cis.wire.content import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cis.store.read import Part, Recalled
    from cis.wire.content import Content

TEXT_MAX = 4096
"""Characters of a memory that are embedded: far more than small models read."""
DIGEST_LENGTH = 16
_SEPARATORS = re.compile(r"[/_.:\-]+")


def embeddable(recalled: Recalled) -> str | None:
    """Return what a model is given of a memory: key, value and tags; None where there is no text to speak of.

    Counters and bytes have none, nor has what cannot be read here, even in part: others would read another text.
    """
    contents = [part.content for part in recalled.parts]
    readable = [content for content in contents if content is not None]
    if recalled.shape is Shape.COUNTER or len(readable) < len(contents):
        return None
    texts = [_decoded(content.value) for content in readable if content.form != Form.BYTES]
    values = list(dict.fromkeys(sorted(texts) if recalled.shape is Shape.SET else texts))
    if not values:
        return None
    latest = recalled.latest.content
    assert latest is not None
    words = [" ".join(_SEPARATORS.sub(" ", recalled.key).split()), *values, " ".join(latest.tags)]
    return "\n".join(word for word in words if word)[:TEXT_MAX]


def digest_of(text: str) -> bytes:
    """Return what a vector names its text by: 16 bytes of BLAKE2b."""
    return blake2b(text.encode(errors="replace"), digest_size=DIGEST_LENGTH, person=b"cis/1 text").digest()


def points(vector: bytes) -> bool:
    """Tell whether a vector has a direction: one whose numbers are none, or all 0, is as if it had not been given."""
    if not vector:
        return False
    numbers = np.frombuffer(vector, "<f4").astype(np.float64)
    return 0 < float(numbers @ numbers) < math.inf


def own_vector(recalled: Recalled) -> Content | None:
    """Return the content that holds the vector its author gave a register; None where it gave none."""
    content = recalled.latest.content if recalled.shape is Shape.REGISTER else None
    return content if content is not None and points(content.vector) else None


def counting(recalled: Recalled, digest: bytes | None) -> Mapping[str, Part]:
    """Return by model the vector that counts of those written beside a memory whose text has that digest."""
    newest: dict[str, Part] = {}
    for part in sorted(recalled.vectors, key=lambda part: (part.change.hlc, part.change.dot)):
        if part.content is not None and part.content.value == digest and points(part.content.vector):
            newest[part.content.vector_model] = part
    return newest


def vector_of(recalled: Recalled) -> Content | None:
    """Return the content whose vector is shown of a memory: its author's own, else the newest that counts."""
    own = own_vector(recalled)
    if own is not None or not recalled.vectors:
        return own
    text = embeddable(recalled)
    parts = counting(recalled, digest_of(text)).values() if text is not None else ()
    latest: Part | None = max(parts, key=lambda part: (part.change.hlc, part.change.dot), default=None)
    return latest.content if latest is not None else None


def _decoded(value: bytes) -> str:
    return value[: 4 * TEXT_MAX].decode(errors="replace")
