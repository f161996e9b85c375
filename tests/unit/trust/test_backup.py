from __future__ import annotations

import msgspec
import pyrage
import pytest

from cis.errors import Denied, UsageError
from cis.trust.backup import Backup, open_backup, seal_backup
from tests.unit.trust.cluster import identity

BACKUP = Backup(
    version=1,
    made_ms=1,
    name="laptop",
    locked=True,
    seed=identity(1).seed,
    cluster=bytes(32),
    keys=b"keys of the cluster",
    entries=(b"an entry",),
    peers=b"[]",
    config=b"",
)


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return seal_backup(BACKUP, "four words make one")


def test_a_backup_opens_under_its_passphrase_and_is_an_age_file(sealed: bytes) -> None:
    assert sealed.startswith(b"age-encryption.org/v1\n-> scrypt ")
    assert open_backup(sealed, "four words make one") == BACKUP


def test_nothing_of_it_is_in_clear(sealed: bytes) -> None:
    for secret in (BACKUP.seed, BACKUP.keys, b"laptop", b"an entry"):
        assert secret not in sealed


def test_a_wrong_passphrase_and_a_flipped_bit_are_denied(sealed: bytes) -> None:
    with pytest.raises(Denied, match="does not open"):
        open_backup(sealed, "four words make two")
    with pytest.raises(Denied, match="does not open"):
        open_backup(sealed[:-1] + bytes([sealed[-1] ^ 1]), "four words make one")


def test_another_file_is_no_backup() -> None:
    for other in (b"", b"text", b"PK\x03\x04"):
        with pytest.raises(UsageError, match="no backup"):
            open_backup(other, "four words make one")


def test_an_age_file_of_something_else_is_no_backup() -> None:
    for plain in (b"a diary", b"cis backup 1\n", b"cis backup 1\n" + msgspec.msgpack.encode([2, 0])):
        with pytest.raises(UsageError, match="no backup this version"):
            open_backup(pyrage.passphrase.encrypt(plain, "pass"), "pass")


def test_a_backup_shows_no_secret_of_itself() -> None:
    assert repr(BACKUP) == "Backup('laptop')"
