"""What carries bytes: our endpoint, bare qh3, aioquic, py-libp2p; each is two processes on loopback, in turn.

Throughput is of one stream on a fresh connection, until the receiver has said that it has all; so much is sent that
it takes about a second. A handshake runs from the asking to a connection that can be used: with cis that of a member
to a running node, both authenticated and authorised, with py-libp2p a secured and multiplexed connection, with the
others TLS alone.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.contest import reason_of
from cis.bench.bare_pair import Yardstick
from cis.bench.connect import bench_connect
from cis.bench.figures import BenchFailed, median, percentile, say

FIRST_BYTES = 1_000_000
ROUND_S = 1.0
BYTES_MAX = 256_000_000
SEND_S = 120.0


@dataclass(frozen=True, slots=True)
class Carrier:
    """One row of the table."""

    name: str
    title: str
    module: str = ""
    """The contestant's process, where it is none of `cis.bench`."""
    argument: str = ""
    package: str = ""
    """Whose version is told, and without which it cannot take part."""
    authenticated: str = ""

    def start(self) -> Yardstick:
        """Start both ends."""
        command = [sys.executable, "-m", f"bench.peers.{self.module}", self.argument] if self.module else ()
        return Yardstick(self.name, command)


CARRIERS = (
    Carrier("bare", "bare qh3", package="qh3", authenticated="the listener, by TLS"),
    Carrier("carrier", "cis.net", package="cis-node", authenticated="both, and the right to connect"),
    Carrier("aioquic", "aioquic", "aioquic_end", "", "aioquic", "the listener, by TLS"),
    Carrier("libp2p-tcp", "py-libp2p, TCP", "libp2p_end", "tcp", "libp2p", "both, by Noise"),
    Carrier("libp2p-quic", "py-libp2p, QUIC", "libp2p_end", "quic", "libp2p", "both, by TLS"),
)


@dataclass(frozen=True, slots=True)
class Carried:
    """MB (10⁶ bytes) a second and milliseconds."""

    mb_per_s: float
    handshake_p50_ms: float
    handshake_p99_ms: float
    version: str


def measure(rounds: int, handshakes: int) -> tuple[dict[str, Carried], dict[str, str]]:
    """Return what each carried, and why others did not, by name."""
    carried: dict[str, Carried] = {}
    left_out: dict[str, str] = {}
    say(f"transports: {rounds} rounds, {handshakes} handshakes each")
    ours = bench_connect(handshakes)
    for carrier in CARRIERS:
        try:
            version = importlib.metadata.version(carrier.package)
        except importlib.metadata.PackageNotFoundError:
            left_out[carrier.name] = f"{carrier.package} is not installed"
            continue
        say(f"  {carrier.title} …")
        try:
            with carrier.start() as pair:
                speeds = _speeds(pair.send, rounds)
                if carrier.name == "carrier":
                    p50_ms, p99_ms = ours.p50_ms, ours.p99_ms
                else:
                    taken = [pair.handshake() * 1e3 for _ in range(handshakes)]
                    p50_ms, p99_ms = percentile(taken, 50), percentile(taken, 99)
                carried[carrier.name] = Carried(median(speeds), p50_ms, p99_ms, version)
        except BenchFailed as failure:
            left_out[carrier.name] = reason_of(failure)
    return carried, left_out


def _speeds(send: Callable[[int], float], rounds: int) -> list[float]:
    """Return each round's MB a second, of as many bytes as take about a second."""
    size = FIRST_BYTES
    while (elapsed_s := send(size)) < ROUND_S / 2 and size < BYTES_MAX:
        size = min(BYTES_MAX, int(size * min(8.0, ROUND_S / elapsed_s)))
    return [size / send(size) / 1e6 for _ in range(rounds)]
