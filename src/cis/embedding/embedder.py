"""What every model is to the rest of cis: texts in, vectors out.

A vector is searched only against vectors of the same model, so a model has a name that stays with its vectors
wherever they go: two embedders of one name give the same text the same vector, up to rounding. ::

    embedder = embedder_of(options)
    vectors = embedder.embed(["the staging database moved", "dark mode"])   # float32, 2 × dimensions, each of length 1
    vectors @ vectors[0]                                                    # cosine similarity to the first
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cis.wire.content import VECTOR_BYTES_MAX, WORD_BYTES_MAX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TEXT_CHARS_MAX = 4096
"""What of a text is read; models end sooner."""
DIMENSIONS_MAX = VECTOR_BYTES_MAX // 4
MODEL_BYTES_MAX = WORD_BYTES_MAX
"""The longest name of a model, in UTF-8: it goes with its vectors."""


class Embedder(Protocol):
    """One model; any thread may call it."""

    @property
    def name(self) -> str:
        """The tag its vectors carry, as "all-MiniLM-L6-v2"."""
        ...

    @property
    def dimensions(self) -> int:
        """How many numbers its vectors have; 0 for a server that has not answered yet."""
        ...

    @property
    def local(self) -> bool:
        """Whether texts stay within this process."""
        ...

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row for each text, of length 1, in their order; of zeros for one that it refuses. Blocks.

        Raises `Unavailable` where the model cannot be had now, and `CisError` where it never will be as it is set up.
        """
        ...

    def unload(self) -> None:
        """Give back the memory it takes; the next `embed` loads it again."""
        ...


def readable(text: str) -> str:
    """Return what of a text an embedder reads: its beginning, and no half of a surrogate pair."""
    return text[:TEXT_CHARS_MAX].encode(errors="replace").decode()
