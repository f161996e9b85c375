"""The network loses packets and falls apart: three real nodes in namespaces, each on its own line to one switch.

Each line is good, slow, narrow, losing in bursts, or cut, and changes at random. In the end all are good, and all nodes
come to the same. It takes root on Linux.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

from faults.nodes import Crowd, Node, cluster, trial
from faults.report import Fault, Report, Task, main
from tests.net.nat import namespaces
from tests.net.nat.delaylink import Weather
from tests.net.nat.link import Link

EVERY_MAX_S = 4.0
_WEATHER = {
    "good": Weather(),
    "cut": Weather(loss=1.0),
    "slow": Weather(0.2),
    "slow and losing": Weather(0.1, 0.1, 8.0),
    "losing much": Weather(0.0, 0.3, 3.0),
    "narrow": Weather(0.02, bytes_per_s=20_000.0),
}
_PORT = 7677
_BRIDGE, _BRIDGE_ADDRESS = "br0", "02:00:00:00:00:01"


def _wire(nodes: Sequence[Node], stack: ExitStack) -> list[Link]:
    """Put each node into a namespace, on a line of its own to one switch."""
    core, *hosts = namespaces.make("fcore", *(f"f{number}" for number in range(len(nodes))))
    stack.callback(namespaces.remove, [core, *hosts])
    core.set({"ipv6/conf/default/disable_ipv6": "1"})
    core.ip(f"link add {_BRIDGE} address {_BRIDGE_ADDRESS} type bridge", f"link set {_BRIDGE} up")
    links = []
    for number, (node, host) in enumerate(zip(nodes, hosts, strict=True)):
        host.set({"ipv6/conf/default/disable_ipv6": "1"})
        links.append(stack.enter_context(Link(host, "eth0", core, _BRIDGE, f"t{number}")))
        node.host, node.port = f"10.77.0.{number + 1}", _PORT
        host.ip(f"addr add {node.host}/24 dev eth0", "link set eth0 up")
        node.before = tuple(host.command([]))
    return links


def _changing(links: Sequence[Link]) -> Callable[[Crowd, int], Awaitable[None]]:
    async def change(crowd: Crowd, count: int) -> None:
        async for _ in crowd.rounds(count, EVERY_MAX_S):
            name = crowd.rng.choice(list(_WEATHER))
            crowd.rng.choice(links).set(_WEATHER[name])
            crowd.counts[f"lines that became {name}"] += 1
        for link in links:
            carried, lost = link.set(_WEATHER["good"])
            crowd.counts["packets carried"] += carried
            crowd.counts["packets lost"] += lost

    return change


def run(task: Task, report: Report) -> None:
    """Have the lines change that often."""
    with cluster("first", "second", "third") as nodes, ExitStack() as stack:
        links = _wire(nodes, stack)
        asyncio.run(trial(task, report, nodes, _changing(links)))


FAULT = Fault("network", 100, "times that a line changes", run, namespaces.unfit)

if __name__ == "__main__":
    main(FAULT)
