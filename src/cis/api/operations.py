"""The one table of operations: what can be asked, and who answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from cis.api.configuration import reload_schema as reload
from cis.api.control.protocol import Request
from cis.api.health import doctor_schema as doctor
from cis.api.health import why_schema as why
from cis.api.membership import pairing_schema as pairing
from cis.api.membership import trust_schema as trust
from cis.api.memories import embedding_schema as embedding
from cis.api.memories import memory_schema as memory
from cis.api.peers import dht_schema as dht
from cis.api.peers import gossip_schema as gossip
from cis.api.peers import network_schema as network
from cis.api.peers import peer_schema as peers
from cis.api.peers import reach_schema as reach
from cis.api.telemetry import telemetry_schema as telemetry

if TYPE_CHECKING:
    from cis.api.membership.access import AccessOperations
    from cis.api.membership.spaces import SpaceOperations
    from cis.api.membership.tickets import TicketOperations
    from cis.api.membership.trusting import TrustOperations
    from cis.api.memories.browsing import BrowsingOperations
    from cis.api.memories.compacting import CompactOperations
    from cis.api.memories.conflicts import ConflictOperations
    from cis.api.memories.counting import CountingOperations
    from cis.api.memories.indexing import IndexOperations
    from cis.api.memories.memory import MemoryOperations
    from cis.api.memories.searching import SearchOperations
    from cis.api.memories.transfer import TransferOperations
    from cis.api.peers.bootstrapping import RestingBootstrap, RunningBootstrap
    from cis.api.peers.connections import ConnectionOperations
    from cis.api.peers.dht import DhtOperations
    from cis.api.peers.listening import TopicOperations
    from cis.api.peers.netchecking import NetcheckOperations
    from cis.api.peers.network import NetworkOperations
    from cis.api.peers.peering import PeerOperations
    from cis.api.peers.sync_status import SyncStatusOperations
    from cis.api.telemetry.latency import LatencyOperations
    from cis.api.telemetry.statistics import StatisticsOperations
    from cis.api.telemetry.topology import TopologyOperations

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
    embedding.GetEmbedding,
    embedding.Reindex,
    memory.ListConflicts,
    memory.ResolveConflict,
    memory.MemoryHistory,
    memory.MemoryStats,
    memory.CompactStore,
    memory.ImportBatch,
    memory.ExportMemories,
    memory.WatchMemories,
    trust.ShowAcl,
    trust.ListDecisions,
    trust.EditAccess,
    trust.SetAccessMode,
    trust.GrantRole,
    trust.PlanRevocation,
    trust.RevokeMember,
    trust.RotateKeys,
    trust.ListTickets,
    trust.CancelTicket,
    trust.ListSpaces,
    trust.CreateSpace,
    trust.ShareSpace,
    trust.KeepSpace,
    network.GetStatus,
    doctor.GetTrust,
    doctor.CheckStore,
    why.ExplainMemory,
    network.StopNode,
    reload.ReloadSettings,
    network.Invite,
    pairing.ShowCode,
    pairing.TakeCode,
    network.ListPeers,
    peers.ListBootstrap,
    peers.AddBootstrap,
    peers.RemoveBootstrap,
    network.ConnectPeer,
    network.DisconnectPeer,
    network.PingPeer,
    network.SyncNow,
    reach.CheckNetwork,
    reach.ListConnections,
    reach.ExplainPeer,
    telemetry.GetTopology,
    telemetry.GetStatistics,
    telemetry.MeasureLatency,
    gossip.GetSyncStatus,
    gossip.BroadcastMessage,
    gossip.ListenTopics,
    dht.GetDhtStatus,
    dht.ListDhtNodes,
    dht.FindDhtNodes,
    dht.GetDhtItem,
    dht.PutDhtItem,
    dht.AnnounceInDht,
    dht.EnterDht,
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
        memory.ImportBatch: transfer.take_in,
        memory.ExportMemories: transfer.give_out,
    }


def life_handlers(
    conflicts: ConflictOperations, counting: CountingOperations, compacting: CompactOperations
) -> Mapping[type[Request[Any]], Handler]:
    """Return who answers about conflicts, and about the store as a whole."""
    return {
        memory.ListConflicts: conflicts.conflicts,
        memory.ResolveConflict: conflicts.resolve,
        memory.MemoryStats: counting.stats,
        memory.CompactStore: compacting.compact,
    }


def search_handlers(searching: SearchOperations, indexing: IndexOperations) -> Mapping[type[Request[Any]], Handler]:
    """Return who finds memories, and who looks after what they are found by."""
    return {
        memory.SearchMemories: searching.search,
        embedding.GetEmbedding: indexing.embedding,
        embedding.Reindex: indexing.reindex,
    }


def trust_handlers(
    trusting: TrustOperations, spaces: SpaceOperations, access: AccessOperations, tickets: TicketOperations
) -> Mapping[type[Request[Any]], Handler]:
    """Return who answers about members and spaces; in the daemon a removal also waits for others to hear."""
    return {
        trust.ShowAcl: trusting.show,
        trust.ListDecisions: trusting.decisions,
        trust.GrantRole: trusting.grant,
        trust.ShareSpace: trusting.share,
        trust.PlanRevocation: trusting.plan,
        trust.RevokeMember: trusting.revoke,
        trust.RotateKeys: trusting.rotate,
        trust.ListTickets: tickets.tickets,
        trust.CancelTicket: tickets.cancel,
        trust.ListSpaces: spaces.spaces,
        trust.CreateSpace: spaces.create,
        trust.KeepSpace: spaces.keep,
        trust.EditAccess: access.edit,
        trust.SetAccessMode: access.set_mode,
    }


def reach_handlers(
    connections: ConnectionOperations, checking: NetcheckOperations
) -> Mapping[type[Request[Any]], AsyncHandler]:
    """Return who answers about how peers are reached; only in the daemon."""
    return {
        reach.ListConnections: connections.connections,
        reach.CheckNetwork: checking.check,
    }


def telemetry_handlers(
    topology: TopologyOperations, latency: LatencyOperations, statistics: StatisticsOperations
) -> Mapping[type[Request[Any]], AsyncHandler]:
    """Return who answers about how the node and the cluster do; only in the daemon."""
    return {
        telemetry.GetTopology: topology.topology,
        telemetry.MeasureLatency: latency.measure,
        telemetry.GetStatistics: statistics.statistics,
    }


def bootstrap_handlers(
    operations: RestingBootstrap | RunningBootstrap,
) -> Mapping[type[Request[Any]], Handler | AsyncHandler]:
    """Return who answers about the bootstrap list."""
    return {
        peers.ListBootstrap: operations.show,
        peers.AddBootstrap: operations.add,
        peers.RemoveBootstrap: operations.remove,
    }


def network_handlers(
    operations: NetworkOperations, peering: PeerOperations, topics: TopicOperations, sync_status: SyncStatusOperations
) -> Mapping[type[Request[Any]], AsyncHandler]:
    """Return who answers about peers; only in the daemon."""
    return {
        network.ListPeers: peering.peers,
        network.ConnectPeer: operations.connect,
        network.DisconnectPeer: operations.disconnect,
        network.PingPeer: operations.ping,
        network.SyncNow: operations.sync,
        reach.ExplainPeer: operations.attempts,
        gossip.GetSyncStatus: sync_status.status,
        gossip.BroadcastMessage: topics.broadcast,
        gossip.ListenTopics: topics.listen,
    }


def dht_handlers(operations: DhtOperations) -> Mapping[type[Request[Any]], AsyncHandler]:
    """Return who answers about the DHT; only in the daemon."""
    return {
        dht.GetDhtStatus: operations.status,
        dht.ListDhtNodes: operations.nodes,
        dht.FindDhtNodes: operations.find,
        dht.GetDhtItem: operations.get,
        dht.PutDhtItem: operations.put,
        dht.AnnounceInDht: operations.announce,
        dht.EnterDht: operations.enter,
    }
