"""What stands on the screen: texts of a reading and its rates, fit for a terminal of 80 by 24, and without colours.

All of it passes `escaped`: names and errors come from others (RULES F2).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from cis.api.peers.network_schema import PeerInfo
from cis.api.text import escaped
from cis.apps.cli.peers import peer_lines
from cis.apps.cli.printing import ago, size
from cis.apps.cli.reach import connection_lines
from cis.apps.cli.status import problem_lines, where
from cis.apps.top.rates import Rates, Way, sparkline
from cis.apps.top.reading import Reading

COLUMNS: Mapping[str, int | None] = {
    "peer": None,
    "path": None,
    "rtt": 9,
    "in": 10,
    "out": 10,
    "in step": None,
    "last error": None,
}
"""The columns of the table of peers, and how wide they are; None is as wide as what is in them."""
FIGURES = ("rtt", "in", "out")
PURPOSES_SHOWN = 6
PROBLEM_LINES = 4
ERROR_MAX = 60
_RATE_WIDTH = 11
_PURPOSE_WIDTH = 8
_LAST = float("inf")
HELP = """\
q      quit
p      pause: the screen stands still, and the node is not asked
s      sort peers by the next of: state, name, round trip, traffic, missing
↑ ↓    choose a peer
enter  all that is known of it; esc goes back
?      this

path     what the connection runs on; in brackets how a peer is without one
in, out  bytes a second on streams, counted as by `cis p2p stats`
in step  whether it holds the same, as when it was asked, every five
         seconds: so many changes are to come from it, so many to go there
bars     bytes a second of each reading, both ways, up to the most of them

`cis status`, `cis p2p peers --verbose` and `cis p2p stats` say the same
once, also with --json."""


class Order(StrEnum):
    """What peers are sorted by."""

    STATE = "state"
    NAME = "name"
    RTT = "round trip"
    TRAFFIC = "traffic"
    BEHIND = "missing"

    @property
    def next(self) -> Order:
        """The one after this, the first after the last."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


_STATES = ("connected", "up", "active", "inactive", "unknown")
_KEYS: dict[Order, Callable[[PeerInfo, Rates], Any]] = {
    Order.STATE: lambda one, _: _STATES.index(one.state),
    Order.NAME: lambda *_: 0,
    Order.RTT: lambda one, _: _LAST if one.rtt_ms is None or one.state != "connected" else one.rtt_ms,
    Order.TRAFFIC: lambda one, rates: -rates.peers.get(one.did or "", Way()).both,
    Order.BEHIND: lambda one, _: -((one.behind_here or 0) + (one.behind_there or 0)),
}


def head(reading: Reading) -> str:
    """Say who the node is, with whom it is, and what it holds: three lines."""
    status, stored = reading.status, reading.stored
    in_step = sum(one.state == "connected" and one.behind_here == one.behind_there == 0 for one in reading.peers)
    with_whom = f"{_count(len(status.members), 'member')}, {len(status.connected)} connected, {in_step} of them in step"
    lines = [
        f"{status.name} ({status.role}), up for {ago(status.uptime_s)}{where(status.listen)}",
        f"cluster {status.cluster[:16]}: {with_whom}",
        f"{status.memories} public memories",
    ]
    if stored is not None:
        conflicts = sum(space.conflicts for space in stored.spaces)
        lines[2] = (
            f"{_count(sum(space.memories for space in stored.spaces), 'memory', 'memories')} in "
            f"{_count(len(stored.spaces), 'space')}, {_count(conflicts, 'conflict')}"
            f"{': cis memory conflicts' if conflicts else ''}, {size(sum(stored.files.values()))} on disk"
        )
    return _text(lines)


def rows(reading: Reading, rates: Rates, order: Order) -> list[tuple[str, Sequence[str]]]:
    """Return the peers in order: each one's DID, and the cells of its row."""
    listed = sorted(reading.peers, key=lambda one: (_KEYS[order](one, rates), one.name, one.did))
    return [(one.did or "", [escaped(cell) for cell in _cells(one, rates)]) for one in listed]


def _cells(one: PeerInfo, rates: Rates) -> Sequence[str]:
    connected, way = one.state == "connected", rates.peers.get(one.did or "", Way())
    return (
        one.name or "?",
        one.path if connected else f"({one.state})",
        f"{one.rtt_ms:.1f} ms" if connected and one.rtt_ms is not None else "",
        _rate(way.come),
        _rate(way.go),
        in_step(one),
        textwrap.shorten(one.last_error, ERROR_MAX, placeholder="…"),
    )


def in_step(one: PeerInfo) -> str:
    """Say whether a peer holds the same, in a few words."""
    if one.syncing:
        return "syncing"
    if one.behind_here is None or one.behind_there is None:
        return "not compared"
    parts = [
        f"{count} {words}" for count, words in ((one.behind_here, "to come"), (one.behind_there, "to go")) if count
    ]
    return ", ".join(parts) or ("in step" if one.state == "connected" else "was in step")


def traffic(reading: Reading, rates: Rates, width: int) -> str:
    """Say what passes a second, in all and for what; a line each, so many columns wide."""
    if reading.traffic is None:
        return "networking is off: cis config set p2p.enabled true"
    lines = []
    for name in rates.busiest()[:PURPOSES_SHOWN]:
        way, past = rates.purposes.get(name, Way()), rates.past(name)
        most = f" most{_rate(max(past), '0 B/s'):>{_RATE_WIDTH}}"
        line = _line(name, _rate(way.come, "0 B/s"), _rate(way.go, "0 B/s")) + "  "
        lines.append(line + sparkline(past, width - len(line) - len(most)) + most)
    return _text(lines) or "nothing has passed lately"


def problems(reading: Reading) -> str:
    """Say what does not work and what to type about it, the newest first."""
    lines = list(_problems(reading))
    if len(lines) > PROBLEM_LINES:
        lines = [*lines[:PROBLEM_LINES], "and more: cis status"]
    return _text(lines) or "none"


def _problems(reading: Reading) -> Iterator[str]:
    status = reading.status
    if status.removed_by is not None:
        yield f"this node is no member any more: it was removed by {status.removed_by}"
        yield "  try: an admin's `cis invite`, then `cis join` here"
    yield from problem_lines(status)
    if status.quarantined:
        yield f"{', '.join(status.quarantined)} in quarantine: nothing is exchanged"
    for name, left_s in status.banned.items():
        yield f"{name} is shut out for another {ago(left_s)}: it broke the protocol"


def details(reading: Reading, rates: Rates, did: str) -> str:
    """Say all that is known of a peer."""
    peer = next((one for one in reading.peers if one.did == did), None)
    if peer is None:
        return "it is no member any more"
    lines = [
        *peer_lines(peer),
        *(line for one in reading.connections if one.did == did for line in connection_lines(one)),
    ]
    flows = (
        next((one for one in reading.traffic.peers if one.did == did), None) if reading.traffic is not None else None
    )
    if flows is not None:
        way = rates.peers.get(did, Way())
        lines.append(f"traffic since the node started; now {_rate(way.come, '0 B/s')} in, {_rate(way.go, '0 B/s')} out")
        lines += [
            "  " + _line(name, size(flow.bytes_in), size(flow.bytes_out))
            for name, flow in (*flows.purposes.items(), ("all", flows.total))
        ]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(escaped, lines))


def _line(name: str, come: str, go: str) -> str:
    return f"{name:<{_PURPOSE_WIDTH}}{come:>{_RATE_WIDTH}} in{go:>{_RATE_WIDTH}} out"


def _rate(bytes_s: float, nothing: str = "") -> str:
    return f"{size(bytes_s)}/s" if bytes_s >= 1 else nothing


def _count(count: int, what: str, many: str = "") -> str:
    return f"{count} {what if count == 1 else many or what + 's'}"
