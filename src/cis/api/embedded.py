"""A node's memories and trust without its network: what commands use when no daemon runs, and the daemon's own half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from cis import __version__
from cis.api.control.protocol import Reply, Request
from cis.api.health.doctor_schema import CheckStore, GetTrust
from cis.api.health.explaining import RestingWhy
from cis.api.health.integrity import check_store
from cis.api.health.why_schema import ExplainMemory
from cis.api.membership.access import AccessOperations
from cis.api.membership.spaces import SpaceOperations, elsewhere
from cis.api.membership.standing import removal_of
from cis.api.membership.tickets import TicketOperations
from cis.api.membership.trust_facts import trust_facts
from cis.api.membership.trusting import TrustOperations
from cis.api.memories.browsing import BrowsingOperations
from cis.api.memories.compacting import CompactOperations
from cis.api.memories.conflicts import ConflictOperations
from cis.api.memories.counting import CountingOperations
from cis.api.memories.elsewhere import Fetching
from cis.api.memories.embedding_work import EmbeddingWork
from cis.api.memories.expiring import Expiring
from cis.api.memories.indexing import IndexOperations
from cis.api.memories.memory import MemoryOperations
from cis.api.memories.search_options import DEFAULTS, SearchOptions
from cis.api.memories.searching import SearchOperations
from cis.api.memories.transfer import TransferOperations
from cis.api.operations import (
    Handler,
    bootstrap_handlers,
    life_handlers,
    memory_handlers,
    search_handlers,
    trust_handlers,
)
from cis.api.peers.bootstrapping import RestingBootstrap
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.api.reading import Readers
from cis.crdt import Policy
from cis.embedding.choosing import EmbeddingOptions, embedder_of
from cis.embedding.embedder import Embedder
from cis.errors import Unavailable
from cis.model import did_of
from cis.node.home.local import LocalNode

NO_DAEMON = "no node is running here: start it with `cis up`"
EMBED_AFTER_S = 1.0
"""What opens the store for a command alone is done before; who searches does not wait for it."""


class EmbeddedNode:
    """Answers requests about memories and trust in this process; owns the `LocalNode` it is given."""

    running = False

    def __init__(
        self,
        local: LocalNode,
        policy: Policy = Policy.CRDT,
        search: SearchOptions = DEFAULTS,
        *,
        embedder: Callable[[EmbeddingOptions], Embedder | None] = embedder_of,
    ) -> None:
        self.local = local
        self.policy = policy
        self.readers = Readers(local.store)
        self.fetching = Fetching(local, self.readers)
        self.expiring = Expiring(local, self.readers)
        self.work = EmbeddingWork(local, search.embedding, embedder=embedder, delay_s=EMBED_AFTER_S)
        self.handlers: dict[type[Request[Any]], Handler] = {
            **memory_handlers(
                MemoryOperations(local, policy, self.readers, self.fetching),
                BrowsingOperations(local, policy, self.readers),
                TransferOperations(local, policy, self.readers, self.fetching),
            ),
            **search_handlers(
                SearchOperations(local, policy, self.readers, self.work, search.weights),
                IndexOperations(local, self.work),
            ),
            **life_handlers(
                ConflictOperations(local, policy, self.readers, self.fetching),
                CountingOperations(local, policy, self.readers),
                CompactOperations(local, self.expiring),
            ),
            **trust_handlers(
                TrustOperations(local), SpaceOperations(local), AccessOperations(local), TicketOperations(local)
            ),
            **bootstrap_handlers(RestingBootstrap(local)),
            GetTrust: lambda _: trust_facts(local, {}),
            ExplainMemory: RestingWhy(local, policy, self.readers).explain,
            CheckStore: lambda _: check_store(local),
        }

        self.work.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.work.close()
        self.readers.close()
        self.local.close()

    def call(self, request: Request[Reply]) -> Reply:
        """Answer a request; `Unavailable` for one that needs the running node."""
        if isinstance(request, GetStatus):
            return self.status()  # type: ignore[return-value] # the request says that this is its reply
        answer: Reply = self._handler(request)(request)
        return answer

    def stream(self, request: Request[Reply]) -> Iterator[Reply]:
        """Answer a request that streams."""
        return iter(self._handler(request)(request))

    def status(self) -> NodeStatus:
        """Say what can be said without the network."""
        cluster, removal = self.local.cluster, removal_of(self.local)
        left_out, unbacked = elsewhere(self.local)
        return NodeStatus(
            running=False,
            name=cluster.me.name,
            did=did_of(self.local.identity.node),
            cluster=cluster.id.hex(),
            role=cluster.me.role.name.lower(),
            home=str(self.local.home.folder),
            version=__version__,
            members=tuple(sorted(member.name for member in cluster.membership.members())),
            memories=self.local.public_count(),
            removed_by=removal[0] if removal else None,
            removed_ms=removal[1] if removal else None,
            elsewhere=left_out,
            unbacked=unbacked,
        )

    def _handler(self, request: Request[Any]) -> Any:  # noqa: ANN401 - the handler of whichever request
        handler = self.handlers.get(type(request))
        if handler is None:
            raise Unavailable(NO_DAEMON)
        return handler
