"""The two secret files of a node: its identity, and the store's key wrapped by that identity.

Both are 0600 in a folder 0700 and are written whole or not at all. A file others could read is refused, with
the command that mends it; a damaged or foreign one is refused and left as it is. The identity file is text:
a title, the DID (which checks the third line), and the seed in hexadecimal.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cis.errors import Denied, StoreError, UsageError
from cis.model import NodeId, did_of
from cis.trust.identity import Entropy, Identity

STORE_KEY_LENGTH = 32

_IDENTITY_TITLE = "cis identity 1"
_STORE_KEY_MAGIC = b"cis store key 1\n"
_FILE_BYTES_MAX = 4096
_NODE_END = len(_STORE_KEY_MAGIC) + 32
_NONCE_END = _NODE_END + 12
_STORE_KEY_FILE_LENGTH = _NONCE_END + STORE_KEY_LENGTH + 16


def create_identity(path: Path, entropy: Entropy) -> Identity:
    """Make an identity and its file, and the folder if need be; `UsageError` where one is already."""
    _refuse_existing(path, "an identity")
    identity = Identity.generate(entropy)
    _write_private(path, f"{_IDENTITY_TITLE}\n{identity.did}\n{identity.seed.hex()}\n".encode())
    return identity


def load_identity(path: Path) -> Identity:
    """Read the identity file.

    Raises `UsageError` when there is none, `Denied` when others may read it, `StoreError` when it is damaged.
    """
    lines = _read_private(path).decode("ascii", errors="replace").split("\n")
    if lines[0] != _IDENTITY_TITLE:
        raise StoreError(f"{path} is not an identity this version of cis reads: its first line is not its title")
    with contextlib.suppress(ValueError, IndexError):
        identity = Identity(bytes.fromhex(lines[2]))
        if lines[1] == identity.did:
            return identity
    raise StoreError(f"{path} is damaged: the key in it is not that of its DID; restore it from a backup")


def create_store_key(path: Path, identity: Identity, entropy: Entropy) -> bytes:
    """Make a store key and the file that holds it wrapped; `UsageError` where one is already."""
    _refuse_existing(path, "a store key")
    key, nonce = entropy(STORE_KEY_LENGTH), entropy(12)
    head = _STORE_KEY_MAGIC + identity.node
    _write_private(path, head + nonce + _wrapping(identity).encrypt(nonce, key, head))
    return key


def load_store_key(path: Path, identity: Identity) -> bytes:
    """Unwrap the store key (AES-256-GCM under a key derived from the identity).

    Raises `UsageError` when there is no file, `Denied` when others may read it, and `StoreError` when it is
    damaged or belongs to another identity.
    """
    data = _read_private(path)
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


def _wrapping(identity: Identity) -> AESGCM:
    return AESGCM(identity.derive_key("store key"))


def _refuse_existing(path: Path, what: str) -> None:
    if path.exists():
        raise UsageError(f"there is {what} at {path} already: move it away first if you mean to replace it")


def _read_private(path: Path) -> bytes:
    _check_mode(path.parent, path.parent.stat() if path.parent.exists() else None, "700")
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()), "600")
            return file.read(_FILE_BYTES_MAX)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}: make a node with `cis init`, or name its folder with --home") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _check_mode(path: Path, status: os.stat_result | None, wanted: str) -> None:
    if status is None or os.name != "posix":
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise Denied(f"{path} is open to other users (mode {mode:04o}): run  chmod {wanted} {path}")


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_mode(path.parent, path.parent.stat(), "700")
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            beside.chmod(0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # fails where another process made one meanwhile
        finally:
            beside.unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        raise UsageError(f"{path} was made by another process meanwhile: `cis status` shows the node there") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where a folder can be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
