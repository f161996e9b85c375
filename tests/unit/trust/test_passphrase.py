from __future__ import annotations

from collections.abc import Callable

import pytest

from cis.errors import UsageError
from cis.trust import passphrase
from cis.trust.passphrase import (
    MEMORY_KIB_MAX,
    MEMORY_KIB_MIN,
    Cost,
    check_passphrase,
    derive,
    fit_cost,
    open_secret,
    seal_secret,
)
from tests.unit.trust.cluster import entropy

QUICK = Cost(memory_kib=64, passes=1, lanes=1)


def test_what_is_sealed_opens_under_the_same_key_and_words_beside_it() -> None:
    sealed = seal_secret(b"secret", bytes(32), b"beside", entropy(1))
    assert open_secret(sealed, bytes(32), b"beside") == b"secret"
    assert b"secret" not in sealed


def test_another_key_other_words_beside_it_or_a_flipped_bit_open_nothing() -> None:
    sealed = seal_secret(b"secret", bytes(32), b"beside", entropy(1))
    assert open_secret(sealed, b"\1" * 32, b"beside") is None
    assert open_secret(sealed, bytes(32), b"besides") is None
    for place in range(len(sealed)):
        assert (
            open_secret(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], bytes(32), b"beside") is None
        )
    for length in range(len(sealed)):
        assert open_secret(sealed[:length], bytes(32), b"beside") is None


def test_a_key_follows_from_passphrase_salt_and_every_part_of_the_cost() -> None:
    variants = {
        derive("four words make one", bytes(16), QUICK),
        derive("four words make One", bytes(16), QUICK),
        derive("four words make one", b"\1" * 16, QUICK),
        derive("four words make one", bytes(16), Cost(128, 1, 1)),
        derive("four words make one", bytes(16), Cost(64, 2, 1)),
        derive("four words make one", bytes(16), Cost(64, 1, 2)),
    }
    assert len(variants) == 6


def test_argon2id_is_that_of_its_reference() -> None:
    # from phc-winner-argon2/src/test.c, version 0x13: t=2, m=2^16 KiB, p=1, "password", "somesalt"
    from argon2.low_level import Type, hash_secret_raw

    expected = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
    assert hash_secret_raw(b"password", b"somesalt", 2, 65536, 1, 32, Type.ID).hex() == expected


def test_a_passphrase_typed_in_parts_or_whole_characters_is_the_same() -> None:
    assert derive("cafe\u0301 creme", bytes(16), QUICK) == derive("caf\u00e9 creme", bytes(16), QUICK)


def test_a_passphrase_of_seven_characters_is_refused() -> None:
    assert check_passphrase("12345678") == "12345678"
    for short in ("", "1234567", "   1234567   "):
        with pytest.raises(UsageError, match="at least 8"):
            check_passphrase(short)


@pytest.mark.parametrize(
    "wrong", [(0, 1, 1), (7, 1, 1), (64, 0, 1), (64, 1, 0), (8 << 20, 1, 1), (64, 65, 1), (1 << 20, 1, 65)]
)
def test_a_cost_that_would_be_none_or_hang_the_machine_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no cost"):
        Cost(*wrong)


def test_the_cost_grows_with_the_machine_and_never_below_64_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def clock() -> float:
        return now_s

    def derive_at(kib_per_s: float) -> Callable[[str, bytes, Cost], bytes]:
        def measured(_: str, __: bytes, cost: Cost) -> bytes:
            nonlocal now_s
            now_s += cost.memory_kib / kib_per_s
            return b""

        return measured

    for kib_per_s, expected in ((1e4, MEMORY_KIB_MIN), (3e5, 2 * MEMORY_KIB_MIN), (1e12, MEMORY_KIB_MAX)):
        monkeypatch.setattr(passphrase, "derive", derive_at(kib_per_s))
        assert fit_cost(clock).memory_kib == expected
