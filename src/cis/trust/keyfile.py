"""The two secret files of a node: its identity, and the store's key wrapped by that identity.

The identity file is text: a title, the DID, and then either the seed in hexadecimal (the DID checks it), or one line
that says what it is locked by and one that holds it sealed. Locked by a passphrase, the line gives the cost and salt
of Argon2id; by the system's keyring, the name of the entry there that holds the key. A damaged or foreign file is
refused and left as it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.errors import Denied, StoreError, UsageError
from cis.model import NodeId, did_of
from cis.trust.files import create_private, read_private, replace_private
from cis.trust.identity import SEED_LENGTH, Entropy, Identity
from cis.trust.passphrase import KEY_LENGTH, SALT_LENGTH, Cost, derive, open_secret, seal_secret

STORE_KEY_LENGTH = 32

_IDENTITY_TITLE = "cis identity 1"
_STORE_KEY_MAGIC = b"cis store key 1\n"
_NODE_END = len(_STORE_KEY_MAGIC) + 32
_NONCE_END = _NODE_END + 12
_STORE_KEY_FILE_LENGTH = _NONCE_END + STORE_KEY_LENGTH + 16
_ENTRY_LENGTH = 8
_BY_PASSPHRASE = re.compile(
    r"argon2id memory_kib=(?P<memory>\d{1,9}) passes=(?P<passes>\d{1,3}) lanes=(?P<lanes>\d{1,3}) "
    r"salt=(?P<salt>[0-9a-f]{32})"
)
_BY_KEYRING = re.compile(r"keyring entry=(?P<entry>[0-9a-f]{16})")


@dataclass(frozen=True)
class PassphraseLock:
    """The seed is sealed under a passphrase."""

    cost: Cost
    salt: bytes

    def key(self, passphrase: str) -> bytes:
        """Return the key the seed is sealed under; takes about half a second."""
        return derive(passphrase, self.salt, self.cost)

    def __str__(self) -> str:
        cost = self.cost
        return f"argon2id memory_kib={cost.memory_kib} passes={cost.passes} lanes={cost.lanes} salt={self.salt.hex()}"


@dataclass(frozen=True)
class KeyringLock:
    """The seed is sealed under a key that the system's keyring holds in an entry of this name."""

    entry: str

    def __str__(self) -> str:
        return f"keyring entry={self.entry}"


Lock = PassphraseLock | KeyringLock
KeyOf = Callable[[Lock], bytes]
"""Returns the key for a lock: asks for the passphrase, or the keyring. Raises `Denied` where it cannot be had."""


@dataclass(frozen=True)
class StoredIdentity:
    """An identity as its file holds it: whose, and locked by what."""

    path: Path
    did: str
    lock: Lock | None
    body: bytes

    def open(self, key_of: KeyOf) -> Identity:
        """Return the identity; `Denied` where the key for its lock is wrong, `StoreError` where it is damaged."""
        if self.lock is None:
            return _identity(self.path, self.did, self.body)
        seed = open_secret(self.body, key_of(self.lock), _beside(self.did, self.lock))
        if seed is None and isinstance(self.lock, PassphraseLock):
            raise Denied(f"wrong passphrase for {self.path} (or the file is damaged): try again")
        if seed is None:
            raise StoreError(f"{self.path} is not what the keyring holds the key for: restore it from a backup")
        return _identity(self.path, self.did, seed)


def passphrase_lock(cost: Cost, entropy: Entropy) -> PassphraseLock:
    """Make a lock for a passphrase."""
    return PassphraseLock(cost, entropy(SALT_LENGTH))


def keyring_lock(entropy: Entropy) -> tuple[KeyringLock, bytes]:
    """Make a lock and the key to be kept in the keyring under its entry."""
    return KeyringLock(entropy(_ENTRY_LENGTH).hex()), entropy(KEY_LENGTH)


def create_identity(path: Path, entropy: Entropy) -> Identity:
    """Make an identity and its file, and the folder if need be; `UsageError` where one is already."""
    identity = Identity.generate(entropy)
    write_identity(path, identity, None, b"", entropy)
    return identity


def write_identity(path: Path, identity: Identity, lock: Lock | None, key: bytes, entropy: Entropy) -> None:
    """Make the file of an identity, sealed under the lock's key where there is a lock; `UsageError` where one is."""
    _refuse_existing(path, "an identity")
    create_private(path, _text(identity, lock, key, entropy))


def rewrite_identity(path: Path, identity: Identity, lock: Lock | None, key: bytes, entropy: Entropy) -> None:
    """Lock the identity otherwise: the old file gives way once the new one is synced and was opened again."""

    def check(beside: Path) -> None:
        if read_identity(beside).open(lambda _: key).seed != identity.seed:
            raise StoreError(f"{beside} does not read back: the key is as it was")

    replace_private(path, _text(identity, lock, key, entropy), check)


def read_identity(path: Path) -> StoredIdentity:
    """Read the identity file without opening it.

    Raises `UsageError` when there is none, `Denied` when others may read it, `StoreError` when it is damaged.
    """
    lines = read_private(path).decode("ascii", errors="replace").split("\n")
    if lines[0] != _IDENTITY_TITLE:
        raise StoreError(f"{path} is not an identity this version of cis reads: its first line is not its title")
    with contextlib.suppress(ValueError, IndexError):
        did, lock = lines[1], _lock(lines[2])
        return StoredIdentity(path, did, lock, bytes.fromhex(lines[2] if lock is None else lines[3]))
    raise _damaged(path)


def load_identity(path: Path, key_of: KeyOf | None = None) -> Identity:
    """Read and open the identity file; raises as `read_identity` and `StoredIdentity.open` do."""
    stored = read_identity(path)
    if stored.lock is not None and key_of is None:
        raise Denied(f"{path} is locked")
    return stored.open(key_of or _no_key)


def create_store_key(path: Path, identity: Identity, entropy: Entropy) -> bytes:
    """Make a store key and the file that holds it wrapped; `UsageError` where one is already."""
    _refuse_existing(path, "a store key")
    key, nonce = entropy(STORE_KEY_LENGTH), entropy(12)
    head = _STORE_KEY_MAGIC + identity.node
    create_private(path, head + nonce + _wrapping(identity).encrypt(nonce, key, head))
    return key


def load_store_key(path: Path, identity: Identity) -> bytes:
    """Unwrap the store key (AES-256-GCM under a key derived from the identity).

    Raises `UsageError` when there is no file, `Denied` when others may read it, and `StoreError` when it is
    damaged or belongs to another identity.
    """
    data = read_private(path)
    if not data.startswith(_STORE_KEY_MAGIC):
        raise StoreError(f"{path} is not a store key this version of cis reads")
    owner = NodeId(data[len(_STORE_KEY_MAGIC) : _NODE_END])
    if len(data) == _STORE_KEY_FILE_LENGTH and owner != identity.node:
        raise StoreError(
            f"this store belongs to another identity: {path} is wrapped for {did_of(owner)} and this node is "
            f"{identity.did}; put that identity's file back"
        )
    try:
        nonce, sealed = data[_NODE_END:_NONCE_END], data[_NONCE_END:]
        return _wrapping(identity).decrypt(nonce, sealed, data[:_NODE_END])
    except (InvalidTag, ValueError) as error:
        raise StoreError(f"{path} is damaged: the store's key does not unwrap; restore it from a backup") from error


def _text(identity: Identity, lock: Lock | None, key: bytes, entropy: Entropy) -> bytes:
    if lock is None:
        lines = [_IDENTITY_TITLE, identity.did, identity.seed.hex()]
    else:
        beside = _beside(identity.did, lock)
        lines = [*beside.decode().split("\n"), seal_secret(identity.seed, key, beside, entropy).hex()]
    return "".join(f"{line}\n" for line in lines).encode()


def _beside(did: str, lock: Lock) -> bytes:
    return f"{_IDENTITY_TITLE}\n{did}\n{lock}".encode()


def _lock(line: str) -> Lock | None:
    """Return what the third line says; None where it is the seed itself. `ValueError` for a cost out of bounds."""
    if found := _BY_PASSPHRASE.fullmatch(line):
        cost = Cost(int(found["memory"]), int(found["passes"]), int(found["lanes"]))
        return PassphraseLock(cost, bytes.fromhex(found["salt"]))
    if found := _BY_KEYRING.fullmatch(line):
        return KeyringLock(found["entry"])
    return None


def _identity(path: Path, did: str, seed: bytes) -> Identity:
    if len(seed) == SEED_LENGTH:
        identity = Identity(seed)
        if identity.did == did:
            return identity
    raise _damaged(path)


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: the key in it is not that of its DID; restore it from a backup")


def _no_key(_: Lock) -> bytes:
    raise AssertionError("only locked files ask for a key")


def _wrapping(identity: Identity) -> AESGCM:
    return AESGCM(identity.derive_key("store key"))


def _refuse_existing(path: Path, what: str) -> None:
    if path.exists():
        raise UsageError(f"there is {what} at {path} already: move it away first if you mean to replace it")
