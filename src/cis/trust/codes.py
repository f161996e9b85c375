"""Codes of pairing: what they look like, how one is read as a person typed it, and how often one may fail.

A code is a number, which names the rendezvous and is no secret, and two words, which are: ``42-copper-otter``. With
16 bits in the words a guess is right once in 65,536 times, so guesses are held to three an hour (RULES: joining).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

from cis.errors import UsageError
from cis.trust.identity import Entropy
from cis.trust.words import is_word, nearest, words_of

NUMBER_MAX = 999
WORDS_IN_CODE = 2
CODE_LIFE_S = 120.0
BURNS_MAX = 3
BURN_WINDOW_MS = 3_600_000
TAG_LENGTH = 16
_BETWEEN = re.compile(r"[\s\-–—_.,/]+")
_SHOWN = "42-copper-otter"


@dataclass(frozen=True, slots=True)
class Code:
    """A number from 1 to 999 and two words of the list."""

    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return "-".join((str(self.number), *self.words))

    @property
    def secret(self) -> bytes:
        """What SPAKE2 is given."""
        return str(self).encode()


def draw_code(entropy: Entropy) -> Code:
    """Make a code."""
    number = 1 + int.from_bytes(entropy(8), "big") % NUMBER_MAX
    return Code(number, words_of(entropy(WORDS_IN_CODE)))


def parse_code(text: str) -> Code:
    """Read a code as typed: any case, spaces or hyphens between; `UsageError` says what is wrong with it.

    A word that is not of the list is found out here, and costs no guess.
    """
    number, *words = _BETWEEN.split(text.strip().lower())
    if not (number.isascii() and number.isdecimal() and 0 < int(number[:9]) <= NUMBER_MAX):
        raise UsageError(f"a code begins with a number from 1 to {NUMBER_MAX}, as in {_SHOWN}")
    if len(words) != WORDS_IN_CODE:
        raise UsageError(f"a code is a number and two words, as in {_SHOWN}: copy it whole")
    for word in words:
        if not is_word(word):
            meant = nearest(word)
            hint = f": is it {meant!r}?" if meant else "."
            raise UsageError(f"{word[:20]!r} is no word a code is made of{hint} Look again at the other device")
    return Code(int(number), tuple(words))


def rendezvous_tag(number: int) -> bytes:
    """Return the tag under which the shower of a code is found on the local network; it depends on the number alone."""
    return blake2b(number.to_bytes(2, "big"), digest_size=TAG_LENGTH, person=b"cis rendezvous").digest()


@dataclass(frozen=True, slots=True)
class Burns:
    """When codes failed (Unix ms) within the last hour, oldest first."""

    times_ms: tuple[int, ...] = ()

    def at(self, now_ms: int) -> Burns:
        """Return those of the hour before; times still to come are from a clock set back, and do not count."""
        return Burns(tuple(one for one in self.times_ms if now_ms - BURN_WINDOW_MS < one <= now_ms)[-BURNS_MAX:])

    def plus(self, now_ms: int) -> Burns:
        """Return them with one more, now."""
        return Burns((*self.at(now_ms).times_ms, now_ms)).at(now_ms)

    def minus(self, time_ms: int) -> Burns:
        """Return them without the one counted then."""
        place = self.times_ms.index(time_ms) if time_ms in self.times_ms else len(self.times_ms)
        return Burns((*self.times_ms[:place], *self.times_ms[place + 1 :]))

    def left(self, now_ms: int) -> int:
        """Return how many more codes may fail before pairing stops."""
        return BURNS_MAX - len(self.at(now_ms).times_ms)

    def stopped_ms(self, now_ms: int) -> int:
        """Return for how long pairing is stopped, 0 where it is not."""
        recent = self.at(now_ms).times_ms
        return recent[0] + BURN_WINDOW_MS - now_ms if len(recent) >= BURNS_MAX else 0
