"""Connections that stand, authenticated, and over which nothing is exchanged: the access list says quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cis.errors import Fault
from cis.model import NodeId
from cis.net import Connection, ConnectionLost
from cis.net.closing import CloseReason


class Quarantine:
    """Holds one connection of each node; belongs to the loop's thread."""

    def __init__(self) -> None:
        self._held: dict[NodeId, Connection] = {}

    def nodes(self) -> list[NodeId]:
        """Return whom there is such a connection with."""
        return list(self._held)

    async def hold(self, connection: Connection, node: NodeId) -> CloseReason:
        """Refuse every stream until the connection ends; a second one with the same node ends at once."""
        if node in self._held:
            connection.close(Fault.DUPLICATE, "another connection with this node stays")
            return await connection.wait_closed()
        self._held[node] = connection
        try:
            while True:
                stream = await connection.accept_stream()
                stream.reset(Fault.UNAUTHORISED)
        except ConnectionLost as lost:
            return lost.reason
        finally:
            del self._held[node]

    def part(self, gone: Mapping[NodeId, str]) -> None:
        """Close the connections with nodes that are members no more, for the reason given with each."""
        for node, reason in gone.items():
            if node in self._held:
                self._held[node].close(Fault.UNAUTHORISED, reason)

    def release(self, stays: Callable[[NodeId], bool]) -> None:
        """Close the connections with all that are not to stay here, so that they are judged anew when they return."""
        for node, connection in list(self._held.items()):
            if not stays(node):
                connection.close(Fault.SHUTDOWN, "the quarantine there has ended")
