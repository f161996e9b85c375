"""The Python API: `cis.connect` for asyncio, `cis.open` for everything else (docs/python.md).

`connect` speaks to the running node, without a thread. `open` takes the running node where there is one, and the store
itself where there is none, as ``cis memory`` does: one process at a time can have a store open, and whoever asks for a
memory wants that memory, not to know who has it.

`asynchronous` is written by hand; ``tools/unasync.py`` makes `synchronous` of it. `remote` is the one connection each
request of the former gets, `opened` and `streams` what the latter asks and streams through, `values` what Python
values travel as.
"""

from __future__ import annotations

import os
from pathlib import Path

from cis.api.control.client import connect as connect_or_open
from cis.api.homes import home_of
from cis.api.python.asynchronous import AsyncClient
from cis.api.python.opened import OpenNode
from cis.api.python.remote import AsyncRemoteNode
from cis.api.python.synchronous import Client


def connect(home: str | os.PathLike[str] | None = None, *, space: str = "public") -> AsyncClient:
    """Return an asyncio client of the running node; use it with ``async with``.

    ``home`` is the node's folder, by default ``CIS_HOME``, else ``~/.cis``; ``space`` is where it reads and writes.
    Entering raises `Unavailable` where no node runs, `UsageError` where there is none, `Denied` where the folder is not
    this user's alone.
    """
    return AsyncClient(AsyncRemoteNode(_folder(home)), space)


def open(home: str | os.PathLike[str] | None = None, *, space: str = "public") -> Client:  # noqa: A001 - it is cis.open
    """Return a client of the running node, else of its store, opened in this process; use it with ``with``.

    Arguments as for `connect`. Raises `UsageError` where there is no node, `StoreError` where another process keeps
    the store open or it cannot be used. While this process has the store open, no node can be started there.
    """
    return Client(OpenNode(connect_or_open(_folder(home))), space)


def _folder(home: str | os.PathLike[str] | None) -> Path:
    return home_of(Path(home) if home is not None else None)
