"""Text from elsewhere, made safe to show: on terminals, in logs, on pages (RULES F2)."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""C0, C1, line and paragraph separators, bidirectional controls, the byte order mark, halves of characters."""


def escaped(text: str, *, keep: str = "") -> str:
    """Return the text with control, bidirectional and broken characters as escapes, but those to ``keep``."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def escaped_json(text: str) -> str:
    """Return JSON text with such characters as JSON escapes: they stand only inside strings, whose value is kept."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
