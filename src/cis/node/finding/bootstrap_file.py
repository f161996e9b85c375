"""The text of bootstrap.json: peers with their addresses and how they fared, for people to read and to edit.

An entry a user writes needs no more than who and where: ``{"did": "did:key:z6Mk…", "addresses": ["192.0.2.1:7677"]}``,
or ``"did:key:z6Mk…@192.0.2.1:7677"``; ``did:cis:NAME`` names a member as well. What makes no sense is told apart, with
its reason, and the rest is used: one bad address does not cost an entry, nor one bad entry the file.

Moments in the book are by a monotonic clock, in the file by the calendar; what lies in the future counts as now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from cis.discovery.address import Source, dialable, join_endpoint, split_endpoint
from cis.errors import UsageError
from cis.model import NodeId, did_of, parse_did
from cis.peers import Address, Peer
from cis.peers.peer import BY_USER
from cis.peers.record import RATE_UNTRIED, Record
from cis.peers.score import KINDS, score_of, score_of_way
from cis.peers.shelf import ADDRESSES_MAX, KEPT_S

ADDRESSES_KEPT_MAX = 8
FORMAT = 1
_NAME = "did:cis:"
_SOURCES = frozenset(one.value for one in Source)

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Ms = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class _Fared(msgspec.Struct, kw_only=True):
    successes: _Count = 0
    failures: _Count = 0
    rate: _Share | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    rtt_ms: _Ms | None = None


class AddressRow(_Fared, kw_only=True):
    """One address as it is written."""

    address: str
    path: str = ""
    source: str = Source.STATIC.value
    found_by: str = BY_USER
    last_told: datetime | None = None


class PeerRow(_Fared, kw_only=True):
    """One peer as it is written; ``state`` and ``score`` are for people, and not read."""

    name: str = ""
    did: str = ""
    state: str = ""
    score: float = 0.0
    last_seen: datetime | None = None
    path: str = ""
    place: str = ""
    addresses: list[Any] = []
    """each an `AddressRow`, or no more than the text of an address"""


@dataclass(frozen=True)
class Bad:
    """What makes no sense, as it stood there, and why."""

    why: str
    entry: Any


@dataclass
class Read:
    """What a file held."""

    peers: list[Peer] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    unreadable: str = ""
    """why nothing of the file could be read"""


@dataclass(frozen=True)
class Calendar:
    """Tells the moments of the book from those of the calendar: it is ``now`` by the one, ``clock_ms`` by the other."""

    now: float
    clock_ms: int

    def moment(self, written: datetime | None) -> float | None:
        """Return when that was by the book's clock: what is yet to come is now, what was before 1970 is then."""
        if written is None:
            return None
        whole = written if written.tzinfo is not None else written.replace(tzinfo=UTC)
        return self.now - max(0.0, self.clock_ms / 1000 - max(0.0, whole.timestamp()))

    def written(self, moment: float | None) -> datetime | None:
        """Return when that was by the calendar, to the second."""
        if moment is None:
            return None
        return datetime.fromtimestamp(round(self.clock_ms / 1000 - (self.now - moment)), UTC)


# --- writing ---------------------------------------------------------------------------------------------------------


def text_of(peers: Iterable[Peer], name_of: Callable[[NodeId], str], calendar: Calendar) -> bytes:
    """Return the file that tells of these peers, in their order."""
    rows = [_row(peer, peer.node, name_of(peer.node), calendar) for peer in peers if peer.node is not None]
    whole = {
        "format": FORMAT,
        "about": "where the members of this cluster were reached, best first: see `cis p2p bootstrap --help`",
        "saved": msgspec.to_builtins(calendar.written(calendar.now)),
        "peers": [_written(row) for row in rows],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False).encode() + b"\n"


def _written(row: PeerRow) -> dict[str, Any]:
    """A row for people: who and where first, and nothing that says nothing."""
    filled = _filled(msgspec.to_builtins(row))
    addresses = [_filled(one, "address") for one in filled.pop("addresses")]
    return {**_filled(filled, "name", "did", "state", "score"), "addresses": addresses}


def _filled(fields: dict[str, Any], *first: str) -> dict[str, Any]:
    ordered = {name: fields[name] for name in (*first, *fields) if name in fields}
    return {name: value for name, value in ordered.items() if value not in (None, "")}


def _row(peer: Peer, node: NodeId, name: str, calendar: Calendar) -> PeerRow:
    now = calendar.now
    ways = sorted(
        (one for one in peer.addresses if lasts(one)), key=lambda one: (not one.held, -score_of_way(one, now).total)
    )
    return PeerRow(
        name=name,
        did=did_of(node),
        state=peer.state.value,
        score=round(score_of(peer, now).total, 4),
        last_seen=calendar.written(peer.seen_at),
        path=peer.kind,
        place=join_endpoint(*peer.place) if peer.place is not None else "",
        addresses=[_address_row(one, calendar) for one in ways[:ADDRESSES_KEPT_MAX]],
        **_fared(peer, calendar),
    )


def lasts(way: Address) -> bool:
    """Tell whether an address means the same in a later run: a zone is of an interface as it is numbered now."""
    return "%" not in way.host


def _address_row(way: Address, calendar: Calendar) -> AddressRow:
    return AddressRow(
        address=join_endpoint(way.host, way.port),
        path=way.kind,
        source=way.source,
        found_by=way.found_by,
        last_told=calendar.written(calendar.now if way.in_use else way.known_at),
        **_fared(way, calendar),
    )


def _fared(record: Record, calendar: Calendar) -> dict[str, Any]:
    return {
        "successes": record.successes,
        "failures": record.failures,
        "rate": round(record.rate, 4),
        "last_success": calendar.written(record.succeeded_at),
        "last_failure": calendar.written(record.failed_at),
        "rtt_ms": round(record.rtt_s * 1000, 3) if record.rtt_s is not None else None,
    }


# --- reading ---------------------------------------------------------------------------------------------------------


def read(text: bytes, who: Callable[[str], NodeId | None], calendar: Calendar) -> Read:
    """Return what a file tells; ``who`` finds a member by name. Never raises, whatever the text is."""
    try:
        whole = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        return Read(unreadable=f"it is no JSON: {error}")
    entries = whole.get("peers") if isinstance(whole, dict) else whole
    if not isinstance(entries, list):
        return Read(unreadable="it holds no list of peers")
    found = Read()
    for number, entry in enumerate(entries, 1):
        try:
            _take(found, entry, who, calendar)
        except (ValueError, UsageError, OverflowError, OSError) as error:
            found.bad.append(Bad(f"entry {number}: {error}", entry))
    return found


def _take(found: Read, entry: Any, who: Callable[[str], NodeId | None], calendar: Calendar) -> None:  # noqa: ANN401 - JSON
    if isinstance(entry, str):
        did, at, place = entry.rpartition("@")
        if not at:
            raise UsageError(f"{entry!r} is not written as DID@host:port")
        row = PeerRow(did=did, addresses=[place])
    else:
        row = msgspec.convert(_renewed(entry), PeerRow)
    peer = Peer(_node(row, who))
    if not row.addresses:
        raise UsageError("it has no address")
    for one in row.addresses[:ADDRESSES_MAX]:
        try:
            address = _address(msgspec.convert({"address": one} if isinstance(one, str) else one, AddressRow), calendar)
        except (ValueError, UsageError, OverflowError) as error:
            found.bad.append(Bad(f"an address: {error}", {"did": row.did, "addresses": [one]}))
            continue
        if address.found_by == BY_USER or calendar.now - address.known_at <= KEPT_S:
            peer.addresses.append(address)
    _restore(peer, row, calendar)
    peer.seen_at, peer.kind = calendar.moment(row.last_seen), _kind(row.path)
    if row.place:
        peer.place = split_endpoint(row.place)
    if peer.addresses:
        found.peers.append(peer)


def _renewed(entry: Any) -> Any:  # noqa: ANN401 - JSON
    """The entry, in today's form where an earlier version (peers.json) wrote it."""
    if not isinstance(entry, dict) or "node" not in entry or not isinstance(entry.get("addresses"), list):
        return entry
    return {"did": entry["node"], "addresses": list(_renewed_addresses(entry["addresses"]))}


def _renewed_addresses(rows: Iterable[Any]) -> Iterator[Any]:
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("host"), str) and isinstance(row.get("known_ms"), int):
            known = datetime.fromtimestamp(row["known_ms"] / 1000, UTC)
            source, worked = str(row.get("source", "")), row.get("successes", 0)
            yield {
                "address": join_endpoint(row["host"], row.get("port", 0)),
                "source": source,
                "found_by": source,
                "successes": worked,
                "last_told": known,
                "last_success": known if worked else None,
            }
        else:
            yield row


def _node(row: PeerRow, who: Callable[[str], NodeId | None]) -> NodeId:
    if row.did.startswith("did:") and not row.did.startswith(_NAME):
        return parse_did(row.did)
    name = row.did.removeprefix(_NAME) or row.name
    if not name:
        raise UsageError("it names no node: write its did")
    if (node := who(name)) is None:
        raise UsageError(f"no member is called {name!r}")
    return node


def _address(row: AddressRow, calendar: Calendar) -> Address:
    host, port = split_endpoint(row.address)
    if not dialable(host, Source.STATIC, allow_loopback=True):
        raise UsageError(
            f"{row.address} may not be dialled: write an IP address of a node (names belong in p2p.peers.static_peers, "
            "where they are resolved anew)"
        )
    source = row.source if row.source in _SOURCES else Source.MEMBER.value
    address = Address(host, port, source, row.found_by, _kind(row.path))
    _restore(address, row, calendar)
    told = calendar.moment(row.last_told)
    address.known_at = calendar.now if told is None else told
    return address


def _kind(path: str) -> str:
    return path if path in KINDS else ""


def _restore(record: Record, row: _Fared, calendar: Calendar) -> None:
    record.successes, record.failures = row.successes, row.failures
    tried = row.successes + row.failures
    record.rate = row.rate if row.rate is not None else (row.successes + 1) / (tried + 2) if tried else RATE_UNTRIED
    record.succeeded_at, record.failed_at = calendar.moment(row.last_success), calendar.moment(row.last_failure)
    if row.rtt_ms is not None:
        record.rtt_s, record.rtt_spread_s = row.rtt_ms / 1000, row.rtt_ms / 2000
