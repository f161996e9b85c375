from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.trust import Identity
from cis.trust.phrase import fingerprint, identity_of, phrase_of
from tests.unit.trust.cluster import identity


def test_24_words_bring_the_identity_back_numbered_or_not_in_any_case() -> None:
    words = phrase_of(identity(1))
    assert len(words) == 24
    assert identity_of(" ".join(words)).seed == identity(1).seed
    numbered = "\n".join(f"{number:2}. {word.upper()}" for number, word in enumerate(words, 1))
    assert identity_of(numbered).seed == identity(1).seed


def test_the_words_are_those_of_bip_39() -> None:
    # the vector of 32 zero bytes in trezor/python-mnemonic's vectors.json
    assert phrase_of(Identity(bytes(32))) == ("abandon",) * 23 + ("art",)


def test_a_word_there_is_not_is_told_by_its_place_and_not_repeated() -> None:
    words = list(phrase_of(identity(1)))
    words[4] = "hunter2secret"
    with pytest.raises(UsageError, match="place 5") as told:
        identity_of(" ".join(words))
    assert "hunter2" not in str(told.value)


def test_too_few_and_too_many_words_are_refused() -> None:
    words = phrase_of(identity(1))
    for wrong in (words[:23], (*words, words[0]), ()):
        with pytest.raises(UsageError, match="24"):
            identity_of(" ".join(wrong))


def test_nearly_every_swap_of_two_words_is_found() -> None:
    words = list(phrase_of(identity(1)))
    found = 0
    for place in range(23):
        swapped = [*words[:place], words[place + 1], words[place], *words[place + 2 :]]
        try:
            identity_of(" ".join(swapped))
        except UsageError:
            found += 1
    assert found >= 22


def test_a_fingerprint_is_eight_words_of_the_node_alone() -> None:
    assert fingerprint(identity(1).node) == fingerprint(identity(1).node)
    assert len(fingerprint(identity(1).node)) == 8
    assert fingerprint(identity(1).node) != fingerprint(identity(2).node)
