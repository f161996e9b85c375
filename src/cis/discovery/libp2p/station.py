"""The worker's place in libp2p's network: joins by the entry points, provides one key, and looks for others'.

It is a client of the hash table (https://github.com/libp2p/specs/tree/master/kad-dht#client-and-server-mode): it stores
nothing of others and is in nobody's routing table. Its libp2p identity is drawn anew with each process and kept
nowhere. Nothing is dialled but what `Bounds` lets pass. py-libp2p's own upkeep is left out: it connects to dozens of
nodes by itself and provides again what is no longer wanted.
"""

from __future__ import annotations

import hashlib
import random
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr
from multiaddr.resolvers import DNSResolver

from cis.discovery.libp2p.bounds import Bounds
from cis.discovery.libp2p.exchange import Answers, ask
from cis.discovery.libp2p.guard import GuardedTcp, NamelessGate, text_of
from cis.discovery.libp2p.messages import PROTOCOL, Begin, Found, Seek, Show, Standing, ToNode, ToWorker, Trouble
from cis.discovery.libp2p.places import PUBLIC, Place, read_place, write_place

if TYPE_CHECKING:
    from libp2p.abc import IHost

CONNECTIONS_MAX = 200
CONNECTED_AT_ONCE = 8
LOOKUPS_AT_ONCE = 4
PROVIDERS_MAX = 8
ADDRESSES_MAX = 64
PLACES_EACH_MAX = 8
"""Addresses tried of one entry point."""
CONNECT_S = 10.0
GRACE_S = 1.0
"""How long the other entry points have once one has answered."""
RESOLVE_S = 10.0
REFRESH_S = 30.0
LOOK_S = 30.0
FETCH_S = 15.0
PROVIDE_S = 60.0
PROVIDED_S = 300.0
"""How often the key is provided again, since those who keep it may be gone."""
PAUSE_S_MIN = 2.0
PAUSE_S_MAX = 60.0
_ADDRESS_TTL_S = 3600
"""Longer than a worker lives: the entry points stay known."""
_MULTIHASH_SHA256 = b"\x12\x20"


def key_of(tag: bytes) -> bytes:
    """Return the key a tag is provided under: a multihash, from which the tag cannot be had."""
    return _MULTIHASH_SHA256 + hashlib.sha256(PROTOCOL.encode() + b"\0" + tag).digest()


class Station:
    """One libp2p host and what it is to do; ``tell`` takes what the node is told."""

    def __init__(self, begin: Begin, tell: Callable[[ToNode], None]) -> None:
        self._begin = begin
        self._tell = tell
        self._bounds = Bounds(private=begin.private, loopback=begin.loopback)
        self._hosts: list[str] = []
        self._port = 0
        self._show: Show | None = None
        self._provided: Show | None = None
        self._sought: tuple[tuple[bytes, ...], ...] = ()
        self._standing: Standing | None = None
        self._provide_due = trio.Event()
        self._seek_due = trio.Event()
        self._answers = Answers(self._shown, _note)
        self._host = _host(self._bounds, self._addresses)
        self._dht = KadDHT(self._host, DHTMode.CLIENT)
        self._me = self._host.get_id()

    def choose_port(self) -> None:
        """Find a port to listen on; `OSError` where the one it was told to take is not free."""
        self._hosts, self._port = _listening(self._begin.listen, self._begin.port)

    async def run(self, orders: trio.MemoryReceiveChannel[ToWorker]) -> None:
        """Take part until cancelled, on the port that was chosen."""
        self._host.set_stream_handler(PROTOCOL, self._answers.on_stream)
        places = [Multiaddr(write_place(host, self._port)) for host in self._hosts]
        async with self._host.run(listen_addrs=places), trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, orders)
            await self._join()
            nursery.start_soon(self._stay)
            nursery.start_soon(self._provide)
            nursery.start_soon(self._seek)

    async def _obey(self, orders: trio.MemoryReceiveChannel[ToWorker]) -> None:
        async for order in orders:
            if isinstance(order, Show):
                if self._show is None or (self._show.tag, self._show.hosts) != (order.tag, order.hosts):
                    self._provide_due.set()
                self._show = order
            elif isinstance(order, Seek):
                self._sought = order.members
                self._seek_due.set()

    def _shown(self) -> tuple[bytes, bytes] | None:
        return (self._show.tag, self._show.sealed) if self._show is not None else None

    def _addresses(self, _: Sequence[Multiaddr]) -> list[Multiaddr]:
        """Return where others may reach this host: the node's own addresses, as far as others would dial them."""
        hosts = self._show.hosts if self._show is not None and self._port else ()
        return [Multiaddr(write_place(host, self._port)) for host in hosts if self._bounds.allow(host, self._port)]

    # --- being of the network -----------------------------------------------------------------------------------

    async def _join(self) -> None:
        """Connect to entry points until somebody of the network is known."""
        pause_s = PAUSE_S_MIN
        while True:
            await self._connect_entries()
            self._report()
            if self._known():
                return
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _stay(self) -> None:
        """Get to know more of the network, now and then anew; join again where nobody is left."""
        while True:
            with trio.move_on_after(REFRESH_S), _noted("a refresh"):
                await self._dht.peer_routing.refresh_routing_table()
            self._report()
            await trio.sleep(PROVIDED_S * random.uniform(0.5, 1.0) if self._known() else PAUSE_S_MIN)
            if not self._known():
                await self._join()

    async def _connect_entries(self) -> None:
        """Connect to the entry points; to those that are slow only while none has answered."""
        slots = trio.Semaphore(CONNECTED_AT_ONCE)

        def on_entered() -> None:
            scope = nursery.cancel_scope
            scope.deadline = min(scope.deadline, trio.current_time() + GRACE_S)

        async with trio.open_nursery() as nursery:
            for entry in self._begin.entries:
                nursery.start_soon(self._enter, entry, slots, on_entered)

    async def _enter(self, entry: str, slots: trio.Semaphore, on_entered: Callable[[], None]) -> None:
        places: list[Place | None] = []
        async with slots:
            with trio.move_on_after(RESOLVE_S), _noted("a name"):
                places = [read_place(one) for one in await _resolved(entry)]
            for place in [place for place in places if place is not None and place.peer][:PLACES_EACH_MAX]:
                if entry in PUBLIC or self._bounds.add_entry(place):
                    with trio.move_on_after(CONNECT_S), _noted("an entry point"):
                        await self._meet(place)
                        on_entered()

    async def _meet(self, place: Place) -> None:
        info = PeerInfo(ID.from_base58(place.peer), [Multiaddr(write_place(place.host, place.port))])
        await self._host.connect(info)
        self._host.get_peerstore().add_addrs(info.peer_id, info.addrs, _ADDRESS_TTL_S)
        await self._dht.routing_table.add_peer(info)

    def _known(self) -> int:
        return int(self._dht.get_routing_table_size())

    def _report(self) -> None:
        known = self._known()
        shown = self._provided is not None
        standing = Standing(known, shown, Trouble.NONE if known else Trouble.LONELY)
        if standing != self._standing:
            self._standing = standing
            self._tell(standing)

    # --- being found --------------------------------------------------------------------------------------------

    async def _provide(self) -> None:
        while True:
            show = self._show
            provided = False
            if show is not None and self._addresses(()):
                with trio.move_on_after(PROVIDE_S), _noted("a provide"):
                    provided = await self._dht.provider_store.provide(key_of(show.tag))
            self._provided = show if provided else None
            self._report()
            with trio.move_on_after(PROVIDED_S if provided else PAUSE_S_MIN + 10 * random.random()):
                await self._provide_due.wait()
            self._provide_due = trio.Event()

    # --- finding ------------------------------------------------------------------------------------------------

    async def _seek(self) -> None:
        pause_s = PAUSE_S_MIN
        slots = trio.Semaphore(LOOKUPS_AT_ONCE)
        while True:
            async with trio.open_nursery() as nursery:
                for tags in self._sought:
                    await slots.acquire()
                    nursery.start_soon(self._look_for, tags, slots)
            with trio.move_on_after(pause_s * random.uniform(0.7, 1.0)):
                await self._seek_due.wait()
                pause_s = PAUSE_S_MIN
            self._seek_due = trio.Event()
            pause_s = min(1.5 * pause_s, PAUSE_S_MAX)

    async def _look_for(self, tags: Sequence[bytes], slots: trio.Semaphore) -> None:
        """Look for one member under its tags, for as long as it is sought."""
        try:
            for tag in tags:
                if tags not in self._sought:
                    return
                with _noted("a look-up"):
                    await self._look_up(tag)
        finally:
            slots.release()

    async def _look_up(self, tag: bytes) -> None:
        key, store = key_of(tag), self._dht.provider_store
        store.providers.pop(key, None)  # else what was found last time is all that is ever found
        with trio.move_on_after(LOOK_S):
            await store.find_providers(key, PROVIDERS_MAX)
        async with trio.open_nursery() as nursery:
            for info in store.get_providers(key)[:PROVIDERS_MAX]:
                if info.peer_id != self._me:
                    nursery.start_soon(self._fetch, tag, info)

    async def _fetch(self, tag: bytes, info: PeerInfo) -> None:
        places = [one for one in info.addrs[:ADDRESSES_MAX] if self._bounds.allow_multiaddr(text_of(one))]
        if not places:
            return
        with trio.move_on_after(FETCH_S), _noted("a fetch"):
            await self._host.connect(PeerInfo(info.peer_id, places))
            sealed = await ask(await self._host.new_stream(info.peer_id, [PROTOCOL]), tag)
            if sealed is not None:
                self._tell(Found(tag, sealed))


def _host(bounds: Bounds, addresses: Callable[[Sequence[Multiaddr]], list[Multiaddr]]) -> IHost:
    """Return a host that speaks TCP, Noise and Yamux alone, dials within bounds, and says of itself what it must."""
    key_pair = create_new_key_pair()
    host = new_host(
        key_pair=key_pair,
        sec_opt={NOISE: Noise(key_pair, noise_privkey=create_noise_key_pair().private_key)},
        muxer_opt={YAMUX: Yamux},
        transports=[GuardedTcp(bounds)],
        # Equal watermarks of nothing: it connects to nobody by itself, and idle connections end.
        connection_config=ConnectionConfig(
            max_connections=CONNECTIONS_MAX, min_connections=0, low_watermark=0, high_watermark=0
        ),
        addrs_factory=addresses,
        disable_identify_address_discovery=True,
    )
    network = host.get_network()
    network.connection_gate = NamelessGate()
    network.retry_config = RetryConfig(max_retries=0)
    return host


def _listening(host: str, port: int) -> tuple[list[str], int]:
    """Return the addresses to listen on, of which ``::`` is two, and the port; `OSError` where somebody listens there.

    Looked at beforehand, since py-libp2p would share the port with others of this user, and lose half of the askers.
    """
    hosts = [host]
    if host == "::":
        hosts = ["0.0.0.0", "::"] if socket.has_dualstack_ipv6() else ["0.0.0.0"]  # noqa: S104 - as the user wishes
    for one in hosts:
        with socket.socket(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM) as probe:
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in one:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((one, port))
            port = probe.getsockname()[1]
    return hosts, port


async def _resolved(entry: str) -> list[str]:
    """Return the multiaddrs of an entry point, its names resolved."""
    if read_place(entry) is not None:
        return [entry]
    return [str(one) for one in await DNSResolver().resolve(Multiaddr(entry))]


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """Let one attempt fail, whatever foreign code raises over strangers' bytes, and say so."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the per-peer boundary; recorded
        _note(what, error)


def _note(what: str, error: BaseException) -> None:
    """Tell on stderr what failed and how, without the error's text: it would name addresses."""
    sys.stderr.write(f"{what} failed with {type(error).__name__}\n")
