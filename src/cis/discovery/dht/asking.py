"""Asking nodes of the DHT one thing each, and putting items there (BEP 5, BEP 32, BEP 43, BEP 44).

libtorrent's own searches wait up to 15 s for each dead node near the target before a put goes out, and there are dead
nodes everywhere. So items are sought and put from sockets of our own, where silence of a second is enough. What asks
here answers nobody. It says so (``ro``), which not all heed, so it has no id of its own either: each node is given its
own, which no node takes into its table.

Everything that comes in is a stranger's. A reply counts only if it comes from whom was asked, with the random number
that was sent along; a mutable item counts only with its signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from nacl import bindings
from nacl.exceptions import BadSignatureError

from cis.discovery.address import Source, dialable
from cis.discovery.dht.lookup import CLOSEST, ID_LENGTH, TOLD_MAX, Known, Lookup
from cis.discovery.dht.table import Address, address_of
from cis.errors import Unavailable

ANSWER_S = 1.0
VALUE_BYTES_MAX = 996
"""A string of BEP 44 at most: 1000 bytes with its bencoded length."""
SALT_BYTES_MAX = 64
NUMBER_MAX = (1 << 63) - 1
_DATAGRAM_MAX = 2048
_TOKEN_MAX = 128
_NODES = {socket.AF_INET: (b"nodes", 26), socket.AF_INET6: (b"nodes6", 38)}
"""Under what key nodes of a family are told, and the length of one: its id and address."""
_UNREADABLE = (ValueError, TypeError, KeyError, RuntimeError, OverflowError)

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Item:
    """A value that was found, of whatever bencoding knows, and its number where it is a mutable one."""

    value: Any
    number: int | None = None


@dataclass
class Found:
    """What a search came upon: who answered, with what allows to put there, and the newest item."""

    answered: list[Known] = field(default_factory=list)
    tokens: dict[Known, bytes] = field(default_factory=dict)
    item: Item | None = None
    on_first: Callable[[], None] = lambda: None
    """called when there is an item"""

    def take(self, item: Item | None) -> None:
        """Keep an item if it is newer than what there is."""
        before = self.item
        if item is not None and (before is None or (item.number or 0) > (before.number or 0)):
            self.item = item
            if before is None:
                self.on_first()


@dataclass(frozen=True)
class Sought:
    """What a search is for: an item by its hash, or a mutable one by its key and salt."""

    target: bytes
    key: bytes | None = None
    salt: bytes = b""

    @staticmethod
    def mutable(key: bytes, salt: bytes = b"") -> Sought:
        """The item under a key."""
        return Sought(sha1(key + salt, usedforsecurity=False).digest(), key, salt)


class _Socket(asyncio.DatagramProtocol):
    """Matches what comes in with what was asked."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self._decode = decode
        self._asked: dict[tuple[bytes, Address], asyncio.Future[Mapping[bytes, Any]]] = {}
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # of datagrams
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if not self._asked or len(data) > _DATAGRAM_MAX:
            return
        try:
            message = self._decode(data)
        except _UNREADABLE:
            return
        if not isinstance(message, dict) or not isinstance(mark := message.get(b"t"), bytes):
            return
        waiting = self._asked.get((mark, (address[0], address[1])))
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    @property
    def address(self) -> Address:
        """Where it is asked from."""
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    async def ask(self, node: Known, mark: bytes, datagram: bytes) -> Mapping[bytes, Any] | None:
        """Return the reply, None where none comes in time, or one of error."""
        key = (mark, (node.host, node.port))
        waiting = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            self.transport.sendto(datagram, (node.host, node.port))
            async with asyncio.timeout(ANSWER_S):
                message = await waiting
                reply = message.get(b"r")  # some put one beside an error
                return reply if message.get(b"y") == b"r" and isinstance(reply, dict) else None
        except (TimeoutError, OSError, ValueError, RuntimeError):  # the last is uvloop's, of a socket that is closed
            return None
        finally:
            del self._asked[key]


class Asker:
    """Searches and puts; made by `open`, ended by `close`. ``public`` keeps to addresses of the internet."""

    def __init__(self, lt: Any, *, public: bool) -> None:  # noqa: ANN401 - the library, for its bencoding
        self._encode: Callable[[Any], bytes] = lt.bencode
        self._decode = lt.bdecode
        self._public = public
        self._sockets: dict[int, _Socket] = {}

    async def open(self, hosts: Iterable[str]) -> None:
        """Open a socket for each family among these addresses."""
        loop = asyncio.get_running_loop()
        for host in hosts:
            family = _family(host)
            if family not in self._sockets:
                with contextlib.suppress(OSError):
                    made = await loop.create_datagram_endpoint(lambda: _Socket(self._decode), local_addr=(host, 0))
                    self._sockets[family] = made[1]
        if not self._sockets:
            raise Unavailable("no UDP socket could be opened to ask the DHT by")

    def close(self) -> None:
        """Close the sockets; who waits for an answer gets none."""
        for one in self._sockets.values():
            one.transport.close()

    @property
    def addresses(self) -> list[Address]:
        """Where it is asked from."""
        return [one.address for one in self._sockets.values()]

    async def search(self, sought: Sought, seeds: Iterable[Known], found: Found) -> None:
        """Search through all families at once, and fill in what is found as it comes."""
        known = list(seeds)
        async with asyncio.TaskGroup() as group:
            for family in self._sockets:
                near = [node for node in known if _family(node.host) == family and self._may_ask(node)]
                group.create_task(self._search(sought, near, found, family))

    async def put(self, sought: Sought, value: bytes, found: Found, sign: Sign | None) -> int:
        """Put a value at the nodes a search has found; returns how many took it."""
        arguments: dict[bytes, Any] = {b"v": value}
        if sign is not None and sought.key is not None:
            number = min(found.item.number or 0 if found.item is not None else 0, NUMBER_MAX - 1) + 1
            signature = sign(signed_part(self._encode(value), number, sought.salt))
            arguments |= {b"k": sought.key, b"seq": number, b"sig": signature}
            if sought.salt:
                arguments[b"salt"] = sought.salt
        near = [node for node in found.answered if node in found.tokens][: CLOSEST * len(self._sockets)]
        asked = (self._ask(node, b"put", {**arguments, b"token": found.tokens[node]}) for node in near)
        return sum(reply is not None for reply in await asyncio.gather(*asked))

    async def _search(self, sought: Sought, seeds: list[Known], found: Found, family: int) -> None:
        search = Lookup(sought.target, seeds, spread=self._public)
        asking: list[asyncio.Task[None]] = []

        async def ask(node: Known) -> None:
            reply = await self._ask(node, b"get", {b"target": sought.target})
            if reply is None:
                search.on_silence(node)
            else:
                search.on_reply(node, self._told(reply, family))
                self._keep(node, reply, sought, found)
            go_on()

        def go_on() -> None:
            if search.over:
                for task in asking:
                    task.cancel()
                return
            asking.extend(group.create_task(ask(node)) for node in search.due())

        try:
            async with asyncio.TaskGroup() as group:
                go_on()
        finally:
            found.answered += search.answered()

    async def _ask(self, node: Known, what: bytes, arguments: Mapping[bytes, Any]) -> Mapping[bytes, Any] | None:
        mark = os.urandom(4)
        message = {b"t": mark, b"y": b"q", b"q": what, b"a": {b"id": node.id, **arguments}, b"ro": 1}
        return await self._sockets[_family(node.host)].ask(node, mark, self._encode(message))

    def _told(self, reply: Mapping[bytes, Any], family: int) -> list[Known]:
        key, length = _NODES[socket.AddressFamily(family)]
        listed = reply.get(key)
        if not isinstance(listed, bytes):
            return []
        ends = range(length, min(len(listed), length * TOLD_MAX) + 1, length)
        nodes = (Known(listed[at - length : at][:ID_LENGTH], *address_of(listed[at - length + 20 : at])) for at in ends)
        return [node for node in nodes if self._may_ask(node)]

    def _may_ask(self, node: Known) -> bool:
        source = Source.RELAYED if self._public else Source.STATIC
        return node.port > 0 and dialable(node.host, source, allow_loopback=not self._public)

    def _keep(self, node: Known, reply: Mapping[bytes, Any], sought: Sought, found: Found) -> None:
        token = reply.get(b"token")
        if isinstance(token, bytes) and len(token) <= _TOKEN_MAX:
            found.tokens[node] = token
        if b"v" in reply:
            found.take(self._item(reply, sought))

    def _item(self, reply: Mapping[bytes, Any], sought: Sought) -> Item | None:
        """Return the item in a reply if it is what was sought, and for a mutable one signed."""
        value, number, signature = reply[b"v"], reply.get(b"seq"), reply.get(b"sig")
        try:
            encoded = self._encode(value)
        except _UNREADABLE:
            return None
        if sought.key is None:
            return Item(value) if sha1(encoded, usedforsecurity=False).digest() == sought.target else None
        if not (isinstance(number, int) and 0 <= number <= NUMBER_MAX and isinstance(signature, bytes)):
            return None
        sound = signature_holds(sought.key, signature, signed_part(encoded, number, sought.salt))
        return Item(value, number) if sound else None


def signed_part(encoded: bytes, number: int, salt: bytes) -> bytes:
    """Return what the signature of a mutable item covers (BEP 44)."""
    salted = b"4:salt%d:%s" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v%s" % (number, encoded)


def signature_holds(key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature is good; False for anything of a wrong length."""
    if len(key) != 32 or len(signature) != 64:
        return False
    try:
        bindings.crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


def _family(host: str) -> int:
    return socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
