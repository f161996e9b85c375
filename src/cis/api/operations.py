"""The one table of operations: what can be asked, and who answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from cis.api import gossip_schema as gossip
from cis.api import memory_schema as memory
from cis.api import network_schema as network
from cis.api.protocol import Request

if TYPE_CHECKING:
    from cis.api.browsing import BrowsingOperations
    from cis.api.listening import TopicOperations
    from cis.api.memory import MemoryOperations
    from cis.api.network import NetworkOperations
    from cis.api.sync_status import SyncStatusOperations
    from cis.api.transfer import TransferOperations

Handler = Callable[[Any], Any]
"""Blocking; an iterator where the request streams."""
AsyncHandler = Callable[[Any], Awaitable[Any] | AsyncIterator[Any]]
"""On the loop; an iterator where the request streams."""

REQUESTS: tuple[type[Request[Any]], ...] = (
    memory.SetMemory,
    memory.GetMemory,
    memory.DeleteMemory,
    memory.IncrementMemory,
    memory.AddToMemory,
    memory.RemoveFromMemory,
    memory.ListMemories,
    memory.SearchMemories,
    memory.ListConflicts,
    memory.MemoryHistory,
    memory.MemoryStats,
    memory.ImportBatch,
    memory.ExportMemories,
    memory.WatchMemories,
    network.GetStatus,
    network.StopNode,
    network.Invite,
    network.ListPeers,
    network.ConnectPeer,
    network.DisconnectPeer,
    network.PingPeer,
    network.SyncNow,
    gossip.GetSyncStatus,
    gossip.BroadcastMessage,
    gossip.ListenTopics,
)


def memory_handlers(
    single: MemoryOperations, browsing: BrowsingOperations, transfer: TransferOperations
) -> Mapping[type[Request[Any]], Handler]:
    """Return who answers about memories; the same in the daemon and without one."""
    return {
        memory.SetMemory: single.set,
        memory.GetMemory: single.get,
        memory.DeleteMemory: single.delete,
        memory.IncrementMemory: single.increment,
        memory.AddToMemory: single.add,
        memory.RemoveFromMemory: single.remove,
        memory.MemoryHistory: single.history,
        memory.ListMemories: browsing.page,
        memory.SearchMemories: browsing.search,
        memory.ListConflicts: browsing.conflicts,
        memory.MemoryStats: browsing.stats,
        memory.ImportBatch: transfer.take_in,
        memory.ExportMemories: transfer.give_out,
    }


def network_handlers(
    operations: NetworkOperations, topics: TopicOperations, sync_status: SyncStatusOperations
) -> Mapping[type[Request[Any]], AsyncHandler]:
    """Return who answers about peers; only in the daemon."""
    return {
        network.ListPeers: operations.peers,
        network.ConnectPeer: operations.connect,
        network.DisconnectPeer: operations.disconnect,
        network.PingPeer: operations.ping,
        network.SyncNow: operations.sync,
        gossip.GetSyncStatus: sync_status.status,
        gossip.BroadcastMessage: topics.broadcast,
        gossip.ListenTopics: topics.listen,
    }
