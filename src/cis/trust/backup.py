"""A backup of who a node is: an age file under a passphrase (age-encryption.org/v1, scrypt).

In it: the identity's seed, and what is needed to be the same member again: the cluster's id, keys and membership log,
where members were last reached, the settings. Not in it: memories, which the other members hold.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pyrage

from cis.errors import Denied, UsageError
from cis.wire.decoding import Bytes32

BACKUP_BYTES_MAX = 64 << 20

_MAGIC = b"cis backup 1\n"
_AGE_MAGIC = b"age-encryption.org/v1\n"
_Part = Annotated[bytes, msgspec.Meta(max_length=BACKUP_BYTES_MAX)]


class Backup(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a node needs to be the same member again; ``locked`` when its key was, so that it will be once more."""

    version: Literal[1]
    made_ms: int
    name: str
    locked: bool
    seed: Bytes32
    cluster: Bytes32
    keys: _Part
    entries: tuple[_Part, ...]
    peers: _Part
    config: _Part

    def __repr__(self) -> str:
        return f"Backup({self.name!r})"


def seal_backup(backup: Backup, passphrase: str) -> bytes:
    """Return the age file; takes a second or two, as opening it does."""
    return bytes(pyrage.passphrase.encrypt(_MAGIC + msgspec.msgpack.encode(backup), passphrase))


def open_backup(data: bytes, passphrase: str) -> Backup:
    """Open an age file; `UsageError` where it is no backup, `Denied` for a wrong passphrase."""
    if not data.startswith(_AGE_MAGIC) or len(data) > BACKUP_BYTES_MAX:
        raise UsageError("this file is no backup: `cis key backup` writes age files")
    try:
        plain = bytes(pyrage.passphrase.decrypt(data, passphrase))
    except pyrage.DecryptError as error:
        raise Denied(f"the backup does not open: a wrong passphrase, or the file is damaged ({error})") from None
    return read_backup(plain)


def read_backup(plain: bytes) -> Backup:
    """Read what was inside an age file; `UsageError` where it is no backup."""
    try:
        if not plain.startswith(_MAGIC):
            raise ValueError("another kind of file")
        return msgspec.msgpack.decode(plain[len(_MAGIC) :], type=Backup)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"this is no backup this version of cis reads: {error}") from None
