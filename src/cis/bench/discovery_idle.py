"""What each way of finding sends while there is nothing to do, counted from the packets on loopback.

Packets are read by a socket of the kind ``AF_PACKET``, which Linux gives to whoever may capture (root, or the right
``CAP_NET_RAW``), and belong to a node if one of its sockets is at either end; which these are the system tells
(``/proc``). Counted is what IP carries, headers included, both ways. What its QUIC socket sends and receives is counted
apart. mDNS has one port for all nodes of a machine: its packets are those that name the service, and a node is charged
the share it sends of them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from cis.bench.finding import Bed, Couple, Homes, anchor_bed, dht_bed, mdns_bed, met, static_bed

LULL_S = 10.0
"""Let what follows a connection pass."""
_IPV4 = 0x0800  # of one protocol only what arrives is read, so each packet once
_PACKET_BYTES_MAX = 65_536
_TCP, _UDP = 6, 17
_MDNS_PORT = 5353
_RECEIVE_BYTES = 8 << 20


def why_not_counted() -> str | None:
    """Say why packets cannot be counted here, if so."""
    if not hasattr(socket, "AF_PACKET"):
        return "packets are counted on Linux alone"
    try:
        Packets().close()
    except OSError as error:
        return f"packets cannot be counted: {error.strerror} (it takes root, or the right CAP_NET_RAW)"
    return None


class Packets:
    """Counts what passes on loopback, by ports, and of mDNS what names a service of ``services``."""

    def __init__(self, services: Sequence[bytes] = ()) -> None:
        self.by_ports: Counter[tuple[int, int]] = Counter()
        self.by_service: Counter[bytes] = Counter()
        self._services = tuple(services)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._socket.close()

    def of(self, ports: set[int]) -> int:
        """Return the bytes that came from or went to these ports."""
        return sum(count for ends, count in self.by_ports.copy().items() if ports.intersection(ends))

    def _read(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                self._count(self._socket.recv(_PACKET_BYTES_MAX))

    def _count(self, packet: bytes) -> None:
        at = (packet[0] & 0x0F) * 4
        if packet[9] not in {_TCP, _UDP} or len(packet) < at + 4:
            return
        source, target = struct.unpack_from(">HH", packet, at)
        if _MDNS_PORT in {source, target}:
            self.by_service.update({one: len(packet) for one in self._services if one in packet})
        else:
            self.by_ports[source, target] += len(packet)


def ports_of(pid: int) -> set[int]:
    """Return the ports of a process's TCP and UDP sockets."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held.add(str(entry.readlink()))
    ports = set()
    for table in ("tcp", "udp"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in held:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports - {0, _MDNS_PORT}


def idle_traffic(homes: Homes, providers: Sequence[str], nodes: int, seconds: float) -> dict[str, float]:
    """Run two connected nodes for each provider, all at once, and watch; returns bytes a second of one node."""
    with contextlib.ExitStack() as kept:
        beds = {name: kept.enter_context(_bed(name, nodes)) for name in ("static", *providers)}
        couples = {name: kept.enter_context(met(bed, homes)) for name, bed in beds.items()}
        services = {name: _label(bed) for name, bed in beds.items() if name == "mdns"}
        time.sleep(LULL_S)
        with Packets(list(services.values())) as packets:
            ports, began = _ports(couples), time.monotonic()
            time.sleep(seconds)
            elapsed_s = time.monotonic() - began
            after = _ports(couples)
        rates = {name: packets.of(ports[name] | after[name]) / elapsed_s for name in couples}
        rates |= {name: packets.by_service[label] / 2 / elapsed_s for name, label in services.items()}
        quic = packets.of({couples["static"].answers[1]["port"]}) / elapsed_s
    return {**{name: rates[name] for name in providers}, "connection": quic}


@contextlib.contextmanager
def _bed(name: str, nodes: int) -> Iterator[Bed]:
    if name == "dht":
        with dht_bed(nodes) as (bed, _):
            yield bed
    else:
        with {"static": static_bed, "mdns": mdns_bed, "anchor": anchor_bed}[name]() as bed:
            yield bed


def _ports(couples: dict[str, Couple]) -> dict[str, set[int]]:
    """The ports by which the second node of each couple finds others."""
    return {name: ports_of(one.second.pid) - {one.answers[1]["port"]} for name, one in couples.items()}


def _label(bed: Bed) -> bytes:
    """The service of a bed as DNS writes its first label."""
    label = str(bed.settings["p2p.discovery.service_name"]).partition(".")[0].encode()
    return bytes([len(label)]) + label
