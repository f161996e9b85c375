"""Making a backup of who a node is, and making a node of one.

What is restored from a file is the same member as before: same identity, same cluster, same keys; its memories come
from the others. It is made beside its place and moved there when it is whole. Words hold the identity alone: they make
a node of its own, which a member invites, or open again a home whose key file is lost. In every case the node writes
under a new incarnation, so that it numbers nothing twice (RULES of state, 7).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cis.errors import StoreError, UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode, store_cluster, system_clock_ms
from cis.store.database import open_reader
from cis.store.ledger import load_cluster
from cis.trust import Identity, Membership, create_store_key, load_store_key
from cis.trust.backup import Backup
from cis.trust.files import create_private, refuse_open
from cis.trust.keyfile import read_identity

KEPT_BYTES_MAX = 4 << 20
"""A longer file beside the store is left out of a backup: it is none that a node wrote."""
WriteIdentity = Callable[[Path], None]
"""Writes an identity's file at a path, locked as it is to be."""


def gather(home: Home, identity: Identity) -> Backup:
    """Return what a backup holds, read beside a running node if there is one."""
    connection = open_reader(home.store, load_store_key(home.store_key, identity))
    try:
        record = load_cluster(connection)
    finally:
        connection.close()
    if record is None:
        raise StoreError(f"{home.store} holds no cluster: there is nothing to come back to")
    member = Membership(record.cluster, record.entries).member(identity.node)
    return Backup(
        version=1,
        made_ms=system_clock_ms(),
        name=member.name if member is not None else "",
        locked=read_identity(home.identity).lock is not None,
        seed=identity.seed,
        cluster=record.cluster,
        keys=record.keys,
        entries=record.entries,
        peers=_contents(home.bootstrap),
        config=_contents(home.config),
    )


def restore(home: Home, backup: Backup, write: WriteIdentity) -> LocalNode:
    """Make the node that was backed up, in an empty home or around the store that is left there; returns it open."""
    identity = Identity(backup.seed)
    if is_left(home):
        return reclaim(home, identity, write)
    _refuse_used(home)
    place = home.folder.resolve() if home.folder.is_symlink() else home.folder
    staged = Home(place.with_name(f".{place.name}.{os.getpid()}.restoring"))
    staged.folder.mkdir(mode=0o700, parents=True)
    try:
        _fill(staged, identity, backup)
        LocalNode(staged, identity).close()
        write(staged.identity)
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
        staged.folder.rename(place)
    except BaseException:
        shutil.rmtree(staged.folder, ignore_errors=True)
        raise
    return LocalNode(home, identity)


def restore_alone(home: Home, identity: Identity, name: str, write: WriteIdentity) -> LocalNode:
    """Make a node of a cluster of one with that identity, or open again the store that is left; returns it open."""
    if is_left(home):
        return reclaim(home, identity, write)
    _refuse_used(home)
    return LocalNode.create(home, name, identity=identity)


def reclaim(home: Home, identity: Identity, write: WriteIdentity) -> LocalNode:
    """Put the key back into a home that lost its own; `StoreError` where the store there is another's."""
    refuse_open(home.folder, home.private_files())
    local = LocalNode(home, identity)
    try:
        local.store.renew_incarnation()
        write(home.identity)
    except BaseException:
        local.close()
        raise
    return local


def _fill(home: Home, identity: Identity, backup: Backup) -> None:
    create_store_key(home.store_key, identity, os.urandom)
    store_cluster(home, identity, backup.cluster, backup.keys, backup.entries)
    for path, data in ((home.bootstrap, backup.peers), (home.config, backup.config)):
        if data:
            create_private(path, data)


def is_left(home: Home) -> bool:
    """Tell whether a store waits there for its identity."""
    return not home.exists and home.store_key.exists()


def _refuse_used(home: Home) -> None:
    if home.exists:
        raise UsageError(
            f"{home.folder} holds a node with a key of its own: name an empty folder (cis --home DIR key restore …), "
            f"or, if its passphrase is lost, move {home.identity} away first"
        )
    if home.folder.exists() and any(home.folder.iterdir()):
        raise UsageError(f"{home.folder} is not empty: name an empty folder (cis --home DIR key restore …)")


def _contents(path: Path) -> bytes:
    if not path.exists() or path.stat().st_size > KEPT_BYTES_MAX:
        return b""
    return path.read_bytes()
