"""A BERT encoder's forward pass (Devlin et al., NAACL 2019) in numpy, for one layout of weights: MiniLM's.

Rows are texts of one batch, padded to the longest. Padding is masked where tokens attend to each other, so a text's
vector does not depend on what it was batched with, beyond rounding. ::

    bert = Bert(open_tensors(path, digest), layers=6, heads=12)
    states = bert.encode(ids, lengths)      # int (texts × longest), int (texts) -> float32 (texts × longest × width)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from cis.embedding.weights import Tensors

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.intp]

_EPSILON = np.float32(1e-12)
_MASKED = np.float32(-1e9)
_CHUNK = 1 << 14
"""Numbers that `gelu` goes over at a time: few enough to stay in a core's cache."""
# erf by Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7, which is float32's own precision.
_P = np.float32(0.3275911)
_A = tuple(np.float32(a) for a in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
_ROOT_HALF = np.float32(0.5**0.5)


@dataclass(frozen=True)
class _Dense:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        y = x.reshape(-1, x.shape[-1]) @ self.weight.T  # one large product; of three dimensions it is many small ones
        y += self.bias
        return y.reshape(*x.shape[:-1], -1)


@dataclass(frozen=True)
class _Norm:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Layer normalisation, in place."""
        x -= x.mean(axis=-1, keepdims=True)
        variance = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
        x /= np.sqrt(variance + _EPSILON)
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True)
class _Layer:
    query: _Dense
    key: _Dense
    value: _Dense
    joined: _Dense
    joined_norm: _Norm
    wide: _Dense
    narrow: _Dense
    narrow_norm: _Norm

    def __call__(self, x: Floats, mask: Floats, heads: int) -> Floats:
        batch, length, width = x.shape
        shape = (batch, length, heads, width // heads)
        query, key, value = (dense(x).reshape(shape).swapaxes(1, 2) for dense in (self.query, self.key, self.value))
        scores = query @ key.swapaxes(2, 3)
        scores *= np.float32((width // heads) ** -0.5)
        scores += mask
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        seen = (scores @ value).swapaxes(1, 2).reshape(batch, length, width)
        attended = self.joined(seen)
        attended += x
        attended = self.joined_norm(attended)
        out = self.narrow(gelu(self.wide(attended)))
        out += attended
        return self.narrow_norm(out)


class Bert:
    """An encoder over mapped weights; holds no memory of its own."""

    def __init__(self, tensors: Tensors, *, layers: int, heads: int) -> None:
        self._heads = heads
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._positions = tensors["embeddings.position_embeddings.weight"]
        self._kind = tensors["embeddings.token_type_embeddings.weight"][0]
        self._norm = _norm(tensors, "embeddings.LayerNorm")
        self._layers = [_layer(tensors, f"encoder.layer.{number}") for number in range(layers)]

    def encode(self, ids: Ints, lengths: Ints) -> Floats:
        """Return the last layer's states of every token; those beyond a text's length mean nothing."""
        x = self._words[ids]
        x += self._positions[: ids.shape[1]]
        x += self._kind
        x = self._norm(x)
        beyond = np.arange(ids.shape[1]) >= lengths[:, None]
        mask = np.where(beyond, _MASKED, np.float32(0))[:, None, None, :]
        for layer in self._layers:
            x = layer(x, mask, self._heads)
        return x


def gelu(x: Floats) -> Floats:
    """Gaussian error linear units (Hendrycks and Gimpel, 2016), in place: x times the normal distribution at x."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        z = np.abs(part)
        z *= _ROOT_HALF
        t = np.reciprocal(z * _P + np.float32(1))
        tail = t * _A[0]
        for a in _A[1:]:
            tail += a
            tail *= t
        z *= z
        np.negative(z, out=z)
        np.exp(z, out=z)
        tail *= z  # 1 − erf(|x| / √2): twice the normal tail beyond |x|
        tail *= np.float32(0.5)
        part *= np.where(part < 0, tail, np.float32(1) - tail)
    return x


def _dense(tensors: Tensors, name: str) -> _Dense:
    return _Dense(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _norm(tensors: Tensors, name: str) -> _Norm:
    return _Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _layer(tensors: Tensors, name: str) -> _Layer:
    attention = f"{name}.attention"
    return _Layer(
        query=_dense(tensors, f"{attention}.self.query"),
        key=_dense(tensors, f"{attention}.self.key"),
        value=_dense(tensors, f"{attention}.self.value"),
        joined=_dense(tensors, f"{attention}.output.dense"),
        joined_norm=_norm(tensors, f"{attention}.output.LayerNorm"),
        wide=_dense(tensors, f"{name}.intermediate.dense"),
        narrow=_dense(tensors, f"{name}.output.dense"),
        narrow_norm=_norm(tensors, f"{name}.output.LayerNorm"),
    )
