"""What an anchor counts, in the text format of Prometheus (0.0.4): no address, no tag, no number of a room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cis.anchor.switchboard import Switchboard
from cis.anchor.tunnels import Tunnels


def metrics_text(switchboard: Switchboard, stun_answered: int, tunnels: Tunnels | None = None) -> str:
    """Return all metrics."""
    return "".join(_lines(switchboard, stun_answered, tunnels))


def _lines(switchboard: Switchboard, stun_answered: int, tunnels: Tunnels | None) -> Iterator[str]:
    counts, carried = switchboard.counts, tunnels.counts if tunnels is not None else Counter[str]()
    gauges = {
        "connections": (switchboard.connections, "nodes connected now"),
        "records": (switchboard.shelf.count, "records kept now"),
        "record_bytes": (switchboard.shelf.bytes, "bytes of these"),
        "rooms": (len(switchboard.rooms), "rooms open for pairing now"),
        "waiting_bytes": (switchboard.waiting.bytes, "bytes that wait to be sent"),
        "tunnel_channels": (tunnels.channels if tunnels is not None else 0, "channels of the tunnel open now"),
        "tunnel_waiting_bytes": (tunnels.waiting if tunnels is not None else 0, "bytes that wait in the tunnel"),
    }
    for name, (value, meaning) in gauges.items():
        yield f"# HELP cis_anchor_{name} {meaning}\n# TYPE cis_anchor_{name} gauge\ncis_anchor_{name} {value}\n"
    totals = {
        "connects": (counts["connects"], "connections let in"),
        "posts_heard": (counts["posts_heard"], "posts that somebody listened to"),
        "refused": (counts["refused"], "requests that were refused"),
        "malformed": (counts["malformed"], "messages that were none"),
        "stun_answers": (stun_answered, "answers given over STUN"),
        "tunnel_joined": (carried["joined"], "channels of the tunnel that both ends came to"),
        "tunnel_bytes": (carried["bytes"], "bytes passed on by the tunnel"),
        "tunnel_dropped_bytes": (carried["dropped_bytes"], "bytes the tunnel dropped, as the other end was slow"),
        "tunnel_refused": (carried["refused"] + carried["malformed"], "connections to the tunnel that were refused"),
    }
    for name, (value, meaning) in totals.items():
        yield f"# HELP cis_anchor_{name}_total {meaning}\n# TYPE cis_anchor_{name}_total counter\n"
        yield f"cis_anchor_{name}_total {value}\n"
    yield "# HELP cis_anchor_messages_total messages taken, by kind\n# TYPE cis_anchor_messages_total counter\n"
    for name in sorted(name for name in counts if name[:1].isupper()):
        yield f'cis_anchor_messages_total{{kind="{name}"}} {counts[name]}\n'
    yield "# HELP cis_anchor_limited_total what a rate did not let through, by limit\n"
    yield "# TYPE cis_anchor_limited_total counter\n"
    for name, value in switchboard.rates.refused.items():
        yield f'cis_anchor_limited_total{{limit="{name}"}} {value}\n'
