"""The recovery key on paper: it comes back as typed, and a slip is noticed and not quoted."""

from __future__ import annotations

import re

import pytest

from cis.errors import UsageError
from cis.trust import Identity
from cis.trust.recovery import GROUP, parse_recovery_key, recovery_text

IDENTITY = Identity(bytes(range(32)))
TEXT = recovery_text(IDENTITY)


@pytest.mark.parametrize("typed", [TEXT, TEXT.upper(), TEXT.replace("-", " "), TEXT.replace("-", ""), f" {TEXT}\n"])
def test_a_key_is_read_however_it_is_parted_and_in_either_case(typed: str) -> None:
    assert parse_recovery_key(typed).node == IDENTITY.node


def test_every_slip_in_one_letter_is_noticed_and_never_quoted() -> None:
    for place, letter in enumerate(TEXT):
        if letter == "-":
            continue
        slipped = TEXT[:place] + ("a" if letter != "a" else "b") + TEXT[place + 1 :]
        if slipped[:-1] == TEXT[:-1]:
            continue  # the last letter holds bits that no byte has
        with pytest.raises(UsageError) as refused:
            parse_recovery_key(slipped)
        assert slipped[:9] not in str(refused.value)


@pytest.mark.parametrize("typed", ["", "x", TEXT[:-1], TEXT + "a", TEXT.replace(TEXT[0], "1"), "é" * 58])
def test_what_is_no_key_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="recovery key"):
        parse_recovery_key(typed)


def test_a_key_is_written_in_groups_of_letters_that_are_read_again() -> None:
    written = recovery_text(IDENTITY)
    assert {len(group) for group in written.split("-")[:-1]} == {GROUP}
    assert re.fullmatch("[a-z2-7-]+", written), "in lower case, and without the padding of base32"
    assert parse_recovery_key(written).seed == IDENTITY.seed
