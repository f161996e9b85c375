from __future__ import annotations

from itertools import combinations

import pytest

from cis.errors import UsageError
from cis.trust.codes import BURN_WINDOW_MS, BURNS_MAX, NUMBER_MAX, Burns, Code, draw_code, parse_code, rendezvous_tag
from cis.trust.words import WORDS, is_word, nearest, words_of
from tests.unit.trust.cluster import NOW_MS, entropy

MINUTE_MS = 60_000


def edits(one: str, other: str) -> int:
    """How many letters to change, add or leave out to make one word of the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        fresh = [place]
        for column, wanted in enumerate(other, 1):
            fresh.append(min(row[column] + 1, fresh[-1] + 1, row[column - 1] + (letter != wanted)))
        row = fresh
    return row[-1]


def test_there_are_256_words_that_no_two_slips_of_the_finger_turn_into_each_other() -> None:
    assert len(set(WORDS)) == 256
    assert all(word.isascii() and word.islower() and 4 <= len(word) <= 8 for word in WORDS)
    assert [pair for pair in combinations(WORDS, 2) if edits(*pair) < 3] == []


def test_three_letters_tell_a_word() -> None:
    assert len({word[:3] for word in WORDS}) == 256
    assert all(nearest(word[:3] + "x") == word for word in WORDS)


def test_each_byte_is_a_word_of_its_own() -> None:
    assert words_of(bytes(range(256))) == WORDS
    assert all(map(is_word, WORDS))


def test_the_numbers_drawn_begin_at_one_and_end_at_the_greatest_that_is_read() -> None:
    assert draw_code(bytes).number == 1
    assert draw_code(lambda length: (NUMBER_MAX - 1).to_bytes(length, "big")).number == NUMBER_MAX
    assert parse_code(str(draw_code(bytes))) == draw_code(bytes)


def test_a_code_is_read_as_it_is_shown() -> None:
    for seed in range(50):
        code = draw_code(entropy(seed))
        assert 1 <= code.number <= NUMBER_MAX
        assert parse_code(str(code)) == code


@pytest.mark.parametrize("text", ["42-copper-otter", " 42 Copper  OTTER\n", "42, copper, otter", "042-copper–otter"])
def test_a_code_is_read_however_it_is_typed(text: str) -> None:
    assert parse_code(text) == Code(42, ("copper", "otter"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with a number"),
        ("copper-otter", "begins with a number"),
        ("0-copper-otter", "from 1 to 999"),
        ("1000-copper-otter", "from 1 to 999"),
        ("9" * 5000 + "-copper-otter", "from 1 to 999"),
        ("²-copper-otter", "begins with a number"),
        ("42", "two words"),
        ("42-copper", "two words"),
        ("42-copper-otter-otter", "two words"),
        ("42-coper-otter", "'coper' is no word"),
        ("42-copperx-otter", "is it 'copper'"),
        ("42-\x1b[2J-otter", "is no word"),
    ],
)
def test_what_is_no_code_is_said_before_it_costs_a_guess(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        parse_code(text)


def test_the_words_have_no_part_in_the_rendezvous() -> None:
    tags = {rendezvous_tag(number) for number in range(1, NUMBER_MAX + 1)}
    assert len(tags) == NUMBER_MAX
    assert {len(tag) for tag in tags} == {16}


def test_the_whole_code_is_the_secret() -> None:
    secrets = {Code(number, words).secret for number in (4, 42) for words in (("copper", "otter"), ("otter", "copper"))}
    assert len(secrets) == 4


def test_three_burns_stop_pairing_until_the_first_is_an_hour_old() -> None:
    burns = Burns()
    for number in range(BURNS_MAX):
        assert burns.stopped_ms(NOW_MS + number * MINUTE_MS) == 0
        assert burns.left(NOW_MS + number * MINUTE_MS) == BURNS_MAX - number
        burns = burns.plus(NOW_MS + number * MINUTE_MS)
    assert burns.stopped_ms(NOW_MS + 2 * MINUTE_MS) == BURN_WINDOW_MS - 2 * MINUTE_MS
    assert burns.stopped_ms(NOW_MS + BURN_WINDOW_MS - 1) == 1
    assert burns.stopped_ms(NOW_MS + BURN_WINDOW_MS) == 0
    assert burns.left(NOW_MS + BURN_WINDOW_MS) == 1


def test_a_success_takes_back_its_own_burn_alone() -> None:
    burns = Burns().plus(NOW_MS).plus(NOW_MS + 1)
    assert burns.minus(NOW_MS) == Burns((NOW_MS + 1,))
    assert burns.minus(NOW_MS + 5) == burns


def test_a_clock_that_was_ahead_locks_nobody_out_for_longer() -> None:
    ahead = Burns().plus(NOW_MS + BURN_WINDOW_MS * 100).plus(NOW_MS + BURN_WINDOW_MS * 100)
    assert ahead.plus(NOW_MS).stopped_ms(NOW_MS) == 0
