from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import KeyringLocked

from cis.api.membership.keys import protect, show_key
from cis.errors import Denied, StoreError, Unavailable, UsageError
from cis.node.home.folder import Home
from cis.node.home.passphrases import asking
from cis.node.home.unlocking import has_keyring_key, keep_in_keyring, passphrase_to_hand_on, unlock
from cis.trust import files
from cis.trust.keyfile import (
    KeyringLock,
    create_identity,
    passphrase_lock,
    read_identity,
    rewrite_identity,
)
from cis.trust.passphrase import Cost
from tests.unit.trust.cluster import entropy

PASSPHRASE = "four words make one"


class DictKeyring(KeyringBackend):
    """A keyring that keeps what it is given."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


class PlaintextKeyring(DictKeyring):
    """One that says that it keeps no secret."""


class ForgetfulKeyring(DictKeyring):
    """One that keeps nothing."""

    def set_password(self, *_: str) -> None: ...


class LockedKeyring(DictKeyring):
    """One that is locked."""

    def get_password(self, *_: str) -> str | None:
        raise KeyringLocked("locked")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CIS_PASSPHRASE", "CIS_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    create_identity(found.identity, entropy(1))
    return found


@pytest.fixture
def locked(home: Home) -> Home:
    lock = passphrase_lock(Cost(64, 1, 1), entropy(2))
    rewrite_identity(home.identity, unlock(home), lock, lock.key(PASSPHRASE), entropy(3))
    return home


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> DictKeyring:
    return use(DictKeyring(), monkeypatch)


def use(backend: DictKeyring, monkeypatch: pytest.MonkeyPatch) -> DictKeyring:
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    return backend


def test_the_environments_passphrase_opens_the_key(locked: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_PASSPHRASE", PASSPHRASE)
    assert unlock(locked).did == read_identity(locked.identity).did


def test_a_files_first_line_opens_the_key_unless_others_may_read_it(
    locked: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\nand more\n")
    monkeypatch.setenv("CIS_PASSPHRASE_FILE", str(file))
    file.chmod(0o640)
    with pytest.raises(Denied, match=f"chmod 600 {file}"):
        unlock(locked)
    file.chmod(0o600)
    assert unlock(locked)
    file.write_text("\n")
    with pytest.raises(UsageError, match="no passphrase in"):
        unlock(locked)
    file.unlink()
    with pytest.raises(UsageError, match="no passphrase can be read"):
        unlock(locked)


def test_standard_input_may_be_that_file(locked: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_PASSPHRASE_FILE", "-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PASSPHRASE.encode() + b"\n")))
    assert unlock(locked)


def test_a_person_is_asked_only_where_nothing_else_gives_it(locked: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(what: str) -> str:
        asked.append(what)
        return PASSPHRASE

    with asking(answer):
        assert unlock(locked)
        assert len(asked) == 1
        assert str(locked.folder) in asked[0]
        monkeypatch.setenv("CIS_PASSPHRASE", PASSPHRASE)
        assert unlock(locked)
    assert len(asked) == 1


def test_where_it_comes_from_nowhere_the_ways_are_told(locked: Home) -> None:
    with pytest.raises(Denied, match="CIS_PASSPHRASE, or CIS_PASSPHRASE_FILE"):
        unlock(locked)
    with asking(lambda _: None), pytest.raises(Denied, match="under a passphrase"):
        unlock(locked)


def test_a_passphrase_is_handed_on_only_where_there_is_one_and_only_when_it_is_right(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert passphrase_to_hand_on(home) is None
    lock = passphrase_lock(Cost(64, 1, 1), entropy(2))
    rewrite_identity(home.identity, unlock(home), lock, lock.key(PASSPHRASE), entropy(3))
    monkeypatch.setenv("CIS_PASSPHRASE", PASSPHRASE)
    assert passphrase_to_hand_on(home) == PASSPHRASE
    monkeypatch.setenv("CIS_PASSPHRASE", "four words make two")
    with pytest.raises(Denied, match="wrong passphrase"):
        passphrase_to_hand_on(home)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize(
    "name", ["memory.db", "memory.db-wal", "index.db", "store.key", "bootstrap.json", "node.log", "identity.key"]
)
def test_a_home_with_a_file_open_to_others_is_not_opened(home: Home, name: str) -> None:
    path = home.folder / name
    path.touch()
    path.chmod(0o604)
    with pytest.raises(Denied, match=f"chmod 600 {path}"):
        unlock(home)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_settings_may_be_read_by_others_until_they_hold_a_credential(home: Home) -> None:
    home.config.write_text("[p2p]\n")
    home.config.chmod(0o644)
    assert unlock(home)
    home.config.write_text('[[p2p.ice.turn_servers]]\nurl = "turn:x"\ncredential = "y"\n')
    with pytest.raises(Denied, match=f"chmod 600 {home.config}"):
        unlock(home)


def test_a_home_without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cis init"):
        unlock(Home(tmp_path / "none"))


def test_a_key_in_the_keyring_opens_from_there_and_file_or_keyring_alone_do_not(
    home: Home, keeper: DictKeyring
) -> None:
    seed = unlock(home).seed
    assert "keyring" in protect(home.folder, "keyring", lambda: pytest.fail("nothing is asked"))
    assert show_key(home.folder).protection == "keyring"
    assert unlock(home).seed == seed
    assert seed.hex() not in home.identity.read_text() + str(keeper.held)
    keeper.held.clear()
    with pytest.raises(Denied, match="holds no key"):
        unlock(home)


def test_leaving_the_keyring_clears_its_entry(home: Home, keeper: DictKeyring) -> None:
    seed = unlock(home).seed
    protect(home.folder, "keyring", lambda: "")
    (first,) = keeper.held
    protect(home.folder, "keyring", lambda: "")
    assert first not in keeper.held
    assert len(keeper.held) == 1
    protect(home.folder, "file", lambda: "")
    assert not keeper.held
    assert unlock(home).seed == seed


def test_a_lock_that_cannot_be_written_leaves_the_keyring_as_it_was(
    home: Home, keeper: DictKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cis.api.membership import keys

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(keys, "rewrite_identity", fail)
    with pytest.raises(StoreError, match="full"):
        protect(home.folder, "keyring", lambda: "")
    assert not keeper.held
    assert show_key(home.folder).protection == "file"


@pytest.mark.parametrize(
    ("backend", "error", "told"),
    [
        (PlaintextKeyring, Denied, "in clear"),
        (ForgetfulKeyring, Unavailable, "keeps nothing"),
        (LockedKeyring, Unavailable, "locked"),
    ],
)
def test_a_keyring_that_would_not_keep_the_secret_is_refused_and_the_key_stays(
    backend: type[DictKeyring], error: type[Exception], told: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(backend(), monkeypatch)
    with pytest.raises(error, match=told):
        protect(home.folder, "keyring", lambda: "")
    assert show_key(home.folder).protection == "file"


def test_a_system_without_a_keyring_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", NoKeyring)
    with pytest.raises(Unavailable, match="keyring cannot be used"):
        protect(home.folder, "keyring", lambda: "")
    assert not has_keyring_key(KeyringLock("00" * 8))


def test_an_entry_that_is_no_key_is_an_error_of_the_store(home: Home, keeper: DictKeyring) -> None:
    protect(home.folder, "keyring", lambda: "")
    (entry,) = keeper.held
    keeper.held[entry] = "not hexadecimal"
    with pytest.raises(StoreError, match="no key"):
        unlock(home)


def test_the_keyring_is_loaded_only_on_request(locked: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: pytest.fail("the keyring was touched"))
    monkeypatch.setenv("CIS_PASSPHRASE", PASSPHRASE)
    assert unlock(locked)
    protect(locked.folder, "file", lambda: "")
    assert unlock(locked)


def test_what_the_keyring_keeps_is_read_back(keeper: DictKeyring) -> None:
    keep_in_keyring(KeyringLock("ab" * 8), bytes(32))
    assert keeper.held == {("cis", "ab" * 8): "00" * 32}
    assert has_keyring_key(KeyringLock("ab" * 8))


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError(5, "Input/output error")], ids=["Ctrl-C", "EIO"])
def test_a_keyring_entry_stays_that_the_file_in_place_may_be_locked_by(
    home: Home, keeper: DictKeyring, end: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise end

    did = unlock(home).did
    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync_folder", fail)  # by then the new file is in place
        with pytest.raises((KeyboardInterrupt, StoreError)):
            protect(home.folder, "keyring", str)
    assert show_key(home.folder).protection == "keyring"
    assert unlock(home).did == did
    assert len(keeper.held) == 1


def test_a_keyring_entry_that_no_file_came_to_use_is_forgotten(
    home: Home, keeper: DictKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        protect(home.folder, "keyring", str)
    assert show_key(home.folder).protection == "file"
    assert keeper.held == {}
