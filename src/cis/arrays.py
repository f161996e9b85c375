"""numpy as ``np``, loaded when something of it is first used: 12 MB and a tenth of a start, for what merges in bulk.

::

    from cis.arrays import np       # in the rooms that a command or a resting node loads and may never use it in
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["np"]


class _Late:
    """Stands for a module, and keeps what was asked of it, so that it is asked once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        found: object = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import numpy as np
else:
    np = _Late("numpy")
