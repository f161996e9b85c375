"""The checks of one ICE agent (RFC 8445 §7): aioice's state machine, on sockets that are not its own.

What is decided differently here, each for a reason seen behind real NATs:

- a check that arrives makes the check of the same pair that is under way go out again at once (§7.3.1.4): its last
  sending was probably lost to the filter that has just been opened;
- with one component there is nothing to freeze pairs for: all are ready to be checked;
- pairs and candidates are capped (§6.1.2.5), so that a peer with many candidates cannot push out the relayed pairs,
  which always work;
- nobody unauthenticated is answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioice import Candidate, Connection, stun
from aioice.ice import CandidatePair, StunProtocol
from aioice.utils import random_string

from cis.reach.names import Address
from cis.reach.pairs import RELAY_PRIORITY, REMOTE_MAX, State, has_room, is_relayed, surplus, worth_checking

if TYPE_CHECKING:
    from cis.net.paths import Carrier
    from cis.reach.hub import IceHub
    from cis.reach.stun_client import Transaction

_UFRAG_LENGTH = 8
_PASSWORD_LENGTH = 32


class Side(StunProtocol):
    """One carrier as one agent uses it: aioice's protocol without a socket."""

    def __init__(self, agent: Connection, hub: IceHub, carrier: Carrier, candidate: Candidate) -> None:
        super().__init__(agent)
        self.carrier = carrier
        self.local_candidate = candidate
        self._hub = hub
        self._asking: dict[Address, Transaction] = {}

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,  # noqa: ARG002 - aioice's; ours are the transaction's
    ) -> tuple[stun.Message, Address]:
        """Carry out a transaction; the last one to an address is the one that ``nudge`` repeats."""
        transaction = self._hub.begin(request, addr, self.carrier, key=integrity_key)
        self._asking[addr] = transaction
        try:
            return await transaction.run()
        finally:
            self._hub.finish(transaction)
            if self._asking.get(addr) is transaction:
                del self._asking[addr]

    def nudge(self, addr: Address) -> None:
        """Send the request under way to this address again."""
        if transaction := self._asking.get(addr):
            transaction.nudge()

    def send_stun(self, message: stun.Message, addr: Address) -> None:
        self._hub.send(bytes(message), addr, self.carrier)

    async def close(self) -> None:
        """The carrier is not ours to close."""


class Checks(Connection):
    """Makes pairs and checks them while ``_group`` runs; the `Agent` says which, and what follows from it."""

    def __init__(self, *, controlling: bool, direct_only: bool) -> None:
        super().__init__(
            ice_controlling=controlling,
            local_username=random_string(_UFRAG_LENGTH),
            local_password=random_string(_PASSWORD_LENGTH),
        )
        self.seen: dict[CandidatePair, Address] = {}
        """where the peer sees us by each pair that was answered"""
        self._direct_only = direct_only
        self._group: asyncio.TaskGroup | None = None

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, best first."""
        return self._check_list

    def add_side(self, side: Side) -> None:
        """Use another carrier from now on."""
        self._protocols.append(side)
        for candidate in self._remote_candidates:
            self._pair_remote_candidate(candidate)
        self.sort_check_list()

    def drop_side(self, side: Side) -> None:
        """The carrier is gone: what it was used for has failed."""
        self._protocols.remove(side)
        for pair in self._check_list:
            if pair.protocol is side:
                if pair.task is not None:
                    pair.task.cancel()
                    pair.task = None
                self.check_state(pair, State.FAILED)

    def add_remote(self, candidate: Candidate) -> bool:
        """Take a candidate of the peer; returns False for one beyond the cap, which is left out."""
        room = len(self._remote_candidates) < REMOTE_MAX and not self._closing
        if room:
            self._add_remote_candidate(candidate, candidate.host)
        return room

    def end_remote(self) -> None:
        """No more candidates will come from the peer."""
        self._remote_candidates_end = True

    def request_received(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Answer a check, if it is the peer's; others get no answer, which would tell them of the session."""
        authentic = self._valid_username(message.attributes["USERNAME"]) and message.check_message_integrity(
            self.local_password.encode()
        )
        if authentic:
            super().request_received(message, addr, protocol)

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Learn from an authentic check that the pair it came by works in that direction (§7.3.1)."""
        pair = self._pair_of(protocol, addr)
        from_relay = message.attributes["PRIORITY"] <= RELAY_PRIORITY
        if self._check_list_done:
            if pair is not None and "USE-CANDIDATE" in message.attributes and not self.ice_controlling:
                self._nominated[1] = pair  # our answer to an earlier nomination never arrived
            return
        if (self._direct_only and from_relay) or (pair is None and not self._has_room(protocol)):
            return
        super().check_incoming(message, addr, protocol)
        pair = self._pair_of(protocol, addr)
        if pair is None:
            return
        if from_relay and pair.remote_candidate.type == "prflx":
            pair.remote_candidate.type = "relay"
        if pair.state == State.IN_PROGRESS and isinstance(protocol, Side):
            protocol.nudge(addr)

    def check_start_task(self, pair: CandidatePair) -> None:
        """Begin a check now, unless it is under way or over; one the peer triggers is not held back (§7.3.1.4)."""
        if pair.task is None and pair.state == State.WAITING and self._group is not None:
            pair.task = self._group.create_task(self.check_start(pair))

    def build_request(self, pair: CandidatePair, nominate: bool) -> stun.Message:  # noqa: FBT001 - aioice's
        """Let the priority of a check from a relay say so: its candidate may reach the peer later than the check."""
        request = super().build_request(pair, nominate)
        if pair.local_candidate.type == "relay":
            request.attributes["PRIORITY"] = RELAY_PRIORITY
        return request

    async def check_start(self, pair: CandidatePair) -> None:
        """Check a pair."""
        if not await self._check(pair):
            self.check_state(pair, State.FAILED)
        else:
            pair.nominated = pair.remote_nominated
            self.check_state(pair, State.SUCCEEDED)
        self.check_complete(pair)
        self._on_checked()

    async def _check(self, pair: CandidatePair) -> bool:
        """Send one check, again in the other role if both sides had the same (§7.2.5.1)."""
        for _ in range(2):
            self.check_state(pair, State.IN_PROGRESS)
            controlling = self.ice_controlling
            try:
                response, address = await self._ask(pair, nominate=False)
            except stun.TransactionError as error:
                if error.response is None or error.response.error_code != 487:
                    return False
                self.switch_role(ice_controlling=not controlling)
                continue
            mapped = response.attributes.get("XOR-MAPPED-ADDRESS")
            if address != pair.remote_addr or mapped is None:
                return False
            self.seen[pair] = mapped
            return True
        return False

    async def _ask(self, pair: CandidatePair, *, nominate: bool) -> tuple[stun.Message, Address]:
        assert self.remote_password is not None
        request = self.build_request(pair, nominate=nominate)
        key = self.remote_password.encode()
        return await pair.protocol.request(request, pair.remote_addr, integrity_key=key)

    def _pair_remote_candidate(self, remote_candidate: Candidate) -> None:
        """Pair as aioice does, within the caps."""
        super()._pair_remote_candidate(remote_candidate)
        self.sort_check_list()
        for pair in list(self._check_list):
            if pair.state == State.FROZEN:
                pair.state = State.WAITING
                if not worth_checking(pair) or (self._direct_only and is_relayed(pair)):
                    self._check_list.remove(pair)
        for pair in surplus(self._check_list):
            self._check_list.remove(pair)

    def _on_checked(self) -> None:
        """A check has succeeded or failed."""
        raise NotImplementedError

    def _pair_of(self, protocol: StunProtocol, addr: Address) -> CandidatePair | None:
        return next((p for p in self._check_list if p.protocol is protocol and p.remote_addr == addr), None)

    def _has_room(self, protocol: StunProtocol) -> bool:
        relayed = protocol.local_candidate.type == "relay"
        return not (relayed and self._direct_only) and has_room(self._check_list, relayed=relayed)
