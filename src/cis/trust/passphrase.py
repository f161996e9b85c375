"""A secret under a passphrase, or under a key kept elsewhere: Argon2id (RFC 9106), then AES-256-GCM.

The cost lies beside the secret, so that it can rise; what lies beside it is authenticated with it. No passphrase is
kept, and a wrong one shows as a wrong one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.errors import UsageError
from cis.trust.identity import Entropy

PASSPHRASE_CHARACTERS_MIN = 8
SALT_LENGTH = 16
KEY_LENGTH = 32
NONCE_LENGTH = 12
MEMORY_KIB_MIN = 64 * 1024
MEMORY_KIB_MAX = 1024 * 1024
MEMORY_KIB_READ_MAX = 4 * 1024 * 1024
PASSES_MAX = 64
LANES_MAX = 64
AIM_S = 0.5
"""How long a guess is to take on this machine."""
TRIES = 2
"""The quickest counts: the machine may have had other things to do."""


@dataclass(frozen=True)
class Cost:
    """What one guess costs: kibibytes of memory, passes over them, and lanes computed side by side."""

    memory_kib: int = MEMORY_KIB_MIN
    passes: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        bounds = (self.passes, PASSES_MAX), (self.lanes, LANES_MAX), (self.memory_kib, MEMORY_KIB_READ_MAX)
        if not all(1 <= value <= most for value, most in bounds) or self.memory_kib < 8 * self.lanes:
            raise ValueError(f"no cost of Argon2id: {self}")


def fit_cost(clock_s: Callable[[], float], aim_s: float = AIM_S) -> Cost:
    """Return a cost of about ``aim_s`` here by that clock, doubling the memory from 64 MiB; never a lower one."""
    cost = Cost()
    while cost.memory_kib < MEMORY_KIB_MAX and min(_took_s(cost, clock_s) for _ in range(TRIES)) < aim_s / 1.5:
        cost = replace(cost, memory_kib=2 * cost.memory_kib)
    return cost


def _took_s(cost: Cost, clock_s: Callable[[], float]) -> float:
    began = clock_s()
    derive("a passphrase to measure by", bytes(SALT_LENGTH), cost)
    return clock_s() - began


def derive(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """Return the 32-byte key of a passphrase, in Unicode's composed form, so that every keyboard types the same."""
    from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415 - slow to load, and most keys need none of it

    plain = unicodedata.normalize("NFC", passphrase).encode()
    return hash_secret_raw(plain, salt, cost.passes, cost.memory_kib, cost.lanes, KEY_LENGTH, Type.ID)


def check_passphrase(passphrase: str) -> str:
    """Return a new passphrase; `UsageError` for one too short to be of use."""
    if len(passphrase.strip()) < PASSPHRASE_CHARACTERS_MIN:
        raise UsageError(f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters: four words are a good one")
    return passphrase


def seal_secret(secret: bytes, key: bytes, beside: bytes, entropy: Entropy) -> bytes:
    """Return the secret sealed under a key, nonce first; ``beside`` is what must be unchanged to open it."""
    nonce = entropy(NONCE_LENGTH)
    return nonce + AESGCM(key).encrypt(nonce, secret, beside)


def open_secret(sealed: bytes, key: bytes, beside: bytes) -> bytes | None:
    """Return the secret, None where the key is not the one, or something was altered."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_LENGTH], sealed[NONCE_LENGTH:], beside)
    except (InvalidTag, ValueError):
        return None
