"""How a node gets at its identity: the file itself, or what its lock asks for, a passphrase or the system's keyring.

The keyring is touched only where a key was put into it on request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cis.errors import CisError, Denied, StoreError, Unavailable, UsageError
from cis.node.home.folder import Home
from cis.node.home.passphrases import passphrase_of
from cis.trust import Identity
from cis.trust.files import refuse_open
from cis.trust.keyfile import KeyringLock, Lock, PassphraseLock, load_identity, read_identity

KEYRING_SERVICE = "cis"


def unlock(home: Home) -> Identity:
    """Return the identity of a home, having checked that its files are its owner's alone.

    Raises `UsageError` where there is no node, `Denied` where files are open to others or the passphrase is wrong or
    not to be had, `StoreError` where the file is damaged, `Unavailable` where the keyring is not there.
    """
    if not home.exists:
        raise UsageError(f"there is no node in {home.folder} yet: run `cis init` first")
    refuse_open(home.folder, home.private_files())
    return load_identity(home.identity, lambda lock: _key_of(lock, home))


def passphrase_to_hand_on(home: Home) -> str | None:
    """Return the passphrase of a home's key, tried, for a process that cannot ask; None where it needs none."""
    stored = read_identity(home.identity)
    if not isinstance(stored.lock, PassphraseLock):
        return None
    passphrase = passphrase_of(f"the key in {home.folder}")
    key = stored.lock.key(passphrase)
    stored.open(lambda _: key)
    return passphrase


def keep_in_keyring(lock: KeyringLock, key: bytes) -> str:
    """Put the key of a lock into the system's keyring and read it back; returns which keyring that is."""
    backend = _keyring().get_keyring()
    if "plaintext" in type(backend).__name__.lower():
        raise Denied(f"the keyring here ({backend.name}) would keep the key in clear: use a passphrase instead")
    with _translated():
        backend.set_password(KEYRING_SERVICE, lock.entry, key.hex())
        if backend.get_password(KEYRING_SERVICE, lock.entry) != key.hex():
            raise Unavailable(f"the keyring here ({backend.name}) keeps nothing: use a passphrase instead")
    return str(backend.name)


def has_keyring_key(lock: KeyringLock) -> bool:
    """Tell whether the keyring has the key of a lock, and can be asked."""
    with contextlib.suppress(CisError), _translated():
        return _keyring().get_keyring().get_password(KEYRING_SERVICE, lock.entry) is not None
    return False


def forget_in_keyring(lock: KeyringLock) -> None:
    """Remove the key of a lock that nothing uses any more, as far as the keyring lets us."""
    with contextlib.suppress(CisError), _translated():
        _keyring().get_keyring().delete_password(KEYRING_SERVICE, lock.entry)


def _key_of(lock: Lock, home: Home) -> bytes:
    match lock:
        case PassphraseLock():
            return lock.key(passphrase_of(f"the key in {home.folder}"))
        case KeyringLock():
            return _key_in_keyring(lock, home)


def _key_in_keyring(lock: KeyringLock, home: Home) -> bytes:
    with _translated():
        found = _keyring().get_keyring().get_password(KEYRING_SERVICE, lock.entry)
    if found is None:
        raise Denied(
            f"the keyring holds no key for {home.identity} (entry {lock.entry}): log in as the user who made it, or "
            "restore a backup (`cis key restore`)"
        )
    with contextlib.suppress(ValueError):
        return bytes.fromhex(found)
    raise StoreError(f"the keyring's entry {lock.entry} is no key: restore a backup (`cis key restore`)")


def _keyring() -> Any:  # noqa: ANN401 - the module, whose backends differ by system
    import keyring  # noqa: PLC0415 - looks for its backends when it is loaded

    return keyring


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the keyring's errors into one that says what to do."""
    from keyring.errors import KeyringError  # noqa: PLC0415 - as above

    try:
        yield
    except (KeyringError, OSError, RuntimeError) as error:
        raise Unavailable(f"the system's keyring cannot be used ({error}): unlock it, or use a passphrase") from error
