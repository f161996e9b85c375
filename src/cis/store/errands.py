"""What others ask of the thread that writes index.db, in between its rounds; nobody is left without an answer."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from cis.errors import CisError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

CLOSED = "the store is closed: open it again, or start the node"


class Errands:
    """Errands from any thread to one, which runs them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False

    def put(self, errand: Callable[[], Any]) -> Future[Any]:
        """Ask for something; once closed it is refused."""
        asked: Future[Any] = Future()
        with self._guard:
            if not self._closed:
                self._waiting.append((asked, errand))
                return asked
        asked.set_exception(StoreError(CLOSED))
        return asked

    def run(self) -> bool:
        """Run what waits; False where nothing did."""
        ran = False
        while self._waiting:
            ran = True
            asked, errand = self._waiting.popleft()
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                asked.set_result(errand())
            except CisError as error:
                asked.set_exception(error)
            except Exception as error:  # noqa: BLE001 - whoever waits must be answered
                _log.exception("an errand of the index failed")
                asked.set_exception(
                    StoreError(f"internal error in the index: {error!r}; `cis memory reindex` mends it")
                )
        return ran

    def close(self) -> None:
        """Refuse what waits and whatever still comes."""
        with self._guard:
            self._closed = True
        self.refuse(StoreError(CLOSED))

    def refuse(self, error: StoreError) -> None:
        """Answer what waits by why it cannot be done now."""
        while self._waiting:
            asked, _ = self._waiting.popleft()
            if asked.set_running_or_notify_cancel():
                asked.set_exception(error)
