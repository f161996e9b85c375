"""Text from elsewhere, made safe to show: on terminals, in logs, on pages (RULES F2).

And text for others' eyes, without what it should not tell: see `redacted`.
"""

from __future__ import annotations

import ipaddress
import re

ADDRESS = "(address)"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0, C1, line and paragraph separators, bidirectional controls, the byte order mark, halves of characters, and tags:
letters that nobody sees, and that models read."""

_NUMERIC = re.compile(
    r"(?<![\w.:])(?:\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<plain>[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*[0-9A-Fa-f:](?:%\w+)?))"
    r"(?::\d{1,5})?(?!\w)"
)
_HOST = re.compile(
    r"(?<![\w./\\-])(?:localhost|(?:[A-Za-z0-9-]+\.)+(?!toml\b|py\b|md\b|csv\b|jsonl\b)[A-Za-z0-9-]+):\d{1,5}\b"
)
_SECRETS = (
    (re.compile(r"did:key:z[1-9A-HJ-NP-Za-km-z]+"), "(did)"),
    (re.compile(r"\bcis1[a-z2-7]{16,}", re.IGNORECASE), "(ticket)"),
    (re.compile(r"\b(?:[a-z2-7]{4}-){5,}[a-z2-7]{1,4}\b", re.IGNORECASE), "(key)"),
    (re.compile(r"\b[0-9a-f]{32,}\b|\b[A-Za-z0-9_-]{43,}={0,2}"), "(key)"),
)


def escaped(text: str, *, keep: str = "") -> str:
    """Return the text with control, bidirectional and broken characters as escapes, but those to ``keep``."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def escaped_json(text: str) -> str:
    """Return JSON text with such characters as JSON escapes: they stand only inside strings, whose value is kept."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else _json_escape(found[0]), text)


def redacted(text: str) -> str:
    """Return the text without network addresses, DIDs, tickets and what looks like a key: a word stands for each.

    A net under messages that should hold none of these, not a leave to put them in; names of members stay.
    """
    for pattern, word in _SECRETS:
        text = pattern.sub(word, text)
    return _HOST.sub(ADDRESS, _NUMERIC.sub(_hide_address, text))


def _hide_address(found: re.Match[str]) -> str:
    """Hide an IP address with its port; other numbers with points and colons, as times and versions, stay."""
    text = found["bracketed"] or found["plain"]
    for candidate in (text, text.rpartition(":")[0]):
        try:
            ipaddress.ip_address(candidate)
        except ValueError:
            continue
        return ADDRESS
    return found[0]


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
