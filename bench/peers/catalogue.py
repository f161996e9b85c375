"""Who takes part, how each is started, and what must be known to compare its figures with another's.

The words of a table's cell say what holds in the setting measured here, not what a product could do if it were built
into something larger: GUN, for one, can sign with SEA, which nothing here asks it to.
"""

from __future__ import annotations

from dataclasses import dataclass

UNSYNCED = "not synced: survives the process, not a loss of power"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the table."""

    name: str
    """What it is called on the command line."""
    title: str
    start: tuple[str, ...]
    """A Python module of this package and its arguments, or a script beneath ``npm/`` and its arguments."""
    how: str
    wire: str
    """Whether bytes on the way are encrypted, and between whom."""
    signed: str
    """What is signed of an entry, and by whom it is checked."""
    kept: str
    """What the target has on disk when an entry counts as arrived."""
    conflicts: str
    """What becomes of two writes of one entry that did not know of each other."""
    program: str = ""
    """What must be on PATH besides Node for scripts."""

    @property
    def npm(self) -> str:
        """The folder of the script and its packages, empty for a module."""
        return self.start[0].partition("/")[0] if self.start[0].endswith(".mjs") else ""


_LEVEL = f"LevelDB, {UNSYNCED}"
_ROCKS = f"RocksDB, {UNSYNCED}"

CONTESTANTS = (
    Contestant(
        "cis",
        "cis",
        ("cis_peer",),
        "two nodes of a cluster, over QUIC; written in bulk, as by an import",
        "TLS 1.3, both nodes authenticated",
        "every changeset (up to 1,024 entries), checked by every receiver; contents sealed under keys of the cluster",
        "SQLite, synced to disk, encrypted",
        "both kept and shown until somebody resolves",
    ),
    Contestant(
        "cis-single",
        "cis, written one by one",
        ("cis_peer", "single"),
        "as cis, each entry in a changeset of its own, as agents write them",
        "TLS 1.3, both nodes authenticated",
        "every entry, checked by every receiver; contents sealed under keys of the cluster",
        "SQLite, synced to disk, encrypted",
        "both kept and shown until somebody resolves",
    ),
    Contestant(
        "yjs",
        "Yjs in memory",
        ("yjs/peer.mjs",),
        "one document, a map written in one transaction; y-websocket's server to its provider",
        "none (WebSocket without TLS)",
        "nothing",
        "nothing: in memory",
        "one wins by client number, the other is gone",
    ),
    Contestant(
        "yjs-leveldb",
        "Yjs with y-leveldb",
        ("yjs/peer.mjs", "leveldb"),
        "as Yjs in memory, both sides keeping each update with y-leveldb",
        "none (WebSocket without TLS)",
        "nothing",
        _LEVEL,
        "one wins by client number, the other is gone",
    ),
    Contestant(
        "automerge",
        "Automerge-repo",
        ("automerge/peer.mjs",),
        "one document, a map written in one change; WebSocket adapters, files by its storage adapter",
        "none (WebSocket without TLS)",
        "nothing; changes are chained by hash",
        f"files, {UNSYNCED}; of live updates 0.1 s later",
        "one is shown, both are kept",
    ),
    Contestant(
        "hyperbee",
        "Hyperbee",
        ("hyper/hyperbee.mjs",),
        "a tree on one Hypercore written in one batch, all of it downloaded, over TCP instead of Hyperswarm",
        "Noise; to know the log's key is to be let in",
        "the root over all entries, checked by every receiver",
        _ROCKS,
        "cannot arise: one writer alone",
    ),
    Contestant(
        "autobase",
        "Autobase",
        ("hyper/autobase.mjs",),
        "a Hyperbee made of the logs of many writers, one of whom wrote in batches of 1,000; over TCP as above",
        "Noise; to know the log's key is to be let in",
        "each writer's log, checked by every receiver",
        _ROCKS,
        "the last in an order all agree on wins; the log has both",
    ),
    Contestant(
        "pouchdb",
        "PouchDB",
        ("pouchdb/peer.mjs",),
        "a document an entry, written 1,000 at a time; replication with its defaults, over HTTP from express-pouchdb",
        "none (HTTP without TLS)",
        "nothing; revisions are hashes",
        _LEVEL,
        "one is shown, both are kept",
    ),
    Contestant(
        "gun",
        "GUN",
        ("gun/peer.mjs",),
        "the entries as properties of one node, 500 writes at once; WebSocket, Radisk, without SEA and AXE;"
        " some runs of 10,000 brought keys cut short, which fails a run",
        "none (WebSocket without TLS)",
        "nothing",
        f"files, up to 0.25 s after it counts as arrived, {UNSYNCED}",
        "the later clock wins, the other is gone",
    ),
    Contestant(
        "orbitdb",
        "OrbitDB",
        ("orbitdb/peer.mjs",),
        "a key-value database on Helia and libp2p over TCP, written one by one: it has no batches",
        "Noise, both sides authenticated",
        "every entry, checked by every receiver",
        _LEVEL,
        "the later Lamport clock wins; the log has both",
    ),
    Contestant(
        "syncthing",
        "Syncthing",
        ("syncthing_peer",),
        "a file of 200 bytes an entry; each live write is followed by a request to scan it",
        "TLS 1.3, both sides authenticated",
        "nothing; blocks are checked by hash",
        "a file each, synced to disk",
        "the later one keeps the name, the other becomes a file beside it",
        program="syncthing",
    ),
)


def contestant(name: str) -> Contestant:
    """Return the contestant of that name; `KeyError` where there is none."""
    return {one.name: one for one in CONTESTANTS}[name]
