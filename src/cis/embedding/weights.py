"""A model's weights, mapped into memory from a file of the safetensors format.

The file is 8 bytes of length, that much JSON (name to type, shape and place), and the numbers. Mapped, what is not
looked at takes no memory: of the 47 MB of word vectors, the rows of the words that occurred. It is used only where
its SHA-256 is the one expected: what a model's name stands for is these weights, not the package they came in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cis.errors import Unavailable

if TYPE_CHECKING:
    import numpy.typing as npt

_HEADER_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Tensors:
    """The arrays of one file by their names, float32, read-only, row by row."""

    arrays: dict[str, npt.NDArray[np.float32]]

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        return self.arrays[name]


class _Place(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def open_tensors(path: Path, sha256: str) -> Tensors:
    """Map the float32 arrays of a file; `Unavailable` where it is not there, or not the file with that digest."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise Unavailable(f"{path} is not the model it should be (SHA-256 {found[:16]}…): install it anew")
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, _HEADER_BYTES_MAX))
        numbers = np.memmap(path, np.uint8, mode="r", offset=8 + length)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from error
    places = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
    places.pop("__metadata__", None)
    return Tensors(
        {
            name: _array(numbers, place)
            for name, raw in places.items()
            if (place := msgspec.json.decode(raw, type=_Place)).dtype == "F32"
        }
    )


def _array(numbers: npt.NDArray[np.uint8], place: _Place) -> npt.NDArray[np.float32]:
    first, last = place.data_offsets
    return np.asarray(numbers[first:last]).view("<f4").reshape(place.shape)
