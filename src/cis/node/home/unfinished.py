"""A home whose making was cut short: its identity is written first, and what came after is missing or without cluster.

`cis init` goes on there with that identity. A home that may hold anything else is none: nothing is ever overwritten.
"""

from __future__ import annotations

import contextlib

from cis.errors import CisError
from cis.node.home.folder import Home
from cis.store.database import fetch, open_reader
from cis.store.ledger import load_cluster
from cis.trust import Identity, load_identity, load_store_key
from cis.trust.keyfile import read_identity


def begun_identity(home: Home) -> Identity | None:
    """Return the identity of a home whose making was cut short; None for any other home."""
    with contextlib.suppress(CisError):
        if home.exists and read_identity(home.identity).lock is None:  # a new one is under no lock
            identity = load_identity(home.identity)
            if not home.store.exists() or (home.store_key.exists() and _is_empty(home, identity)):
                return identity
    return None


def _is_empty(home: Home, identity: Identity) -> bool:
    """Tell whether the store opens and holds no cluster; raises `StoreError` where it does not open."""
    connection = open_reader(home.store, load_store_key(home.store_key, identity))
    try:
        tables = fetch(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'meta'")[0][0]
        return not tables or load_cluster(connection) is None
    finally:
        connection.close()
