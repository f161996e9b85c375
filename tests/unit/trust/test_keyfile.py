from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cis.errors import Denied, StoreError, UsageError
from cis.trust.keyfile import create_identity, create_store_key, load_identity, load_store_key
from tests.unit.trust.cluster import entropy, identity

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_identity_is_read_back(home: Path) -> None:
    created = create_identity(home / "identity", entropy(1))
    assert load_identity(home / "identity").node == created.node
    assert [path.name for path in home.iterdir()] == ["identity"]


@posix
def test_files_and_folder_are_for_the_owner_alone_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        made = create_identity(home / "identity", entropy(1))
        create_store_key(home / "store.key", made, entropy(2))
    finally:
        os.umask(before)
    assert mode(home) == 0o700
    assert mode(home / "identity") == mode(home / "store.key") == 0o600


@posix
@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o620, 0o601])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(home: Path, wrong: int) -> None:
    path = home / "identity"
    create_identity(path, entropy(1))
    path.chmod(wrong)
    with pytest.raises(Denied, match=f"chmod 600 {path}"):
        load_identity(path)


@posix
def test_a_folder_open_to_others_is_refused_for_reading_and_writing(home: Path) -> None:
    made = create_identity(home / "identity", entropy(1))
    home.chmod(0o755)
    with pytest.raises(Denied, match=f"chmod 700 {home}"):
        load_identity(home / "identity")
    with pytest.raises(Denied, match=f"chmod 700 {home}"):
        create_store_key(home / "store.key", made, entropy(2))


def test_nothing_is_overwritten(home: Path) -> None:
    made = create_identity(home / "identity", entropy(1))
    create_store_key(home / "store.key", made, entropy(2))
    with pytest.raises(UsageError, match="already"):
        create_identity(home / "identity", entropy(3))
    with pytest.raises(UsageError, match="already"):
        create_store_key(home / "store.key", made, entropy(3))
    assert load_identity(home / "identity").node == made.node


def test_a_missing_identity_says_what_to_do(home: Path) -> None:
    with pytest.raises(UsageError, match="cis init"):
        load_identity(home / "identity")


def test_a_damaged_or_foreign_identity_is_refused_and_left_as_it_is(home: Path) -> None:
    path = home / "identity"
    create_identity(path, entropy(1))
    whole = path.read_bytes()
    swapped = whole[:-3] + (b"0" if whole[-3:-2] != b"0" else b"1") + whole[-2:]
    for damaged in (b"", whole[:-10], whole[:20], swapped, b"\xff" * 100, b"-----BEGIN KEY-----\n"):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=str(path)):
            load_identity(path)
        assert path.read_bytes() == damaged


def test_a_folder_where_the_file_should_be_is_an_error_of_the_store(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "identity").mkdir(mode=0o700)
    with pytest.raises(StoreError, match="cannot be read"):
        load_identity(home / "identity")


def test_the_store_key_opens_for_its_identity(home: Path) -> None:
    key = create_store_key(home / "store.key", identity(1), entropy(2))
    assert load_store_key(home / "store.key", identity(1)) == key
    assert key not in (home / "store.key").read_bytes()


def test_the_store_key_of_another_identity_says_so(home: Path) -> None:
    create_store_key(home / "store.key", identity(1), entropy(2))
    with pytest.raises(StoreError, match="belongs to another identity"):
        load_store_key(home / "store.key", identity(2))


def test_a_store_key_damaged_anywhere_is_refused(home: Path) -> None:
    path = home / "store.key"
    create_store_key(path, identity(1), entropy(2))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError):
            load_store_key(path, identity(1))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError):
            load_store_key(path, identity(1))


def test_a_part_left_by_a_crash_is_no_obstacle(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "identity.part").write_text("half")
    create_identity(home / "identity", entropy(1))
    assert mode(home / "identity") == 0o600
    assert load_identity(home / "identity")
