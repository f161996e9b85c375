"""What mDNS costs a local network: so many nodes on a bridge, counted by an observer on it, as root.

    python -m tools.lan_traffic --nodes 2 --seconds 300        # two nodes at rest
    python -m tools.lan_traffic --nodes 100 --seconds 120      # a hundred that start at once

All nodes of a run are on hosts of their own up to `HOSTS_MAX`, and share these beyond it. The first `--settle` seconds
are the start, told apart; bytes are those of whole Ethernet frames, of IPv4 and IPv6 together.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import threading
import time
from random import Random

from cis.discovery.mdns import Mdns
from cis.model import NodeId
from tests.announcing import PORT, Tagged
from tests.net.lan.bed import Frame, Lan
from tests.net.nat.internet import Host

HOSTS_MAX = 10
_KEY = b"k" * 32


class Member(Tagged):
    """One node of a cluster, which announces itself and knows the others."""

    def __init__(self, number: int, members: int) -> None:
        nodes = [NodeId(other.to_bytes(32, "big")) for other in range(members)]
        super().__init__(nodes[number], nodes, _KEY, PORT + number)


def run_on(host: Host, members: list[Member], seconds: float) -> None:
    """Run nodes on a host for so long."""

    async def main() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for member in members:
                    group.create_task(Mdns(rng=Random()).run(member, lambda _: None))

    with host.namespace.entered():
        asyncio.run(main())


def describe(frames: list[Frame], began: float, ended: float) -> str:
    """Say how much passed in a time."""
    seen = [frame for frame in frames if began <= frame.at < ended]
    seconds = collections.Counter(int(frame.at - began) for frame in seen)
    lasted = ended - began
    return (
        f"{len(seen)} datagrams, {sum(frame.size for frame in seen)} bytes: {len(seen) / lasted:.2f} a second, "
        f"{sum(frame.size for frame in seen) / lasted:.1f} B/s; at most {max(seconds.values(), default=0)} in a second"
    )


def main() -> None:
    """Measure, and print one line for the start and one for the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--settle", type=float, default=40.0)
    chosen = parser.parse_args()
    with Lan() as lan:
        hosts = [lan.host(f"n{number}", "home") for number in range(min(chosen.nodes, HOSTS_MAX))]
        members = [Member(number, chosen.nodes) for number in range(chosen.nodes)]
        whole = chosen.settle + chosen.seconds
        work = [
            threading.Thread(target=run_on, args=(host, members[at :: len(hosts)], whole))
            for at, host in enumerate(hosts)
        ]
        with lan.observer("home") as observer:
            began = time.monotonic()
            for thread in work:
                thread.start()
            while time.monotonic() < began + whole:
                observer.heard()  # read often: each frame is dated when it is read
                time.sleep(0.05)
            frames = observer.heard()
            for thread in work:
                thread.join()
    print(f"{chosen.nodes} nodes, the first {chosen.settle:g} s: {describe(frames, began, began + chosen.settle)}")
    print(
        f"{chosen.nodes} nodes, then for {chosen.seconds:g} s: {describe(frames, began + chosen.settle, began + whole)}"
    )


if __name__ == "__main__":
    main()
