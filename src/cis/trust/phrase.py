"""An identity as 24 words (BIP-39), to be written on paper, and a node as eight words, to be compared aloud.

The 24 carry eight bits of check, so one wrong or swapped word is found 255 times in 256, and the DID shows the rest.
They are the seed itself: no passphrase is mixed in, unlike in wallets.
"""

from __future__ import annotations

import functools
from hashlib import blake2b

from mnemonic import Mnemonic

from cis.errors import UsageError
from cis.model import NodeId
from cis.trust.identity import Identity
from cis.trust.words import words_of

PHRASE_WORDS = 24
FINGERPRINT_WORDS = 8
WRONG_SHOWN_MAX = 4


def phrase_of(identity: Identity) -> tuple[str, ...]:
    """Return the 24 words that hold an identity."""
    return tuple(_dictionary().to_mnemonic(identity.seed).split())


def identity_of(text: str) -> Identity:
    """Return the identity that 24 words hold, in any case, numbered or not; `UsageError` says which word is wrong."""
    words = [word for word in text.lower().replace(".", " ").replace(",", " ").split() if not word.isdecimal()]
    known = set(_dictionary().wordlist)
    wrong = [str(number) for number, word in enumerate(words, 1) if word not in known]
    if wrong:
        raise UsageError(f"no such word at place {', '.join(wrong[:WRONG_SHOWN_MAX])}: was it written down otherwise?")
    if len(words) != PHRASE_WORDS:
        raise UsageError(f"{len(words)} words: an identity has {PHRASE_WORDS}, in their order")
    try:
        return Identity(bytes(_dictionary().to_entropy(words)))
    except ValueError:
        raise UsageError("these words do not belong together: one is wrong, or two are swapped") from None


def fingerprint(node: NodeId) -> tuple[str, ...]:
    """Return eight words that stand for 64 bits of a hash of the node's id."""
    return words_of(blake2b(node, digest_size=FINGERPRINT_WORDS, person=b"cis fingerprint").digest())


@functools.cache
def _dictionary() -> Mnemonic:
    return Mnemonic("english")
