"""Pairing as an operation: show a code or take one, in the daemon or, where none runs, from this process.

Without a daemon the command opens an endpoint of its own for as long as the code lives. With one, the daemon's is
used; a daemon whose node joins another cluster goes on as a member of that, in the same process (`cis.api.daemon`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import NumberTaken
from cis.api.configuration.settings import Settings, load
from cis.api.control.client import NO_DAEMON, connect, connect_daemon
from cis.api.control.protocol import plain
from cis.api.embedded import EmbeddedNode
from cis.api.membership.pairing_rooms import AnchorAway, NobodyWaits, RoomShower, take_in_room
from cis.api.membership.pairing_schema import CodeShown, DevicesPaired, MemoriesRenamed, PairEvent, ShowCode, TakeCode
from cis.api.membership.spaces import ROLE_NAMES, ROLES, SpaceNames
from cis.api.memories.beside import beside
from cis.api.peers.anchoring import places_of
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.api.peers.providing import mdns_of
from cis.discovery.address import join_endpoint, split_endpoint
from cis.discovery.mdns import Mdns
from cis.discovery.provider import Announcement, Sighting
from cis.discovery.rendezvous import Shown, Sought
from cis.errors import CisError, Fault, TimedOut, Unavailable, UsageError
from cis.model import did_of
from cis.net import Certificate, Connection, Endpoint
from cis.node.driver import Driver
from cis.node.entry.greeting import first_frame
from cis.node.entry.joining import LIMITS, Admitted, move_into
from cis.node.entry.pairing import Desk, Paired, Terms
from cis.node.finding.addresses import own_candidates
from cis.node.home.local import LocalNode
from cis.node.home.renamed import Renamed
from cis.trust import check_name
from cis.trust.codes import CODE_LIFE_S, Code, parse_code
from cis.trust.rights import check_scope

FIND_S = 20.0
"""How long a taker looks for the shower on the local network."""
NEAR_S = 2.0
"""How long before it asks the anchors, where there are any."""
NUMBERS_MAX = 5
"""Codes drawn for one with a number that is free at all anchors; the last is shown wherever it can be."""
ATTEMPTS_MAX = 16
RETURN_S = 30.0
_POLL_S = 0.05

Tell = Callable[[PairEvent], None]
PairRequest = ShowCode | TakeCode


@dataclass(frozen=True)
class Place:
    """Where a pairing is carried out: the node, its socket and desk, and how it finds others nearby, if it does."""

    local: LocalNode
    endpoint: Endpoint
    desk: Desk
    nearby: Mdns | None
    addresses: Callable[[], Sequence[tuple[str, int]]]
    anchors: Sequence[AnchorPlace] = ()


async def carry_out(place: Place, request: PairRequest, tell: Tell) -> Admitted | None:
    """Pair, telling what comes of it; returns what this node is yet to move into. Raises `CisError`."""
    try:
        if isinstance(request, ShowCode):
            paired = await _show(place, request, tell)
        else:
            paired = await _take(place, request)
    except CisError as error:
        raise plain(error) from error
    tell(_told(place.local, paired))
    return paired.admitted


def check_code(text: str) -> None:
    """Raise `UsageError` for what cannot be a code, before anybody is asked anything."""
    parse_code(text)


async def _show(place: Place, request: ShowCode, tell: Tell) -> Paired:
    terms = _terms(place.local, request)
    for _ in range(NUMBERS_MAX - 1):
        with contextlib.suppress(NumberTaken):  # at an anchor, by somebody else: another number will do
            return await _shown(place, terms, tell, wants_all=True)
    return await _shown(place, terms, tell, wants_all=False)


async def _shown(place: Place, terms: Terms, tell: Tell, *, wants_all: bool) -> Paired:
    code = await place.desk.show(terms)
    try:
        return await _shown_at(place, code, tell, wants_all=wants_all)
    finally:
        place.desk.hide(code)


async def _shown_at(place: Place, code: Code, tell: Tell, *, wants_all: bool) -> Paired:
    rooms = [RoomShower(anchor, code, place.desk, place.local.entropy) for anchor in place.anchors]

    async def wait() -> Paired:
        problems = await asyncio.gather(*(room.wait_opened() for room in rooms))
        if wants_all and (taken := [problem for problem in problems if isinstance(problem, NumberTaken)]):
            raise taken[0]
        tell(
            CodeShown(
                code=str(code),
                expires_s=CODE_LIFE_S,
                addresses=tuple(join_endpoint(host, port) for host, port in place.addresses()),
                found=place.nearby is not None,
                anchors=tuple(room.anchor.host for room, bad in zip(rooms, problems, strict=True) if bad is None),
                problems=tuple(str(problem) for problem in problems if problem is not None),
            )
        )
        try:
            return await place.desk.wait_paired(code)
        finally:
            for room in rooms:
                await room.wait_idle()

    announcement = Shown(code.number, lambda: place.endpoint.address[1])
    asides = [_announced(place.nearby, announcement, lambda _: None), *(room.run() for room in rooms)]
    return await beside(asides, wait())


async def _take(place: Place, request: TakeCode) -> Paired:
    code, terms = parse_code(request.code), _terms(place.local, request)
    await place.desk.check(terms)
    if request.at is not None:
        host, port = split_endpoint(request.at)
        try:
            connection = await place.endpoint.dial(host, port)
        except Unavailable as error:
            raise type(error)(
                f"{error}. The other device must be showing the code now (`cis pair`), and let UDP port {port} in"
            ) from error
        return await place.desk.take(code, terms, connection)
    if place.nearby is None and not place.anchors:
        raise UsageError(
            "mDNS is off here (p2p.discovery.enable_mdns = false) and no anchor is set, so say where the other device "
            "is: --at HOST:PORT, as it shows beneath the code, or --anchor URL"
        )
    return await _take_anywhere(place, code, terms)


async def _take_anywhere(place: Place, code: Code, terms: Terms) -> Paired:
    """Look for the shower nearby, then at the anchors, then nearby for longer."""
    problem = "no device shows it"
    if place.nearby is not None:
        try:
            connection = await _found(place.endpoint, place.nearby, code.number, NEAR_S if place.anchors else FIND_S)
            return await place.desk.take(code, terms, connection)
        except NotFound as error:
            if not place.anchors:
                raise
            problem = str(error)
    for anchor in place.anchors:
        try:
            return await take_in_room(anchor, code, terms, place.desk, place.local.entropy)
        except NobodyWaits:
            problem = f"nobody waits under it at the anchor {anchor.host} either"
        except AnchorAway as error:
            problem = str(error)
    if place.nearby is not None:
        try:
            connection = await _found(place.endpoint, place.nearby, code.number, FIND_S)
            return await place.desk.take(code, terms, connection)
        except NotFound as error:
            raise NotFound(f"{error}. And {problem}") from error
    raise TimedOut(f"could not reach the device that shows {code.number}-…: {problem}. Is the code still shown there?")


class NotFound(TimedOut):
    """Nobody on the local network shows the code."""


async def _found(endpoint: Endpoint, nearby: Mdns, number: int, find_s: float) -> Connection:
    """Return a connection with whoever shows that number on the local network: the first that answers."""
    sightings: asyncio.Queue[Sighting] = asyncio.Queue(ATTEMPTS_MAX)

    def on_sighting(sighting: Sighting) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            sightings.put_nowait(sighting)

    async def meet() -> Connection:
        tried: set[tuple[str, int]] = set()
        problem = "no device on this network shows it"
        try:
            async with asyncio.timeout(find_s):
                while len(tried) < ATTEMPTS_MAX:
                    sighting = await sightings.get()
                    if (where := (sighting.host, sighting.port)) in tried:
                        continue
                    tried.add(where)
                    try:
                        return await endpoint.dial(*where)
                    except Unavailable as error:
                        problem = str(error)
        except TimeoutError:
            pass
        raise NotFound(
            f"could not reach the device that shows {number}-… ({problem}): is the code still shown there, are both on "
            "one network, does that let multicast through? Else add --at HOST:PORT, as shown beneath the code"
        )

    return await beside([_announced(nearby, Sought(number), on_sighting)], meet())


async def _announced(nearby: Mdns | None, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
    if nearby is not None:
        with contextlib.suppress(Unavailable):  # then only --at remains, as the text of both sides says
            await nearby.run(announcement, found)


def _terms(local: LocalNode, request: PairRequest) -> Terms:
    role = ROLES[request.role or "writer"]
    spaces = tuple(map(SpaceNames(local).find, request.spaces)) or None
    check_scope(role, spaces)
    name = check_name(request.name) if request.name is not None else None
    return Terms(role, spaces, name, stays=request.role is not None or bool(request.spaces))


def _told(local: LocalNode, paired: Paired) -> DevicesPaired:
    joined = paired.admitted
    membership = joined.membership if joined is not None else local.cluster.membership
    return DevicesPaired(
        peer=paired.peer.name,
        did=did_of(paired.peer.node),
        words=paired.words,
        joined=joined is not None,
        name=paired.name,
        role=ROLE_NAMES[paired.role],
        cluster=membership.cluster.hex(),
        members=tuple(sorted(member.name for member in membership.members())),
        skew_s=round(paired.skew_ms / 1000, 1),
    )


# --- without a daemon ------------------------------------------------------------------------------------------------


def pair(home: Path, request: PairRequest, tell: Tell) -> None:
    """Pair this home's node, by its daemon where one runs; returns when it is done. Raises `CisError`."""
    with connect(home) as node:
        if isinstance(node, EmbeddedNode):
            asyncio.run(_alone(node.local, load(home), request, tell))
            return
        last: PairEvent | None = None
        for last in node.stream(request):
            tell(last)
    if not isinstance(last, DevicesPaired):
        raise Unavailable(f"the node ended before the devices were paired: {NO_DAEMON}, or pair without it")
    if last.joined:
        _tell_renamed(_wait_returned(home, last.cluster).renamed, tell)


def _tell_renamed(renamed: Sequence[Renamed], tell: Tell) -> None:
    if renamed:
        tell(MemoriesRenamed(renamed=tuple(renamed)))


async def _alone(local: LocalNode, settings: Settings, request: PairRequest, tell: Tell) -> None:
    if not settings.p2p.enabled:
        raise UsageError("this node opens no socket (p2p.enabled = false), so it cannot be paired")
    host, port = settings.p2p.listen_address, settings.p2p.listen_port
    takes = isinstance(request, TakeCode)
    if isinstance(request, TakeCode) and request.at is not None and ":" in split_endpoint(request.at)[0]:
        host = "::"
    arrivals = _Arrivals()
    async with await _open(host, 0 if takes else port, arrivals) as endpoint:
        bound = (endpoint.address[0], port if takes else endpoint.address[1])

        def addresses() -> list[tuple[str, int]]:
            """Where the node will be reached once it runs; the taker's socket of now is for dialling."""
            return [(one.host, one.port) for one in own_candidates(bound, None)]

        arrivals.desk = desk = Desk(local, addresses, lambda _: None)
        place = Place(local, endpoint, desk, mdns_of(settings), addresses, places_of(settings, request.anchor))
        admitted = await beside([arrivals.welcome_all()], carry_out(place, request, tell))
    if admitted is not None:
        await asyncio.to_thread(move_into, local, admitted)
        _tell_renamed(local.renamed, tell)


async def _open(host: str, port: int, arrivals: _Arrivals) -> Endpoint:
    """Open an endpoint; at another port than the usual one where that is taken."""
    certificate = Certificate.generate()
    try:
        return await Endpoint.open(host, port, certificate, limits=LIMITS, on_connection=arrivals.put)
    except Unavailable:
        return await Endpoint.open(host, 0, certificate, limits=LIMITS, on_connection=arrivals.put)


class _Arrivals:
    """Who connects while no daemon runs: the taker of the code is served, everybody else meets the one refusal."""

    def __init__(self) -> None:
        self.desk: Desk | None = None
        self._waiting: asyncio.Queue[Connection] = asyncio.Queue(LIMITS.connections_max)

    def put(self, connection: Connection) -> None:
        """Keep a connection until it is looked at; where too many wait it is refused."""
        try:
            self._waiting.put_nowait(connection)
        except asyncio.QueueFull:
            connection.close(Fault.REFUSED, "")

    async def welcome_all(self) -> None:
        """Look at each, at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._welcome(await self._waiting.get()))

    async def _welcome(self, connection: Connection) -> None:
        with contextlib.suppress(CisError):
            if self.desk is not None and self.desk.waits:
                stream, frame = await first_frame(connection)
                if self.desk.takes(frame):
                    await self.desk.serve(connection, stream, frame)
                    return
        connection.close(Fault.REFUSED, "")


# --- in the daemon ---------------------------------------------------------------------------------------------------


class PairingOperations:
    """Shows and takes codes on the running node; ``move`` is told what its node is to move into."""

    def __init__(self, driver: Driver, settings: Settings, move: Callable[[Admitted], None]) -> None:
        self._driver = driver
        self._settings = settings
        self._move = move

    async def pair(self, request: PairRequest) -> AsyncIterator[PairEvent]:
        """Yield what comes of it; who asked no longer listening ends it, and the code is void."""
        told: asyncio.Queue[PairEvent | CisError | None] = asyncio.Queue()
        working: list[asyncio.Task[None]] = []
        self._driver.spawn(self._work(request, told, working))
        try:
            while (event := await told.get()) is not None:
                if isinstance(event, CisError):
                    raise event
                yield event
        finally:
            for task in working:
                task.cancel()

    async def _work(
        self,
        request: PairRequest,
        told: asyncio.Queue[PairEvent | CisError | None],
        working: list[asyncio.Task[None]],
    ) -> None:
        if (task := asyncio.current_task()) is not None:
            working.append(task)
        driver = self._driver
        try:
            anchors = places_of(self._settings, request.anchor)
            place = Place(
                driver.local, driver.endpoint, driver.desk, mdns_of(self._settings), driver.addresses, anchors
            )
            admitted = await carry_out(place, request, told.put_nowait)
            if admitted is not None:
                self._move(admitted)
        except CisError as error:
            told.put_nowait(error)
        finally:
            told.put_nowait(None)


def _wait_returned(home: Path, cluster: str) -> NodeStatus:
    """Wait until the daemon that joined answers as a member of its new cluster; returns how it is."""
    deadline = time.monotonic() + RETURN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            node = connect_daemon(home)
            if node is not None and (status := node.call(GetStatus())).cluster == cluster:
                return status
        time.sleep(_POLL_S)
    raise TimedOut("this device joined, but its node does not answer: `cis up` starts it again, its log says more")
