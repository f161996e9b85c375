"""What the numbers of a conflict's values meant when they were last shown, so that a number never keeps another value.

Kept beside the store as ids alone, which tell nothing of the memories to who cannot open it.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cis.api.memories.memory_schema import Conflict

FILE = "numbered.json"
CONFLICTS_MAX = 1000


def remember(home: Path, conflicts: Iterable[Conflict]) -> None:
    """Note what the numbers mean that are shown now; where that cannot be written, nothing is remembered."""
    noted = _read(home)
    for conflict in conflicts:
        noted.pop(conflict.id, None)
        noted[conflict.id] = [value.id for value in conflict.values]
    _write(home, noted)


def shown(home: Path, conflict: Conflict) -> list[str] | None:
    """Return the ids of the values that were last shown, in order of number; None where none were."""
    return _read(home).get(conflict.id)


def forget(home: Path, conflict: Conflict) -> None:
    """Forget a conflict that is resolved."""
    noted = _read(home)
    if noted.pop(conflict.id, None) is not None:
        _write(home, noted)


def _read(home: Path) -> dict[str, list[str]]:
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads((home / FILE).read_text())
        if isinstance(noted, dict):
            return noted
    return {}


def _write(home: Path, noted: dict[str, list[str]]) -> None:
    kept = dict(list(noted.items())[-CONFLICTS_MAX:])
    fresh = home / f".{FILE}-{os.getpid()}"
    with contextlib.suppress(OSError):
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(kept, file)
            fresh.replace(home / FILE)
        finally:
            fresh.unlink(missing_ok=True)
