"""A UDP port of the home's router that leads to ours, by PCP, NAT-PMP or UPnP-IGD.

::

    mapper = Mapper(port, on_change=lambda: print(mapper.mapping))
    group.create_task(mapper.run())    # asks, renews, and removes the mapping when cancelled

It asks for our own UDP port and nothing else. What a router says is anybody's word on the local network: answers
are bounded in size and time, URLs lead nowhere but to the host that named them (`links`), and its outer address
counts only where it is a public one.
"""

from cis.reach.portmap.gateway import Gateway, default_gateway
from cis.reach.portmap.mapper import Mapper
from cis.reach.portmap.values import Mapping, Outcome, PortmapFacts, ProtocolFacts, ProtocolName

__all__ = [
    "Gateway",
    "Mapper",
    "Mapping",
    "Outcome",
    "PortmapFacts",
    "ProtocolFacts",
    "ProtocolName",
    "default_gateway",
]
