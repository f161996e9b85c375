"""File names for keys: a name no file system changes, folds together, refuses, or takes for a way out.

A key whose parts are harmless everywhere becomes a path as it is: ``projects/cis/ideas`` becomes
``projects/cis/ideas.md``. Every other key (``../x``, ``CON``, ``a/./b``, ``.hidden``, a name in another
Unicode normal form, one too long, one that differs from an earlier one by case only) becomes one name of
what is harmless in it, ``~`` and a hash; the note itself then names its key. Harmless parts hold no ``~``,
so the two kinds never meet.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

SUFFIX = ".md"
PATH_BYTES_MAX = 180
"""Leaves room below the 255 bytes of a name and the 260 characters of a path on Windows."""
_READABLE_MAX = 40

_FORBIDDEN = re.compile(r'[<>:"/\\|?*%~]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_REPLACED = re.compile(r"[^A-Za-z0-9_-]+")


class FileNames:
    """Gives each key of one export its place; remembers the places given, so memory grows with the keys."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def place(self, key: str) -> tuple[str, ...]:
        """Return the parts of the path below the folder; a key asked for again gets another place."""
        parts = key.split("/")
        if len(key.encode()) <= PATH_BYTES_MAX and all(map(_is_harmless, parts)):
            path = (*parts[:-1], parts[-1] + SUFFIX)
            if self._take(path):
                return path
        repeat = 0
        while not self._take(path := (_hashed(key, repeat),)):
            repeat += 1
        return path

    def _take(self, path: tuple[str, ...]) -> bool:
        """Claim a path, unless it or a folder on its way would fold together with something else."""
        places = ["/".join(path[: depth + 1]) for depth in range(len(path))]
        folded = [unicodedata.normalize("NFC", place.casefold()) for place in places]
        folders = [(fold, place + "/") for fold, place in zip(folded[:-1], places[:-1], strict=True)]
        if folded[-1] in self._taken or any(self._taken.get(fold, place) != place for fold, place in folders):
            return False
        self._taken.update(folders)
        self._taken[folded[-1]] = places[-1]
        return True


def key_of(parts: tuple[str, ...]) -> str:
    """Return the key a path below the folder stands for: itself, without the file's suffix."""
    stem, dot, _ = parts[-1].rpartition(".")
    return "/".join((*parts[:-1], stem if dot else parts[-1]))


def _is_harmless(part: str) -> bool:
    return (
        part != ""
        and part.isprintable()
        and part[0] not in ". "
        and part[-1] not in ". "
        and not _FORBIDDEN.search(part)
        and not _RESERVED.fullmatch(part)
        and unicodedata.is_normalized("NFC", part)
    )


def _hashed(key: str, repeat: int) -> str:
    readable = _REPLACED.sub("_", key).strip("_-")[:_READABLE_MAX]
    digest = hashlib.blake2b(key.encode(), digest_size=16, salt=repeat.to_bytes(8, "big")).hexdigest()
    return f"{readable}~{digest}{SUFFIX}"
