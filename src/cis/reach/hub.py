"""The STUN side of the endpoint's one socket, shared by all searches for a path and by questions to servers.

The endpoint hands over what RFC 7983 says is STUN; here a request goes to the session its username names
(RFC 8445 §7.3), a response to the transaction it answers, and the rest nowhere: a node is no STUN server, and
says nothing to strangers. Addresses are spelled plainly inside this room, and as each carrier spells them outside.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from cis.errors import TimedOut, Unavailable
from cis.net.paths import unmapped
from cis.reach.names import Address, Names
from cis.reach.stun_header import is_request, transaction_id

if TYPE_CHECKING:
    from aioice import stun

    from cis.net import Endpoint
    from cis.net.paths import Carrier
    from cis.net.qh3_core import RawAddress
    from cis.reach.stun_client import Reflexive, Transaction

    OnRequest = Callable[[stun.Message, Address, Carrier], None]
    """Gets each request that names a session, not yet authenticated."""

# It writes addresses at INFO and whole messages, user names included, at DEBUG.
logging.getLogger("aioice").setLevel(logging.WARNING)


class IceHub:
    """Owns ``endpoint.on_stun``; one for each endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, OnRequest] = {}
        self._transactions: dict[bytes, Transaction] = {}
        self.names = Names()
        endpoint.on_stun = self._on_stun

    @property
    def carrier(self) -> Carrier:
        """The endpoint's own socket."""
        return self._endpoint.carrier

    @property
    def takes_ipv6(self) -> bool:
        """Whether the socket reaches IPv6 addresses at all."""
        return ":" in self._endpoint.address[0]

    @property
    def searching(self) -> bool:
        """Whether any session is open."""
        return bool(self._sessions)

    def enter(self, ufrag: str, on_request: OnRequest) -> None:
        """Hand the requests that name this username fragment to a session from now on."""
        assert ufrag not in self._sessions
        self._sessions[ufrag] = on_request

    def leave(self, ufrag: str) -> None:
        """Ignore its requests from now on."""
        self._sessions.pop(ufrag, None)

    def spell(self, address: Address, carrier: Carrier) -> RawAddress:
        """Write an address as its carrier does."""
        host, port = address
        if carrier.relayed or not self.takes_ipv6:
            return address
        return (host if ":" in host else f"::ffff:{host}", port, 0, 0)

    def send(self, message: bytes, address: Address, carrier: Carrier) -> OSError | None:
        """Send one STUN message."""
        return carrier.send([message], self.spell(address, carrier))

    def begin(
        self,
        request: stun.Message,
        address: Address,
        carrier: Carrier,
        *,
        key: bytes | None = None,
        answers_from: Address | None = None,
    ) -> Transaction:
        """Begin a transaction; ``finish`` it whatever becomes of it."""
        from cis.reach.stun_client import Transaction  # noqa: PLC0415 - loads aioice, which a node at rest does without

        transaction = Transaction(
            request, lambda data: self.send(data, address, carrier), key=key, answers_from=answers_from
        )
        self._transactions[transaction.id] = transaction
        return transaction

    def finish(self, transaction: Transaction) -> None:
        """Ignore its answers from now on."""
        self._transactions.pop(transaction.id, None)

    async def binding(self, server: Address, timeout_s: float, *, change: tuple[bool, bool] | None = None) -> Reflexive:
        """Ask a STUN server, given by name or address, how it sees this socket.

        ``change`` asks for an answer from another IP address, another port (RFC 5780 §7.2). Raises TimedOut where
        none comes, Unavailable where the server cannot be asked or refuses.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(await self.resolve(*server), change)
        except TimeoutError:
            raise TimedOut(f"no answer within {timeout_s:g} s") from None

    async def resolve(self, host: str, port: int) -> Address:
        """Find an address of a server in a family this socket reaches; Unavailable where there is none."""
        for address in await self.names.lookup(host, port):
            if self.takes_ipv6 or ":" not in address[0]:
                return address
        raise Unavailable("the name has no address here; check it, and the resolver")

    async def _ask(self, address: Address, change: tuple[bool, bool] | None) -> Reflexive:
        from aioice import stun  # noqa: PLC0415 - as above

        from cis.reach.stun_client import binding_request, reflexive_of  # noqa: PLC0415 - as above

        answers_from = address if change is None else None
        transaction = self.begin(binding_request(change), address, self.carrier, answers_from=answers_from)
        try:
            response, _ = await transaction.run()
        except stun.TransactionTimeout:
            raise TimedOut("no answer") from None
        except stun.TransactionError as error:
            raise Unavailable(str(error)) from error
        finally:
            self.finish(transaction)
        if reflexive := reflexive_of(response, transaction.latency_s):
            return reflexive
        raise Unavailable("the server answered without an address; it is no STUN server")

    def _on_stun(self, data: bytes, raw: RawAddress, carrier: Carrier) -> None:
        """Take a datagram; raises `PeerFault` on a malformed one that somebody here would have waited for."""
        transaction = None if is_request(data) else self._transactions.get(transaction_id(data))
        if transaction is None and not (is_request(data) and self._sessions):
            return
        from aioice import stun  # noqa: PLC0415 - as above

        from cis.reach.stun_client import read_message  # noqa: PLC0415 - as above

        message = read_message(data)
        if transaction is None:
            self._on_request(message, unmapped(raw), carrier)
        elif message.message_class in (stun.Class.RESPONSE, stun.Class.ERROR):
            transaction.on_response(message, unmapped(raw))

    def _on_request(self, message: stun.Message, address: Address, carrier: Carrier) -> None:
        from aioice import stun  # noqa: PLC0415 - as above

        said = message.attributes
        session = self._sessions.get(said.get("USERNAME", "").partition(":")[0])
        complete = "PRIORITY" in said and "MESSAGE-INTEGRITY" in said
        if session is not None and complete and message.message_method == stun.Method.BINDING and not _scoped(address):
            session(message, address, carrier)


def _scoped(address: Address) -> bool:
    """Whether it is a link-local IPv6 address, which means something only beside the interface it came in by."""
    return ":" in address[0] and ipaddress.ip_address(address[0]).is_link_local
