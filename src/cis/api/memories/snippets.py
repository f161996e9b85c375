"""Why and where a memory matched: its words among those asked for, and the piece of its text around most of them.

Words are compared as the index does: letters and digits alone make words, case and accents make no difference.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cis.api.memories.memory_schema import Memory
from cis.api.memories.word_search import PREFIX_CHARS_MIN

BEFORE = 40
LENGTH_MAX = 160
TEXT_MAX = 64 * 1024
"""Characters looked at, as many as the index holds."""
_MATCHES_MAX = 64
_IN_WORD = r"[^\W_]"


@dataclass(frozen=True)
class Snippet:
    """One line of a memory's value, and the ranges of its characters that were asked for."""

    text: str
    highlights: tuple[tuple[int, int], ...]


class Words:
    """The words of a query; the last, where it is long enough, may be the beginning of a longer one."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [(word, _tokens(word)) for word in words]
        tokens = [token for _, parts in self._words for token in parts]
        whole = "|".join(re.escape(token) for token in sorted(set(tokens), key=len, reverse=True))
        prefix = bool(tokens) and len(words[-1]) >= PREFIX_CHARS_MIN
        begun = f"|{re.escape(tokens[-1])}{_IN_WORD}*" if prefix else ""
        self._pattern = re.compile(f"(?<!{_IN_WORD})(?:(?:{whole})(?!{_IN_WORD}){begun})") if tokens else None
        self._begun = tokens[-1] if prefix else None

    def in_memory(self, memory: Memory) -> list[str]:
        """Return those of the query's words that a memory holds, as they were asked for."""
        text = "\n".join((memory.key, *memory.tags, _text(memory.value)))
        found = {one[0] for one in self._pattern.finditer(_folded(text))} if self._pattern else set[str]()
        begun = self._begun is not None and any(one.startswith(self._begun) for one in found)
        return [
            word
            for word, parts in self._words
            if all(part in found or (part == self._begun and begun) for part in parts)
        ]

    def snippet(self, memory: Memory) -> Snippet:
        """Return at most `LENGTH_MAX` characters of the value, on one line, where most of the words are."""
        text = _text(memory.value)
        start = self._start(_folded(text))
        line = " ".join(text[start : start + LENGTH_MAX].split())
        line = ("…" if start else "") + line + ("…" if start + LENGTH_MAX < len(text) else "")
        matches = self._pattern.finditer(_folded(line)) if self._pattern else ()
        return Snippet(line, tuple(match.span() for match in matches))

    def _start(self, folded: str) -> int:
        """Return where the piece begins that holds the most different words; the first of several."""
        if self._pattern is None:
            return 0
        matches = [
            (match.start(), match[0])
            for match, _ in zip(self._pattern.finditer(folded), range(_MATCHES_MAX), strict=False)
        ]
        best, most = 0, 0
        for at, _ in matches:
            start = max(0, at - BEFORE)
            held = len({word for place, word in matches if start <= place < start + LENGTH_MAX})
            if held > most:
                best, most = start, held
        return best


def _text(value: Any) -> str:  # noqa: ANN401 - a memory's value
    """Return what of a value there is to read; bytes have nothing."""
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if value is None or (isinstance(value, dict) and value.keys() == {"base64"}):
        return ""
    if isinstance(value, list):
        return ", ".join(map(_text, value))[:TEXT_MAX]
    return json.dumps(value, ensure_ascii=False)[:TEXT_MAX]


def _tokens(word: str) -> list[str]:
    return re.findall(f"{_IN_WORD}+", _folded(word))


class _Folding(dict[int, str]):
    """One character for each, so that places in the text stay: small, and without accents."""

    def __missing__(self, code: int) -> str:
        small = unicodedata.normalize("NFKD", chr(code))[:1].lower()
        self[code] = small if len(small) == 1 else chr(code)
        return self[code]


_FOLDING = _Folding()


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_FOLDING)
