"""A removal in the running node: done at once, then told to the members that are connected, and counted who heard."""

from __future__ import annotations

import asyncio

import msgspec

from cis.api.membership.trust_schema import Revoked, RevokeMember
from cis.api.membership.trusting import TrustOperations
from cis.api.peers.network import NetworkOperations
from cis.api.peers.network_schema import SyncNow
from cis.errors import Unavailable


class RevokingOperations:
    """Removes, and waits for those connected to hear: a session that ends well has compared memberships."""

    def __init__(self, trusting: TrustOperations, network: NetworkOperations) -> None:
        self._trusting = trusting
        self._network = network

    async def revoke(self, request: RevokeMember) -> Revoked:
        """Remove a node; who has not heard when it answers hears later."""
        done = await asyncio.to_thread(self._trusting.revoke, request)
        try:
            sessions = await self._network.sync(SyncNow(timeout_s=request.timeout_s))
        except Unavailable:  # nobody is connected
            return done
        told = {one.name for one in sessions if not one.error}
        heard = tuple(name for name in done.unheard if name in told)
        unheard = tuple(name for name in done.unheard if name not in told)
        return msgspec.structs.replace(done, heard=heard, unheard=unheard)
