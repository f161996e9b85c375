"""Embedding behind the writes: a thread of low priority gives texts their vectors, and never stands in a write's way.

It wakes when the index has taken something in, embeds what is due (`embedding_due`) a few texts at a time, and
publishes the vectors of what this node wrote as one changeset; others' it keeps for itself. A model that fails is
tried again later and later, and what it said is told by `cis memory model`, `cis status` and `cis doctor`. What is not
used for a while gives its memory back. ::

    work = EmbeddingWork(local, options)
    work.start()
    work.catch_up(0.7)                                  # a search waits a moment for the newest
    vector = work.embed_query("which theme is liked?")
    work.close()
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cis.api.memories.embedding_due import HURRIED_MAX, Due
from cis.api.memories.embedding_writes import keep_vectors, take_back
from cis.embedding.choosing import EmbeddingOptions, embedder_of, may_embed, why_none
from cis.errors import CisError, TimedOut, Unavailable
from cis.model import SpaceId
from cis.node.home.local import LocalNode
from cis.store.keeping import without_vectors
from cis.store.priority import be_nice
from cis.store.texts import points

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cis.embedding.embedder import Embedder

    Floats = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)

CONSIDERED = (64, 1024)
"""Texts looked at in a round, newest first: more only where too few of those are due, since each is opened."""
ROUND_TEXTS_MAX = 32
"""Texts whose vectors go out in one changeset: with 384 numbers each they fit into one message of gossip."""
BATCH_TEXTS_MAX = 8
"""Texts embedded at once: a query waits for no more than these."""
SETTLE_S = 0.03
"""Writes that come so soon after each other are embedded together."""
BACKOFF_S = 1.0
BACKOFF_S_MAX = 300.0
MANY = 1000
COUNTED_S = 2.0
"""So many are not counted more often: that takes a search longer than all else."""
QUERY_S_MAX = 5.0
"""How long a search waits for a server to embed its query."""
CLOSE_S = 0.5
NICENESS = 15


@dataclass(frozen=True)
class WorkState:
    """How embedding stands; ``advice`` says how to get a model where there is none."""

    model: str | None
    dimensions: int
    local: bool
    problem: str
    advice: str


class EmbeddingWork:
    """One per open store; ``delay_s`` is how long it leaves the machine alone unless somebody searches."""

    def __init__(
        self,
        local: LocalNode,
        options: EmbeddingOptions,
        *,
        embedder: Callable[[EmbeddingOptions], Embedder | None] = embedder_of,
        delay_s: float = 0.0,
    ) -> None:
        self._local = local
        self._options = options
        self._make = embedder
        self._delay_s = delay_s
        self._changed = threading.Condition()
        self._storing = threading.Lock()
        self._making = threading.Lock()
        self._woken = True
        self._closing = False
        self._asks = 0
        self._answered = 0
        self._hurried = 0
        self._querying = 0
        self._counted = 0, 0.0
        self._problem = ""
        self._retry_s = 0.0
        self._failures = 0
        self._used_s = 0.0
        self._loaded: set[str] = set()
        self._made: tuple[Embedder | None] | None = None
        self._due = Due(local.identity.node)
        self._thread = threading.Thread(target=self._serve, name="cis-embed", daemon=True)

    # --- for those who search -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._local.store.on_indexed(self.wake)
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something to do; from any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    @property
    def embedder(self) -> Embedder | None:
        """The model, None where there is none."""
        with self._making:
            if self._made is None:
                self._made = (self._make(self._options),)
            return self._made[0]

    def state(self) -> WorkState:
        """Return how embedding stands."""
        model = self.embedder
        if model is None:
            return WorkState(None, 0, local=True, problem="", advice=why_none(self._options))
        return WorkState(model.name, model.dimensions, model.local, self._problem, "")

    @property
    def problem(self) -> str:
        """What the model last failed with, "" where it works."""
        return self._problem

    def waiting(self) -> int:
        """Return how many memories have no vector of the model yet, and will get one; many as of a moment ago."""
        model = self.embedder
        if model is None:
            return 0
        count, counted_s = self._counted
        if count <= MANY or time.monotonic() > counted_s + COUNTED_S:
            count = self._local.store.count_unembedded(model.name, _left(self._local, self._skipped(model)))
            self._counted = count, time.monotonic()
        return max(0, count - self._due.aside)

    def catch_up(self, wait_s: float, most: int = HURRIED_MAX) -> int:
        """Have the newest texts embedded, others' too; returns how many wait still, after a while if they are few."""
        waiting = self.waiting()
        if not waiting:
            return 0
        with self._changed:
            self._asks += 1
            ask = self._asks
            self._hurried, self._woken = most, True
            self._changed.notify_all()
            if waiting <= most and not self._problem and self._thread.is_alive():
                self._changed.wait_for(lambda: self._answered >= ask or self._closing, wait_s)
        with contextlib.suppress(TimedOut), self._local.store.index(wait_s):
            pass  # what was published just now is in the index
        return self.waiting()

    def may_see(self, spaces: Iterable[SpaceId]) -> bool:
        """Tell whether the model may see any of these spaces."""
        model = self.embedder
        return model is not None and not set(spaces) <= set(self._skipped(model))

    def embed_query(self, text: str) -> Floats:
        """Return a query's vector; raises what the model failed with, at once where it lately did."""
        model = self.embedder
        if model is None:
            raise Unavailable(why_none(self._options))
        if self._problem and time.monotonic() < self._retry_s:
            raise Unavailable(self._problem)
        self.touch(model.name)
        with self._changed:
            self._querying += 1
        try:
            found = model.embed([text]) if model.local else _within(QUERY_S_MAX, lambda: model.embed([text]))
        except CisError as error:
            self._failed(str(error))
            raise
        finally:
            with self._changed:
                self._querying -= 1
                self._changed.notify_all()
        self._worked()
        vector: Floats = found[0]
        if not vector.any():
            raise Unavailable(f"{model.name} refuses this query")
        return vector

    def touch(self, model: str) -> None:
        """Say that a model's vectors are used, so that they stay in memory for now."""
        with self._changed:
            self._used_s = time.monotonic()
            if model not in self._loaded:
                self._loaded.add(model)
                self._woken = True
                self._changed.notify_all()

    def close(self) -> None:
        """Stop at once; a batch in hand is let go of."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with self._storing:
            pass
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        be_nice(NICENESS)
        pause_s: float | None = self._delay_s
        if pause_s:
            self._rest(pause_s, until=lambda: self._asks > 0)
        while not self._closing:
            with self._changed:
                ask, self._woken = self._asks, False
            try:
                pause_s = self._round()
            except CisError as error:
                pause_s = self._failed(str(error))
            except Exception:  # noqa: BLE001 - embedding only follows; its thread outlives whatever it meets
                _log.exception("embedding met a defect; it goes on later")
                pause_s = self._failed("embedding met a defect of its own: the log says more")
            if pause_s == 0.0:
                continue
            with self._changed:
                self._answered, self._hurried = ask, self._hurried if self._asks > ask else 0
                self._changed.notify_all()
            self._rest(pause_s, until=lambda: self._woken and time.monotonic() >= self._retry_s)
            if self._asks <= self._answered:
                self._rest(SETTLE_S, until=lambda: self._asks > self._answered)

    def _rest(self, longest_s: float | None, until: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or until(), longest_s)

    def _round(self) -> float | None:
        """Embed what is due, and return in how many seconds to look again: 0 for at once, None when woken."""
        model = self.embedder
        if model is None:
            return self._unload(model)
        store, name = self._local.store, model.name
        self._stored(lambda: take_back(store))
        for limit in CONSIDERED:
            waiting = self._stored(partial(store.unembedded, name, limit, _left(self._local, self._skipped(model))))
            due, later_s = self._due.choose(waiting, time.monotonic(), self._hurried)
            if len(waiting) < limit or len(due) >= ROUND_TEXTS_MAX:
                break
        if not due:
            rest_s = self._unload(model)
            return later_s if rest_s is None else rest_s if later_s is None else min(later_s, rest_s)
        self.touch(name)
        chosen = due[:ROUND_TEXTS_MAX]
        vectors: list[bytes] = []
        for start in range(0, len(chosen), BATCH_TEXTS_MAX):
            self._rest(QUERY_S_MAX, until=lambda: not self._querying)
            if self._closing:
                return None
            batch = model.embed([one.text for one in chosen[start : start + BATCH_TEXTS_MAX]])
            vectors += [row.astype("<f4").tobytes() for row in batch]
        embedded = [(one, vector) for one, vector in zip(chosen, vectors, strict=True) if points(vector)]
        refused = [one for one, vector in zip(chosen, vectors, strict=True) if not points(vector)]
        self._stored(lambda: keep_vectors(store, name, embedded, self._due.is_own))
        self._due.done((one for one, _ in embedded), time.monotonic())
        self._worked()
        if refused:
            self._due.refuse(refused, time.monotonic())
            _log.warning("the model refuses %d texts: these memories are found by their words alone", len(refused))
        with self._changed:
            self._hurried = max(0, self._hurried - len(chosen))
        return 0.0

    def _unload(self, model: Embedder | None) -> float | None:
        """Give back what was not used for long; returns when to look again, in seconds, None for never."""
        if not self._loaded:
            return None
        left_s = self._used_s + self._options.unload_after_s - time.monotonic()
        if left_s > 0:
            return left_s
        with self._changed:
            loaded, self._loaded = sorted(self._loaded), set()
        if model is not None:
            model.unload()
        for name in loaded:
            self._local.store.vectors(name).drop()
        return None

    def _stored(self, task: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the task returns
        """Do something with the store, which `close` waits for; `Unavailable` when it is too late for that."""
        with self._storing:
            if self._closing:
                raise Unavailable("the node is stopping")
            return task()

    def _skipped(self, model: Embedder) -> tuple[SpaceId, ...]:
        """Return the spaces the model may not see (RULES F3)."""
        return () if may_embed(model, self._options, private=True) else (self._local.cluster.private,)

    def _failed(self, problem: str) -> float:
        """Note what the model failed with; returns when to try again."""
        with self._changed:
            if self._closing:
                return BACKOFF_S_MAX
            if problem != self._problem:
                _log.warning("embedding fails, and is tried again: %s", problem)
            wait_s = min(BACKOFF_S * 2.0**self._failures, BACKOFF_S_MAX)
            self._problem, self._failures = problem, min(self._failures + 1, 16)
            self._retry_s = time.monotonic() + wait_s
        return wait_s

    def _worked(self) -> None:
        with self._changed:
            self._problem, self._failures, self._retry_s = "", 0, 0.0


def _left(local: LocalNode, skipped: Iterable[SpaceId]) -> tuple[SpaceId, ...]:
    """Return the spaces nothing of which is embedded: the model may not see them, or no vectors are to be kept."""
    with local.store.snapshot() as reader:
        return (*skipped, *without_vectors(reader.connection))


def _within(seconds: float, call: Callable[[], Floats]) -> Floats:
    """Return what a call returns if it does so in time, else raise `Unavailable`; it goes on unheard."""
    future: Future[Floats] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, name="cis-query", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        raise Unavailable(f"the embedding server took more than {seconds:g} s for a query") from None
