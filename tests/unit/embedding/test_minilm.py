"""The model of this machine: its vectors are those of its weights, whatever a text is batched with."""

from __future__ import annotations

import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from cis.embedding.bert import gelu
from cis.embedding.minilm import BATCH_TOKENS_MAX, NAME, WEIGHTS_SHA256, MiniLm, batches, find_model
from cis.embedding.weights import Tensors, open_tensors
from cis.errors import Unavailable

FOLDER = find_model()
with_model = pytest.mark.skipif(FOLDER is None, reason="needs the embedding model (requirements/model.txt)")


@pytest.fixture(scope="module")
def model() -> MiniLm:
    assert FOLDER is not None
    return MiniLm(FOLDER)


def test_gelu_is_x_times_the_normal_distribution() -> None:
    x = np.concatenate([np.linspace(-12, 12, 40_001), [0.0, -0.0, 1e-30, 200.0, -200.0]]).astype(np.float32)
    exact = [float(v) * 0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x]
    assert np.abs(gelu(x.copy()) - exact).max() < 1e-6


def test_batches_hold_every_text_once_and_stay_bounded() -> None:
    lengths = [(7 * n) % 256 + 1 for n in range(500)]
    made = list(batches(lengths))
    assert sorted(place for batch in made for place in batch) == list(range(500))
    assert all(max(lengths[place] for place in batch) * len(batch) <= BATCH_TOKENS_MAX for batch in made)
    assert len(made) < sum(lengths) / BATCH_TOKENS_MAX * 1.3 + 1


@with_model
def test_similarities_are_those_its_authors_publish(model: MiniLm) -> None:
    vectors = model.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert np.abs(vectors @ vectors.T - expected).max() < 1e-4


@with_model
def test_a_vector_is_what_plain_loops_over_the_weights_make_of_the_text(model: MiniLm) -> None:
    assert FOLDER is not None
    tensors = open_tensors(FOLDER / "model.safetensors", WEIGHTS_SHA256)
    vocabulary = (FOLDER / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ids = [vocabulary.index(piece) for piece in ("[CLS]", "the", "cafe", "moved", "to", "port", "54", "##33", "[SEP]")]
    assert np.abs(model.embed(["The café moved to PORT 5433"])[0] - plain(tensors, ids)).max() < 1e-5


@with_model
def test_a_text_has_the_same_vector_alone_and_among_others(model: MiniLm) -> None:
    texts = [" ".join(["memory"] * n) + f" {n}" for n in (1, 40, 3, 200, 0, 17, 3)]
    together = model.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.abs(model.embed([text])[0] - vector).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


@with_model
def test_strange_texts_have_vectors_too(model: MiniLm) -> None:
    strange = ["", " ", "\x00", "\ud800", "🦊" * 3000, "字" * 5000, "a" * 100_000, "\n\n", "\u202eabc"]
    vectors = model.embed(strange)
    assert np.isfinite(vectors).all()
    assert model.embed([]).shape == (0, 384)


@with_model
def test_what_lies_beyond_256_tokens_is_not_read(model: MiniLm) -> None:
    start = "word " * 254
    vectors = model.embed([start, start + "something else entirely"])
    assert np.array_equal(vectors[0], vectors[1])


@with_model
def test_unloaded_it_loads_again_and_threads_get_their_own_rows(model: MiniLm) -> None:
    texts = [f"memory number {n} of the agent" for n in range(12)]
    alone = model.embed(texts)
    model.unload()
    model.unload()
    found: dict[int, np.ndarray] = {}

    def ask(n: int) -> None:
        found[n] = model.embed([texts[n]])[0]
        if n % 4 == 0:
            model.unload()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.abs(found[n] - alone[n]).max() < 1e-5 for n in range(12))
    assert (model.name, model.dimensions, model.local) == (NAME, alone.shape[1], True)


@with_model
@pytest.mark.parametrize("broken", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_the_one_expected_is_not_used(tmp_path: Path, broken: str) -> None:
    assert FOLDER is not None
    for name in ("model.safetensors", "tokenizer.json"):
        if name != broken:
            (tmp_path / name).symlink_to(FOLDER / name)
    with pytest.raises(Unavailable, match="cannot be read"):
        MiniLm(tmp_path).embed(["a"])
    shutil.copy(FOLDER / broken, tmp_path / broken)
    with (tmp_path / broken).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(Unavailable, match="should be"):
        MiniLm(tmp_path).embed(["a"])


def plain(tensors: Tensors, ids: list[int]) -> np.ndarray:
    """One text's vector by the definition, in float64, token by token and head by head."""

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return np.array([tensors[f"{name}.weight"].astype(float) @ row + tensors[f"{name}.bias"] for row in x])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        rows = [(row - row.mean()) / math.sqrt(row.var() + 1e-12) for row in x]
        return np.array(rows) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    embeddings = "embeddings.{}_embeddings.weight".format
    x = np.array(
        [
            tensors[embeddings("word")][token].astype(float)
            + tensors[embeddings("position")][place]
            + tensors[embeddings("token_type")][0]
            for place, token in enumerate(ids)
        ]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        seen = np.zeros_like(x)
        for head in range(12):
            part = slice(head * 32, head * 32 + 32)
            for token in range(len(ids)):
                scores = np.exp([q[token, part] @ k[other, part] / math.sqrt(32) for other in range(len(ids))])
                seen[token, part] = scores @ v[:, part] / scores.sum()
        x = norm(dense(seen, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
        wide = dense(x, f"{name}.intermediate.dense")
        active = np.array([[u * 0.5 * math.erfc(-u / math.sqrt(2)) for u in row] for row in wide])
        x = norm(dense(active, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    mean = x.mean(axis=0)
    vector: np.ndarray = mean / np.linalg.norm(mean)
    return vector
