"""The recovery key as text, to be kept on paper: an identity that is senior to every admin and member of nothing.

Text: base32 (RFC 4648, lower case, no padding) of the seed and four bytes of BLAKE2b over it, in groups of four.
Letters may be typed in either case, and groups parted by anything that is no letter or digit.
"""

from __future__ import annotations

import base64
import re
from hashlib import blake2b

from cis.errors import UsageError
from cis.trust.identity import SEED_LENGTH, Identity

GROUP = 4
_CHECK_LENGTH = 4
_CHARACTERS = -(-(SEED_LENGTH + _CHECK_LENGTH) * 8 // 5)
_PARTING = re.compile(r"[^A-Za-z0-9]+")


def recovery_text(identity: Identity) -> str:
    """Return the key as `parse_recovery_key` reads it: who has it can remove every admin."""
    data = identity.seed + _check(identity.seed)
    letters = base64.b32encode(data).decode().rstrip("=").lower()
    return "-".join(letters[place : place + GROUP] for place in range(0, len(letters), GROUP))


def parse_recovery_key(text: str) -> Identity:
    """Read a recovery key as it was typed; `UsageError` where it is none, without quoting any of it."""
    letters = _PARTING.sub("", text).upper()
    if len(letters) != _CHARACTERS:
        raise UsageError(f"a recovery key has {_CHARACTERS} letters and digits, this one {len(letters)}: type it again")
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        raise UsageError("a recovery key is made of the letters a to z and the digits 2 to 7: type it again") from None
    seed, check = data[:SEED_LENGTH], data[SEED_LENGTH:]
    if check != _check(seed):
        raise UsageError("this recovery key is mistyped: compare it group by group with what `cis init` showed")
    return Identity(seed)


def _check(seed: bytes) -> bytes:
    return blake2b(seed, digest_size=_CHECK_LENGTH, person=b"cis recovery").digest()
