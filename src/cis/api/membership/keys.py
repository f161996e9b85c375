"""The key of a node: how it is protected, changing that, backing it up and restoring it. Needs no running node."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cis.errors import CisError, StoreError, UsageError
from cis.model import parse_did
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode, default_name
from cis.node.home.restoring import gather, is_left, restore, restore_alone
from cis.node.home.unlocking import forget_in_keyring, keep_in_keyring, unlock
from cis.trust import Identity, check_name
from cis.trust.backup import BACKUP_BYTES_MAX, open_backup, seal_backup
from cis.trust.keyfile import (
    KeyringLock,
    Lock,
    PassphraseLock,
    keyring_lock,
    passphrase_lock,
    read_identity,
    rewrite_identity,
    write_identity,
)
from cis.trust.passphrase import check_passphrase, fit_cost
from cis.trust.phrase import fingerprint, identity_of, phrase_of

Protection = Literal["file", "passphrase", "keyring"]


@dataclass(frozen=True)
class FileMode:
    """A file of the home and who may open it, as ``0600``."""

    file: str
    mode: str


@dataclass(frozen=True)
class KeyInfo:
    """The key of a home, without opening it."""

    did: str
    protection: Protection
    detail: str
    fingerprint: tuple[str, ...]
    file: str
    modes: tuple[FileMode, ...]


@dataclass(frozen=True)
class Restored:
    """A node that came back; ``store_kept`` where its store was still in the home, with so many public memories."""

    name: str
    did: str
    home: str
    members: tuple[str, ...]
    protection: Protection
    store_kept: bool
    memories: int


def show_key(folder: Path) -> KeyInfo:
    """Say how the key of a home is protected; raises as `read_identity` does."""
    home = Home(folder)
    _require(home)
    stored = read_identity(home.identity)
    words = fingerprint(parse_did(stored.did))
    paths = [home.folder, *sorted(path for path in home.private_files() if path.exists())]
    modes = tuple(FileMode(str(path), f"{stat.S_IMODE(path.stat().st_mode):04o}") for path in paths)
    detail = _detail(stored.lock)
    return KeyInfo(stored.did, protection_of(stored.lock), detail, words, str(home.identity), modes)


def protection_of(lock: Lock | None) -> Protection:
    """Return the word for what a key is locked by."""
    match lock:
        case None:
            return "file"
        case PassphraseLock():
            return "passphrase"
        case KeyringLock():
            return "keyring"


def protect(folder: Path, protection: Protection, passphrase: Callable[[], str]) -> str:
    """Lock the key of a home otherwise; the old file gives way once the new one is synced. Returns what it is now.

    ``passphrase`` is asked for the new one, after the old lock is open. Raises `Denied` for a wrong old passphrase.
    """
    home = Home(folder)
    identity = unlock(home)
    former = read_identity(home.identity).lock
    lock, key = _new_lock(protection, passphrase)
    try:
        rewrite_identity(home.identity, identity, lock, key, os.urandom)
    except BaseException:
        if isinstance(lock, KeyringLock) and not _may_use(home, lock):
            forget_in_keyring(lock)
        raise
    if isinstance(former, KeyringLock):
        forget_in_keyring(former)
    return _detail(lock)


def _may_use(home: Home, lock: KeyringLock) -> bool:
    """Tell whether the identity's file is locked by that, or cannot be read: then nobody knows."""
    try:
        return read_identity(home.identity).lock == lock
    except CisError:
        return True


def back_up(folder: Path, path: Path, passphrase: Callable[[], str]) -> str:
    """Write a backup under a passphrase, which is asked for once the key is open; returns the node's DID."""
    home = Home(folder)
    if path.exists():
        raise UsageError(f"{path} is there already: a backup overwrites nothing")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    identity = unlock(home)
    backup = gather(home, identity)
    under = check_passphrase(passphrase())
    _write_backup(path, seal_backup(backup, under))
    return identity.did


def back_up_as_words(folder: Path) -> tuple[str, ...]:
    """Return the 24 words that hold the identity."""
    return phrase_of(unlock(Home(folder)))


def restore_from(folder: Path, path: Path, passphrase: Callable[[], str]) -> Restored:
    """Make the node of a backup; its key is under the backup's passphrase if it was locked when it was backed up."""
    try:
        with path.open("rb") as file:
            data = file.read(BACKUP_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    under = passphrase()
    backup = open_backup(data, under)
    lock, key = _new_lock("passphrase", lambda: under) if backup.locked else (None, b"")
    kept = is_left(Home(folder))
    with restore(Home(folder), backup, _writer(Identity(backup.seed), lock, key)) as local:
        return _restored(local, protection_of(lock), kept=kept)


def restore_words(folder: Path, words: str, name: str | None) -> Restored:
    """Make a node of the identity that 24 words hold; its key is in a file of mode 0600."""
    identity = identity_of(words)
    kept = is_left(Home(folder))
    called = check_name(name or default_name(socket.gethostname()))
    with restore_alone(Home(folder), identity, called, _writer(identity, None, b"")) as local:
        return _restored(local, "file", kept=kept)


def _new_lock(protection: Protection, passphrase: Callable[[], str]) -> tuple[Lock | None, bytes]:
    match protection:
        case "file":
            return None, b""
        case "keyring":
            kept, key = keyring_lock(os.urandom)
            keep_in_keyring(kept, key)
            return kept, key
        case "passphrase":
            text = check_passphrase(passphrase())
            lock = passphrase_lock(fit_cost(time.perf_counter), os.urandom)
            return lock, lock.key(text)


def _writer(identity: Identity, lock: Lock | None, key: bytes) -> Callable[[Path], None]:
    return lambda path: write_identity(path, identity, lock, key, os.urandom)


def _write_backup(path: Path, data: bytes) -> None:
    """Write a file for its owner's eyes wherever it is to lie."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _restored(local: LocalNode, protection: Protection, *, kept: bool) -> Restored:
    members = tuple(sorted(member.name for member in local.cluster.membership.members()))
    home = local.home.folder
    did, count = local.identity.did, local.public_count()
    return Restored(local.cluster.me.name, did, str(home), members, protection, store_kept=kept, memories=count)


def _detail(lock: Lock | None) -> str:
    match lock:
        case None:
            return "in a file of mode 0600: whoever reads it is this node"
        case PassphraseLock(cost):
            return (
                f"under a passphrase (Argon2id: {cost.memory_kib // 1024} MiB, {cost.passes} passes, "
                f"{cost.lanes} lanes; AES-256-GCM)"
            )
        case KeyringLock(entry):
            return f"under a key in the system's keyring (entry {entry}; AES-256-GCM)"


def _require(home: Home) -> None:
    if not home.exists:
        raise UsageError(f"there is no node in {home.folder} yet: run `cis init` first")
