"""The front matter of a note: YAML between two lines of ``---`` at its very start, read safely.

Every scalar stays the text it is written as (``2024``, ``yes`` and ``1.0`` are tags like any other), and
what YAML can do beyond that is refused: aliases and anchors (which grow exponentially), tags, deep nesting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from cis.errors import UsageError

FRONT_MATTER_BYTES_MAX = 32 * 1024
"""Between the two lines. A vector of 4096 dimensions takes 22 KiB of it in an exported note."""

_OPENING = re.compile(rb"---[ \t]*\r?\n")
_CLOSING = re.compile(rb"^---[ \t]*\r?$\n?", re.MULTILINE)

YamlText: TypeAlias = "str | list[YamlText] | dict[str, YamlText]"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a note's front matter, and the position in the file at which its body begins."""

    fields: dict[str, YamlText]
    end: int


class FrontMatterFault(UsageError):
    """The front matter cannot be read; ``line`` is the file's, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_front_matter(head: bytes) -> FrontMatter | None:
    """Return the front matter at the start of a file of which at least the first `HEAD_BYTES` are given.

    None where there is none: no closing line, or text between the lines that is no mapping. Raises
    `FrontMatterFault` where it is too large, not UTF-8, not YAML, or YAML beyond names, texts and lists.
    """
    opening = _OPENING.match(head)
    closing = _CLOSING.search(head, opening.end()) if opening else None
    if opening is None:
        return None
    if closing is None and len(head) < HEAD_BYTES:
        return None
    if closing is None or closing.start() - opening.end() > FRONT_MATTER_BYTES_MAX:
        raise FrontMatterFault(1, f"front matter above {FRONT_MATTER_BYTES_MAX} bytes, or not closed by ---")
    from cis.api.exchange.yaml_text import mapping  # noqa: PLC0415 - slow to load, and few commands read notes

    fields = mapping(head[opening.end() : closing.start()])
    return None if fields is None else FrontMatter(fields, closing.end())


HEAD_BYTES = FRONT_MATTER_BYTES_MAX + 64
"""What of a file must be read to see all of its front matter."""
