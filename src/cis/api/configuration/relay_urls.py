"""How STUN and TURN servers are written (RFC 7064, RFC 7065), and what is meant by it.

::

    parse_stun("stun.example.net")                                # ("stun.example.net", 3478)
    parse_turn("turn:turn.example.net:3478?transport=tcp")        # Relay("turn.example.net", 3478, "tcp")
    parse_turn("turns:turn.example.net")                          # Relay("turn.example.net", 5349, "tls")
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from cis.discovery.address import split_endpoint
from cis.errors import UsageError

STUN_PORT = 3478
TURNS_PORT = 5349
_FORM = "write turn:HOST:PORT, turn:HOST:PORT?transport=tcp or turns:HOST:PORT"

Transport = Literal["udp", "tcp", "tls"]


class Relay(NamedTuple):
    """Where a TURN server is and how it is talked to."""

    host: str
    port: int
    transport: Transport


def parse_stun(text: str) -> tuple[str, int]:
    """Host and port of a STUN server, ``stun:`` before it or not; `UsageError` for anything else."""
    text = text.strip()
    if text.lower().startswith("stuns:"):
        raise UsageError(f"{text!r}: STUN over TLS tells no UDP address: write HOST:PORT of a plain STUN server")
    return split_endpoint(text[5:] if text.lower().startswith("stun:") else text, STUN_PORT)


def parse_turn(url: str) -> Relay:
    """Read the address of a relay; `UsageError` for anything else, and for a transport there is not."""
    scheme, colon, rest = url.strip().partition(":")
    if not colon or scheme.lower() not in {"turn", "turns"} or "@" in rest:
        raise UsageError(f"no TURN url: {_FORM}; username and credential are keys of their own")
    place, question, query = rest.partition("?")
    secure = scheme.lower() == "turns"
    host, port = split_endpoint(place, TURNS_PORT if secure else STUN_PORT)
    transport = query.lower().removeprefix("transport=")
    if question and (not query.lower().startswith("transport=") or transport not in {"udp", "tcp"}):
        raise UsageError(f"?{query}: the transport of a relay is ?transport=udp or ?transport=tcp; {_FORM}")
    if secure:
        if transport == "udp":
            raise UsageError("turns: over UDP (DTLS) is not spoken here: leave ?transport=udp out, it runs over TLS")
        return Relay(host, port, "tls")
    return Relay(host, port, "tcp" if transport == "tcp" else "udp")
