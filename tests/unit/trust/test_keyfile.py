from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cis.errors import Denied, StoreError, UsageError
from cis.trust.files import refuse_open
from cis.trust.keyfile import (
    KeyOf,
    create_identity,
    create_store_key,
    load_identity,
    load_store_key,
    passphrase_lock,
    read_identity,
    rewrite_identity,
    write_identity,
)
from cis.trust.passphrase import Cost
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


QUICK = Cost(memory_kib=64, passes=1, lanes=1)
PASSPHRASE = "four words make one"


def locked(path: Path) -> bytes:
    lock = passphrase_lock(QUICK, entropy(5))
    write_identity(path, identity(1), lock, lock.key(PASSPHRASE), entropy(6))
    return path.read_bytes()


def key_of(passphrase: str) -> KeyOf:
    return lambda lock: lock.key(passphrase)


def test_a_locked_identity_opens_under_its_passphrase_and_holds_no_seed(home: Path) -> None:
    data = locked(home / "identity")
    assert load_identity(home / "identity", key_of(PASSPHRASE)).seed == identity(1).seed
    assert identity(1).seed.hex().encode() not in data
    assert mode(home / "identity") == 0o600


def test_a_wrong_passphrase_is_told_as_one(home: Path) -> None:
    locked(home / "identity")
    with pytest.raises(Denied, match="wrong passphrase"):
        load_identity(home / "identity", key_of("four words make two"))


def test_a_locked_identity_is_not_opened_without_a_key_but_says_whose_it_is(home: Path) -> None:
    locked(home / "identity")
    with pytest.raises(Denied, match="locked"):
        load_identity(home / "identity")
    assert read_identity(home / "identity").did == identity(1).did


def test_a_locked_identity_altered_anywhere_is_refused(home: Path) -> None:
    path = home / "identity"
    whole = locked(path)
    for place in range(len(whole) - 1):
        for other in (b"0", b"1"):
            if whole[place : place + 1] != other:
                path.write_bytes(whole[:place] + other + whole[place + 1 :])
                with pytest.raises((StoreError, Denied)):
                    load_identity(path, key_of(PASSPHRASE))


def test_a_cost_out_of_bounds_is_refused_before_it_is_paid(home: Path) -> None:
    path = home / "identity"
    path.parent.mkdir(mode=0o700)
    for cost in (
        "memory_kib=999999999 passes=1 lanes=1",
        "memory_kib=64 passes=999 lanes=1",
        "memory_kib=1 passes=1 lanes=1",
    ):
        path.write_text(f"cis identity 1\n{identity(1).did}\nargon2id {cost} salt={bytes(16).hex()}\n00\n")
        path.chmod(0o600)
        with pytest.raises(StoreError, match="damaged"):
            load_identity(path, lambda _: pytest.fail("it was to be refused"))


def test_rewriting_changes_the_lock_and_not_the_identity(home: Path) -> None:
    path = home / "identity"
    create_identity(path, entropy(1))
    made = load_identity(path)
    lock = passphrase_lock(QUICK, entropy(5))
    rewrite_identity(path, made, lock, lock.key(PASSPHRASE), entropy(6))
    assert load_identity(path, key_of(PASSPHRASE)).seed == made.seed
    rewrite_identity(path, made, None, b"", entropy(7))
    assert load_identity(path).seed == made.seed
    assert [file.name for file in home.iterdir()] == ["identity"]


def test_a_file_that_would_not_read_back_replaces_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cis.trust import keyfile

    path = home / "identity"
    made = create_identity(path, entropy(1))
    before = path.read_bytes()
    monkeypatch.setattr(keyfile, "seal_secret", lambda *_: b"not what opens")
    lock = passphrase_lock(QUICK, entropy(5))
    with pytest.raises(Denied):
        rewrite_identity(path, made, lock, lock.key(PASSPHRASE), entropy(6))
    assert path.read_bytes() == before
    assert [file.name for file in home.iterdir()] == ["identity"]


def test_the_new_file_is_synced_before_it_takes_the_place_of_the_old(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "identity"
    made = create_identity(path, entropy(1))
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append("sync")
        sync(handle)

    def replaced(self: Path, to: Path) -> Path:
        done.append("replace")
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    rewrite_identity(path, made, None, b"", entropy(6))
    assert done == ["sync", "replace", "sync"]


@posix
def test_every_open_file_of_a_home_is_refused_at_once_with_one_command(home: Path) -> None:
    home.mkdir(mode=0o700)
    paths = [home / name for name in ("memory.db", "store.key", "missing")]
    for path in paths[:2]:
        path.write_bytes(b"")
        path.chmod(0o600)
    refuse_open(home, paths)
    for path in paths[:2]:
        path.chmod(0o644)
    with pytest.raises(Denied, match=f"chmod 600 {paths[0]} {paths[1]}"):
        refuse_open(home, paths)
    home.chmod(0o750)
    with pytest.raises(Denied, match=f"chmod 700 {home}"):
        refuse_open(home, [])


@posix
def test_a_folder_may_be_a_link_and_is_judged_by_where_it_lies(home: Path, tmp_path: Path) -> None:
    created = create_identity(home / "identity", entropy(1))
    link = tmp_path / "link"
    link.symlink_to(home)
    refuse_open(link, [link / "identity"])
    assert load_identity(link / "identity").node == created.node
    home.chmod(0o755)
    with pytest.raises(Denied, match=f"chmod 700 {link}"):
        refuse_open(link, [])
