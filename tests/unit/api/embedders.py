"""Embedders of tests: small, quick, and as able to fail as real ones."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cis.errors import Unavailable

SENSES = {"theme": "look", "dark": "look", "colours": "look", "deploy": "ship", "release": "ship"}
"""Words of one sense have one vector; all others one each."""
DIMENSIONS = 64


class Senses:
    """The sum of its words' senses is what a text means; ``gate`` holds memories back, not queries, until it is set."""

    name = "senses"
    dimensions = DIMENSIONS

    def __init__(self, *, local: bool = True) -> None:
        self.local = local
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.broken = False
        self.refuses: str | None = None
        self.texts: list[str] = []
        self.unloaded = threading.Event()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if any("\n" in text for text in texts):
            self.begun.set()
            self.gate.wait(60)
        if self.broken:
            raise Unavailable("the model is out of order")
        self.texts += texts
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for place, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                rng = np.random.default_rng(zlib.crc32(SENSES.get(word, word).encode()))
                rows[place] += rng.standard_normal(DIMENSIONS, np.float32)
            if self.refuses is not None and self.refuses in text:
                rows[place] = 0
        rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
        return rows

    def unload(self) -> None:
        self.unloaded.set()
