"""Asking the node: the daemon where one runs, else the store itself, shared with other processes by turns.

Without a daemon, only one process has the store open at a time. Calls that come together are answered by one opening
of it; after at most `HOLD_S` it is closed, and stays so for a moment longer than others take to notice, so that
several servers on one store take turns and each waits for the other instead of failing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from cis.api.control.client import Node, connect_daemon, is_locked, open_store
from cis.api.membership.passphrases import given_passphrase, needs_passphrase
from cis.errors import Denied, StoreError

THREADS = 16
HOLD_S = 0.5
PAUSE_S = 0.06
"""Three times as long as a process that waits for the store sleeps between two looks at it."""
PATIENCE_S = 60.0
"""How long to wait for another process that has the store open."""

Answer = TypeVar("Answer")


class Asker:
    """Answers questions about one home, several at once; ``patience_s`` is how long to wait for a store in use."""

    def __init__(self, home: Path, patience_s: float = PATIENCE_S) -> None:
        self.home = home
        self._patience_s = patience_s
        self._limiter = CapacityLimiter(THREADS)
        self._changed = threading.Condition()
        self._node: Node | None = None
        self._users = 0
        self._opened_s = 0.0
        self._closed_s = 0.0

    async def ask(self, work: Callable[[Node], Answer]) -> Answer:
        """Return what ``work`` makes of the node, in a thread; who is cancelled does not wait for it."""
        return await run_sync(self.answer, work, abandon_on_cancel=True, limiter=self._limiter)

    def answer(self, work: Callable[[Node], Answer]) -> Answer:
        """Return what ``work`` makes of the node; blocking."""
        daemon = connect_daemon(self.home)
        if daemon is not None:
            return work(daemon)
        with self._shared() as node:
            return work(node)

    @contextlib.contextmanager
    def _shared(self) -> Iterator[Node]:
        with self._changed:
            while self._node is not None and time.monotonic() > self._opened_s + HOLD_S:
                self._changed.wait()
            if self._node is None:
                time.sleep(max(0.0, self._closed_s + PAUSE_S - time.monotonic()))
                self._node = self._open()
                self._opened_s = time.monotonic()
            node = self._node
            self._users += 1
        try:
            yield node
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._node = None
                    node.close()
                    self._closed_s = time.monotonic()
                    self._changed.notify_all()

    def _open(self) -> Node:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return open_store(self.home)
            except StoreError:
                if not is_locked(self.home) or time.monotonic() > deadline:
                    raise
            except Denied as error:
                if given_passphrase() is None and needs_passphrase(self.home):
                    raise Denied(
                        "the key of this node is under a passphrase, which an MCP server cannot ask for: start the "
                        "node with `cis up`, or name a file that holds it in CIS_PASSPHRASE_FILE of the server's "
                        "environment"
                    ) from error
                raise
