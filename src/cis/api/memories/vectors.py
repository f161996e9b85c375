"""Reading an embedding from a file: raw float32, little-endian, or a .npy array of one dimension."""

from __future__ import annotations

import base64
from pathlib import Path

from cis.errors import UsageError

DIMENSIONS_MAX = 4096
_FILE_BYTES_MAX = DIMENSIONS_MAX * 8 + 4096
_NPY = b"\x93NUMPY"


def read_vector(path: Path) -> str:
    """Return the base64 of the vector's float32; `UsageError` when the file holds none."""
    import numpy as np  # noqa: PLC0415 - slow to load, and rarely needed

    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise UsageError(f"{path} is too long for a vector: at most {DIMENSIONS_MAX} numbers")
    if data.startswith(_NPY):
        import io  # noqa: PLC0415 - with numpy

        try:
            array = np.load(io.BytesIO(data), allow_pickle=False).astype("<f4")
        except (ValueError, TypeError, EOFError) as error:
            raise UsageError(f"{path} is no array of numbers: {error}") from error
    else:
        if len(data) % 4:
            raise UsageError(f"{path} has {len(data)} bytes: float32 take 4 each")
        array = np.frombuffer(data, dtype="<f4")
    if array.ndim != 1 or not 0 < array.size <= DIMENSIONS_MAX or not np.isfinite(array).all():
        raise UsageError(f"{path} holds no vector: it is one row of 1 to {DIMENSIONS_MAX} finite numbers")
    return base64.b64encode(array.tobytes()).decode()
