"""Makes ``synchronous.py`` of the Python API from ``asynchronous.py``, which alone is written by hand.

::

    python tools/unasync.py            # writes it
    python tools/unasync.py --check    # fails where it is not what would be written
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "src" / "cis" / "api" / "python"
SOURCE, TARGET = FOLDER / "asynchronous.py", FOLDER / "synchronous.py"
NOTICE = "Made from `asynchronous.py` by ``tools/unasync.py``: edit that."
RULES = (
    (r"from collections\.abc import AsyncIterator, Iterable", "from collections.abc import Iterable, Iterator"),
    (r"(from cis\.api\.python)\.remote import AsyncRemoteNode, AsyncStream", r"\1.opened import OpenNode"),
    (r"(from cis\.api\.python\.values)", r"from cis.api.python.streams import Stream\n\1"),
    (r"\n        await self\._node\.check\(\)", ""),
    (r"AsyncRemoteNode", "OpenNode"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync (?=def|for|with)", ""),
    (r"\bawait ", ""),
    (r"\b__a(?=enter|exit)", "__"),
    (r"\baclose\b", "close"),
    (r"cis\.connect", "cis.open"),
)


def made(source: str) -> str:
    """Return the synchronous module."""
    for pattern, replacement in RULES:
        source = re.sub(pattern, replacement, source)
    first, _, rest = source.partition("\n\n")
    return f"{first}\n\n{NOTICE}\n\n{rest}"


def main(arguments: Sequence[str]) -> int:
    """Write it, or check it."""
    text = made(SOURCE.read_text(encoding="utf-8"))
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is not made from {SOURCE.name}: run  python tools/unasync.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
