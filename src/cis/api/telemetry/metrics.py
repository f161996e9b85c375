"""What a node counts, for Prometheus: the one table of its metrics, and their text (exposition format 0.0.4).

Labels take few values, all known beforehand but for what limits are called: no peer, no address, no name of anything
is in them. docs/operations.md lists what is in the table, and a test compares both. ::

    text = metrics_text(Scene(local, driver, resting, uptime_s=1.0, ready=True, problems=0))
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from cis import __version__
from cis.api.health.process_facts import allocated_blocks, open_files, resident_bytes, running_tasks
from cis.api.membership.turned_away import turned_away
from cis.api.memories.counting import files_of
from cis.api.peers.reach_schema import PathKind
from cis.api.telemetry.logs import log_counts
from cis.net.traffic import PURPOSES, Flow
from cis.store.database import memory_used

if TYPE_CHECKING:
    from cis.api.embedded import EmbeddedNode
    from cis.node.core.table import SyncStatus
    from cis.node.driver import Driver

LEVELS = ("debug", "info", "warning", "error", "critical")
Samples = Mapping[tuple[str, ...], float]
"""Values by the values of the labels."""


class Resting(NamedTuple):
    """What is read from the disk, and so in a thread."""

    memories: int
    waiting: int
    files: Mapping[str, int]


@dataclass(frozen=True)
class Scene:
    """What is measured; ``driver`` is None where the node opens no socket."""

    node: EmbeddedNode
    driver: Driver | None
    resting: Resting
    uptime_s: float
    ready: bool
    problems: int
    """things that do not work now"""


class Metric(NamedTuple):
    """A metric: its name, what it is, in words, what its labels are called, and how it is read."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    read: Callable[[Scene], Samples]
    labels: tuple[str, ...] = ()


def metrics_text(scene: Scene) -> str:
    """Return all metrics there are to tell."""
    return "".join(line for metric in METRICS for line in _lines(metric, metric.read(scene)))


def rest_of(node: EmbeddedNode) -> Resting:
    """Read what lies on the disk; it blocks."""
    return Resting(node.local.public_count(), node.work.waiting(), files_of(node.local))


def _lines(metric: Metric, samples: Samples) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} {metric.kind}\n"
    for values, value in sorted(samples.items()):
        labels = ",".join(f'{label}="{_word(text)}"' for label, text in zip(metric.labels, values, strict=True))
        yield f"{metric.name}{f'{{{labels}}}' if labels else ''} {value + 0}\n"


def _word(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _one(read: Callable[[Scene], float | None]) -> Callable[[Scene], Samples]:
    """Read one value without labels; None where there is none."""

    def samples(scene: Scene) -> Samples:
        value = read(scene)
        return {} if value is None else {(): value}

    return samples


def _online(read: Callable[[Driver], float | None]) -> Callable[[Scene], Samples]:
    """Read one value of a node that opens a socket."""
    return _one(lambda scene: read(scene.driver) if scene.driver is not None else None)


# --- who is there -----------------------------------------------------------------------------------------------


def _members_up(driver: Driver) -> int:
    """Count the members that are connected or told that they are up, this node included."""
    members = driver.local.cluster.membership.members()
    told = (driver.presence.of(one.node) for one in members)
    here = {one.node for one, said in zip(members, told, strict=True) if said is not None and said.here}
    return len((here | driver.core.connected() | {driver.core.own}) & {one.node for one in members})


def _connections(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    kinds = Counter(one.kind for one in scene.driver.paths())
    return {(kind,): kinds[kind] for kind in get_args(PathKind)}


def _pooled(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    return {(what,): count for what, count in asdict(scene.driver.core.pool.counts()).items()}


def _limits_in_force(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    shares = scene.driver.endpoint.line.shares
    return {("in",): shares.download, ("out",): shares.upload}


def _round_trips(scene: Scene) -> Samples:
    rtts = [one.rtt_s for one in scene.driver.paths() if one.rtt_s is not None] if scene.driver is not None else []
    return {("least",): min(rtts), ("median",): median(rtts), ("most",): max(rtts)} if rtts else {}


def _anchors(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    up = [one.up for one in scene.driver.options.anchors]
    return {("up",): sum(up), ("down",): len(up) - sum(up)}


# --- in step ----------------------------------------------------------------------------------------------------


def _last_session_s(driver: Driver) -> float | None:
    """Return how long ago a session with any member ended well."""
    ended = [one.in_step_at for one in driver.core.status.values() if one.in_step_at is not None]
    return asyncio.get_running_loop().time() - max(ended) if ended else None


def _failing(driver: Driver) -> int:
    """Count the connected members with whom the last session failed."""
    return sum(bool(link.status.failures) for link in driver.core.links.values())


def _totals(driver: Driver, read: Callable[[SyncStatus], int]) -> int:
    return sum(map(read, driver.core.status.values()))


# --- traffic ----------------------------------------------------------------------------------------------------


def _flows(read: Callable[[Flow], tuple[float, float]]) -> Callable[[Scene], Samples]:
    """Read two values of each purpose: what came in, and what went out."""

    def samples(scene: Scene) -> Samples:
        if scene.driver is None:
            return {}
        flows = scene.driver.endpoint.traffic.by_purpose()
        pairs = {purpose: read(flows.get(purpose, Flow())) for purpose in PURPOSES}
        return {
            (way, purpose): pair[place] for purpose, pair in pairs.items() for place, way in enumerate(("in", "out"))
        }

    return samples


def _udp_bytes(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    counted = scene.driver.endpoint.statistics()
    return {("in",): counted.bytes_in, ("out",): counted.bytes_out}


def _gossip(scene: Scene) -> Samples:
    if scene.driver is None:
        return {}
    counted = scene.driver.core.overlay.statistics()
    return {("new",): counted.payloads - counted.duplicates, ("again",): counted.duplicates}


def _turned_away(scene: Scene) -> Samples:
    return {(name,): count for name, count in turned_away(scene.driver).items()} if scene.driver is not None else {}


# --- the process ------------------------------------------------------------------------------------------------


def _log_events(_: Scene) -> Samples:
    counted, _left_out = log_counts()
    return {(level,): counted.get(level, 0) for level in LEVELS}


METRICS: tuple[Metric, ...] = (
    Metric("cis_info", "gauge", "1, with the version", lambda _: {(__version__,): 1}, ("version",)),
    Metric("cis_ready", "gauge", "1 once the node is up and a member, else 0", _one(lambda scene: scene.ready)),
    Metric("cis_uptime_seconds", "gauge", "since the node started", _one(lambda scene: scene.uptime_s)),
    Metric("cis_problems", "gauge", "things that do not work, as cis status lists them", _one(lambda s: s.problems)),
    Metric(
        "cis_members",
        "gauge",
        "members of the cluster",
        _one(lambda scene: len(scene.node.local.cluster.membership.members())),
    ),
    Metric("cis_members_up", "gauge", "members that are connected or told that they are up", _online(_members_up)),
    Metric("cis_connections", "gauge", "connections with members, by what they run on", _connections, ("path",)),
    Metric(
        "cis_connections_total",
        "counter",
        "connections made, ended as idle or for another, and turned away as all were in use",
        _pooled,
        ("what",),
    ),
    Metric(
        "cis_streams_total",
        "counter",
        "streams begun over connections there were already",
        _online(lambda driver: driver.endpoint.traffic.total().streams),
    ),
    Metric(
        "cis_neighbours",
        "gauge",
        "members gossip is exchanged with",
        _online(lambda driver: len(driver.core.overlay.neighbours)),
    ),
    Metric(
        "cis_quarantined",
        "gauge",
        "connections over which nothing is exchanged",
        _online(lambda driver: len(driver.quarantined())),
    ),
    Metric("cis_round_trip_seconds", "gauge", "round trips over the connections", _round_trips, ("which",)),
    Metric("cis_anchors", "gauge", "anchors of the settings", _anchors, ("state",)),
    Metric(
        "cis_last_session_age_seconds",
        "gauge",
        "since a session with any member ended well; absent before the first",
        _online(_last_session_s),
    ),
    Metric("cis_sessions_failing", "gauge", "connected members with whom the last session failed", _online(_failing)),
    Metric(
        "cis_sessions_total",
        "counter",
        "sessions that ended well",
        _online(lambda driver: _totals(driver, lambda one: one.sessions)),
    ),
    Metric(
        "cis_changes_received_total",
        "counter",
        "changes that came in sessions",
        _online(lambda driver: _totals(driver, lambda one: one.changes_received)),
    ),
    Metric(
        "cis_traffic_bytes_total",
        "counter",
        "bytes of streams, by what they are for",
        _flows(lambda flow: (flow.bytes_in, flow.bytes_out)),
        ("direction", "purpose"),
    ),
    Metric(
        "cis_traffic_messages_total",
        "counter",
        "frames of streams, by what they are for",
        _flows(lambda flow: (flow.messages_in, flow.messages_out)),
        ("direction", "purpose"),
    ),
    Metric(
        "cis_traffic_held_seconds_total",
        "counter",
        "time for which traffic waited because of a limit of bandwidth",
        _flows(lambda flow: (flow.held_in_s, flow.held_out_s)),
        ("direction", "purpose"),
    ),
    Metric(
        "cis_bandwidth_limit_bytes_per_second",
        "gauge",
        "limits of bandwidth in force now; 0 where there is none",
        _limits_in_force,
        ("direction",),
    ),
    Metric("cis_udp_bytes_total", "counter", "bytes of datagrams, all in all", _udp_bytes, ("direction",)),
    Metric("cis_gossip_bodies_total", "counter", "bodies gossip brought, new or known", _gossip, ("seen",)),
    Metric("cis_turned_away_total", "counter", "what a limit refused or slowed down", _turned_away, ("limit",)),
    Metric("cis_memories", "gauge", "public memories", _one(lambda scene: scene.resting.memories)),
    Metric(
        "cis_embedding_waiting",
        "gauge",
        "memories that wait for their vector",
        _one(lambda scene: scene.resting.waiting),
    ),
    Metric(
        "cis_store_bytes",
        "gauge",
        "size of the files of the store",
        lambda scene: {(name,): size for name, size in scene.resting.files.items()},
        ("file",),
    ),
    Metric("cis_log_events_total", "counter", "events logged, by level", _log_events, ("level",)),
    Metric(
        "cis_log_left_out_total",
        "counter",
        "events left out of the log as they recurred",
        _one(lambda _: log_counts()[1]),
    ),
    Metric("cis_tasks", "gauge", "asyncio tasks of the node's event loop", _one(lambda _: running_tasks())),
    Metric(
        "cis_python_blocks",
        "gauge",
        "pieces of memory that Python's allocator has given out",
        _one(lambda _: allocated_blocks()),
    ),
    Metric(
        "cis_sqlite_bytes", "gauge", "memory that SQLite holds, page caches above all", _one(lambda _: memory_used())
    ),
    Metric(
        "process_cpu_seconds_total", "counter", "processor time of the process", _one(lambda _: time.process_time())
    ),
    Metric("process_resident_memory_bytes", "gauge", "memory the process holds", _one(lambda _: resident_bytes())),
    Metric("process_open_fds", "gauge", "files and sockets the process has open", _one(lambda _: open_files())),
)
