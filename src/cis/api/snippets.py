"""The piece of a memory's text around the first word that matched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from cis.api.memory_schema import Memory

BEFORE = 40
LENGTH_MAX = 160


def snippet(memory: Memory, words: Sequence[str]) -> str:
    """Return at most `LENGTH_MAX` characters of the value, on one line."""
    text = memory.value if isinstance(memory.value, str) else json.dumps(memory.value, ensure_ascii=False)
    parts = [re.escape(part) for word in words for part in re.findall(r"\w+", word)]
    found = re.search("|".join(parts), text, re.IGNORECASE) if parts else None
    start = max(0, found.start() - BEFORE) if found else 0
    piece = text[start : start + LENGTH_MAX]
    line = " ".join(piece.split())
    return ("…" if start else "") + line + ("…" if start + LENGTH_MAX < len(text) else "")
