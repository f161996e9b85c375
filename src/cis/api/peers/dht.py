"""Operations of a running node on the Mainline DHT; all on the driver's loop."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from cis.api.peers.dht_schema import (
    AnnounceInDht,
    DhtAnnounced,
    DhtEntered,
    DhtItem,
    DhtNode,
    DhtStatus,
    DhtStored,
    EnterDht,
    FindDhtNodes,
    GetDhtItem,
    GetDhtStatus,
    ListDhtNodes,
    PutDhtItem,
)
from cis.discovery.address import join_endpoint, split_endpoint
from cis.discovery.dht.asking import SALT_BYTES_MAX, VALUE_BYTES_MAX
from cis.discovery.dht.lookup import ID_LENGTH, Known
from cis.discovery.dht.options import DHT_PORT_DEFAULT, installed
from cis.discovery.dht.provider import DhtProvider
from cis.errors import CisError, Unavailable, UsageError
from cis.trust.beacons import KEY_LENGTH, beacon_slot

if TYPE_CHECKING:
    from cis.discovery.dht.session import DhtSession
    from cis.node.driver import Driver

OFF = (
    "the DHT is off (p2p.discovery.enable_dht): `cis config set p2p.discovery.enable_dht true`, "
    "then `cis down` and `cis up --detach`"
)
_SEED_LENGTH = 32


class DhtOperations:
    """What a user sees of the DHT and does there, mostly to find out what does not work."""

    def __init__(self, driver: Driver) -> None:
        found = (one for one in driver.options.providers if isinstance(one, DhtProvider))
        self._provider = next(found, None)

    async def status(self, _: GetDhtStatus) -> DhtStatus:
        """Say how this node stands there."""
        provider = self._provider
        if provider is None:
            return DhtStatus(on=False, installed=installed())
        counts: dict[str, int] = {}
        addresses: Iterable[tuple[str, int]] = ()
        if provider.session is not None:
            counts, addresses = await provider.session.statistics(), provider.session.addresses
        item = provider.published.get(beacon_slot(time.time()))
        return DhtStatus(
            on=True,
            installed=installed(),
            public=provider.options.public,
            read_only=provider.options.read_only,
            entries=_written(provider.options.bootstrap),
            addresses=_written(addresses),
            nodes=counts.get("nodes", 0),
            items=counts.get("mutable_data", 0) + counts.get("immutable_data", 0),
            bytes_in=counts.get("bytes_in", 0),
            bytes_out=counts.get("bytes_out", 0),
            copies=item.copies if item is not None else None,
            put_s=round(time.monotonic() - item.at, 3) if item is not None else None,
            looked=provider.looked,
            found=provider.found,
            problem=provider.failures().get(provider.name, "") if installed() else _missing(),
        )

    async def nodes(self, _: ListDhtNodes) -> tuple[DhtNode, ...]:
        """List the routing table."""
        return _told(await self._session().routing_table())

    async def find(self, request: FindDhtNodes) -> tuple[DhtNode, ...]:
        """Search for an id."""
        return _told(await self._session().closest(_hex(request.id, ID_LENGTH, "the id of a node")))

    async def get(self, request: GetDhtItem) -> DhtItem:
        """Read an item; `CisError` where nobody has it."""
        session, salt = self._session(), _salt(request.salt)
        if len(request.target) == 2 * KEY_LENGTH:
            item = await session.get(_hex(request.target, KEY_LENGTH, "a public key"), salt)
        else:
            item = await session.get_immutable(_hex(request.target, ID_LENGTH, "a target: the hash of an item"))
        if item is None:
            raise CisError(f"nothing is found in the DHT under {request.target}")
        if not isinstance(item.value, bytes):
            text = repr(item.value)
            return DhtItem(target=request.target, number=item.number, size=len(text), text=text)
        size = len(item.value)
        try:
            return DhtItem(target=request.target, number=item.number, size=size, text=item.value.decode())
        except UnicodeDecodeError:
            return DhtItem(target=request.target, number=item.number, size=size, hex=item.value.hex())

    async def put(self, request: PutDhtItem) -> DhtStored:
        """Write an item; `Unavailable` where nobody takes it."""
        session, value, salt = self._session(), request.value.encode(), _salt(request.salt)
        if len(value) > VALUE_BYTES_MAX:
            raise UsageError(f"{len(value)} bytes: an item of the DHT holds {VALUE_BYTES_MAX}")
        if request.seed is not None:
            key = SigningKey(_hex(request.seed, _SEED_LENGTH, "the seed of a key"))
            public = bytes(key.verify_key)
            copies = await session.put(public, value, lambda message: key.sign(message).signature, salt)
            target = public.hex()
        else:
            hashed, copies = await session.put_immutable(value)
            target = hashed.hex()
        if not copies:
            raise Unavailable("no node of the DHT took it: `cis p2p dht status` says how many are known")
        return DhtStored(target=target, copies=copies)

    async def announce(self, _: AnnounceInDht) -> DhtAnnounced:
        """Put this node's record now."""
        self._session()
        assert self._provider is not None, "there is a session"
        return DhtAnnounced(await self._provider.announce())

    async def enter(self, request: EnterDht) -> DhtEntered:
        """Use an entry point from now on."""
        provider = self._provider
        if provider is None:
            return DhtEntered((), on=False)
        provider.add_bootstrap(*split_endpoint(request.entry, DHT_PORT_DEFAULT))
        return DhtEntered(_written(provider.options.bootstrap), on=True)

    def _session(self) -> DhtSession:
        if self._provider is None:
            raise Unavailable(OFF)
        if not installed():
            raise Unavailable(_missing())
        if self._provider.session is None:
            why = self._provider.failures().get(self._provider.name)
            raise Unavailable(why or "the DHT is just starting: try again in a moment")
        return self._provider.session


def ports_of(driver: Driver) -> tuple[int, ...]:
    """Return the ports of the DHT, as far as it is on."""
    sessions = (one.session for one in driver.options.providers if isinstance(one, DhtProvider))
    return tuple(sorted({port for one in sessions if one is not None for _, port in one.addresses}))


def _missing() -> str:
    return "the DHT is on, and libtorrent is not installed: pip install 'cis-node[dht]', then `cis down` and `cis up`"


def _told(nodes: Iterable[Known]) -> tuple[DhtNode, ...]:
    return tuple(DhtNode(one.id.hex(), join_endpoint(one.host, one.port)) for one in nodes)


def _written(addresses: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(join_endpoint(host, port) for host, port in addresses)


def _salt(text: str) -> bytes:
    if len(salt := text.encode()) > SALT_BYTES_MAX:
        raise UsageError(f"a salt of {len(salt)} bytes: {SALT_BYTES_MAX} at most")
    return salt


def _hex(text: str, length: int, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != length:
        raise UsageError(f"{text!r} is not {what}: {2 * length} hexadecimal digits")
    return found
