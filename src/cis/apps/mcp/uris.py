"""The addresses of memories as resources: ``memory://KEY``, with ``?space=NAME`` where it is not the default space.

Everything in a key but letters, digits, ``-``, ``.``, ``_`` and ``~`` is percent-encoded (RFC 3986), so that each
memory has one address; a key that comes less encoded is understood all the same.
"""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote

from cis.errors import UsageError

TEMPLATE = "memory://{key}{?space}"
_SCHEME = "memory://"


def uri_of(key: str, space: str, default: str) -> str:
    """Return the address of a memory."""
    where = "" if space == default else f"?space={quote(space, safe='')}"
    return f"{_SCHEME}{quote(key, safe='')}{where}"


def read(uri: str, default: str) -> tuple[str, str]:
    """Return the key and the space an address names; `UsageError` for another."""
    rest = uri.removeprefix(_SCHEME)
    key, _, query = rest.partition("?")
    try:
        asked = parse_qs(query, strict_parsing=True, errors="strict", max_num_fields=1) if query else {}
        name = unquote(key, errors="strict")
    except ValueError:
        name, asked = "", {}
    if rest == uri or not name or asked.keys() - {"space"}:
        raise UsageError(f"{uri[:200]!r} is no memory's address: it is like {TEMPLATE}, with the key percent-encoded")
    return name, asked.get("space", [default])[0]
