"""Pairing as a node carries it out: the one code it may be showing, and both sides' exchange over a connection.

The code lives in memory, for two minutes and one exchange. The machines (`cis.trust.pairing`) settle who joins whom;
then, on the same connection, the ordinary joining follows: the side that invites makes a ticket bound to the other's
node and hands it over sealed, the other presents it in a handshake of its own stream. So the joining side need not
be reachable, and what admits a node is what always does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cis.errors import CisError, Denied, Fault, PeerFault, TimedOut, Unavailable, UsageError
from cis.model import NodeId, SpaceId
from cis.net import Connection, Stream
from cis.node.entry.burns import BurnFile
from cis.node.entry.conversation import Conversation
from cis.node.entry.greeting import welcome_holder
from cis.node.entry.joining import Admitted, present_ticket, request_membership, serve_join
from cis.node.entry.rooms import RoomConversation
from cis.node.home.local import LocalNode
from cis.trust.codes import CODE_LIFE_S, Code, draw_code
from cis.trust.pairing import Agreed, Broken, Clash, Clashed, Offered, PairStep, Shower, Taker
from cis.wire.membership import Role
from cis.wire.pairing import PAIRING_FRAME_BYTES_MAX, Claim, is_start

EXCHANGE_S = 10.0
FINISH_S = 40.0
"""What an exchange that began in time may take, joining included."""
_TICKET_MS = 60_000
_FAREWELL_S = 3.0

Addresses = Callable[[], Sequence[tuple[str, int]]]


@dataclass(frozen=True)
class Terms:
    """What the user of this side asked for; ``stays`` where this side is to invite, never to join."""

    role: Role = Role.WRITER
    spaces: tuple[SpaceId, ...] | None = None
    name: str | None = None
    stays: bool = False


@dataclass(frozen=True)
class Paired:
    """The two are of one cluster: ``admitted`` is what this node is yet to move into, where it joined.

    ``name`` and ``role`` are the joining device's; ``skew_ms`` says how far the other clock is ahead.
    """

    peer: Claim
    words: tuple[str, ...]
    name: str
    role: Role
    skew_ms: int
    admitted: Admitted | None = None


class Failed(PeerFault):
    """The exchange broke off, or the codes differ: it counts as a burn."""


async def claim_of(local: LocalNode, terms: Terms) -> Claim:
    """Return what this node says of itself; `Denied` or `UsageError` where it could neither invite nor join."""
    cluster = local.cluster
    alone = len(cluster.membership.members()) == 1
    admin = cluster.me.role is Role.ADMIN
    if not alone and not admin:
        raise Denied("only an admin's device pairs another one: run `cis pair` on one of those (`cis acl show`)")
    if terms.stays and not admin:
        raise Denied("only an admin's device gives a role: leave --role and --space to it")
    conflicts = await asyncio.to_thread(local.conflict_count) if alone else 0
    movable = alone and not terms.stays and not conflicts
    return Claim(local.identity.node, cluster.id, cluster.me.name, movable, admin, local.clock_ms())


class _Talk:
    """One exchange over one connection, and the joining that follows; either side."""

    def __init__(
        self, local: LocalNode, terms: Terms, own: Claim, connection: Conversation, stream: Stream, addresses: Addresses
    ) -> None:
        self._local = local
        self._terms = terms
        self._own = own
        self._connection = connection
        self._stream = stream
        self._addresses = addresses

    async def run(self, machine: Taker | Shower, first: bytes | None) -> Paired:
        """Exchange and join; ``first`` is the frame read already. Raises `CisError`, the connection closed."""
        try:
            step = await self._exchange(machine, first)
            return await self._conclude(machine, step)
        except (TimeoutError, Unavailable) as error:
            self._connection.close(Fault.REFUSED, "")
            raise Failed(Fault.REFUSED, str(error) or "the other device did not go on") from error
        except Failed:
            self._connection.close(Fault.REFUSED, "")
            raise
        except PeerFault as fault:  # the other side has proved the code, and may read why
            self._connection.close(fault.fault, fault.detail)
            raise Failed(fault.fault, fault.detail) from fault
        except (CisError, asyncio.CancelledError):  # a matter of this side alone
            self._connection.close(Fault.REFUSED, "")
            raise

    async def _exchange(self, machine: Taker | Shower, first: bytes | None) -> PairStep:
        """Hand frames over until an outcome; a stranger learns of no failure more than that there was one."""
        frame = first
        try:
            async with asyncio.timeout(EXCHANGE_S):
                while True:
                    if frame is None:
                        frame = await self._stream.read_frame(PAIRING_FRAME_BYTES_MAX)
                    if frame is None:
                        raise Failed(Fault.REFUSED, "the other device broke off")
                    step, frame = machine.receive(frame), None
                    if step.send is not None:
                        await self._stream.write_frame(step.send)
                    if step.outcome is not None:
                        return step
        except PeerFault as fault:
            raise Failed(Fault.REFUSED, fault.detail) from fault

    async def _conclude(self, machine: Taker | Shower, step: PairStep) -> Paired:
        if isinstance(step.outcome, Agreed | Offered):
            if isinstance(self._connection, RoomConversation):
                self._connection.confirm(machine.secret())
            self._connection.mark_authenticated()  # by the code: it may open the stream for joining
        match step.outcome:
            case Agreed(peer, words):
                name, role = await self._invite(machine, peer)
                return Paired(peer, words, name, role, self._skew_ms(peer))
            case Offered(peer, words, ticket):
                self._stream.finish()
                connection = self._connection
                if isinstance(connection, Connection) and connection.is_dialler:
                    # Where it was reached is worth more than what it says of itself.
                    ticket = replace(ticket, addresses=(connection.peer_address, *ticket.addresses))
                await present_ticket(self._connection, self._local, ticket)
                wished = self._terms.name or self._own.name
                admitted = await request_membership(self._connection, self._local, ticket, wished)
                me = admitted.membership.member(self._local.identity.node)
                assert me is not None, "checked when it was admitted"
                return Paired(peer, words, me.name, me.role, self._skew_ms(peer), admitted)
            case Clashed(peer, clash):
                await self._part(machine)
                raise explained(clash, self._own, peer)
            case Broken(detail):
                raise Failed(Fault.REFUSED, detail)
            case None:
                raise AssertionError("an exchange ends with an outcome")

    async def _invite(self, machine: Taker | Shower, peer: Claim) -> tuple[str, Role]:
        """Make the ticket, hand it over, and admit the node that presents it."""
        local, terms = self._local, self._terms
        ticket = await asyncio.to_thread(
            lambda: local.cluster.invite(
                local.store,
                terms.role,
                terms.name,
                _TICKET_MS,
                self._addresses(),
                spaces=terms.spaces,
                bound_to=peer.node,
            )
        )
        await self._stream.write_frame(machine.offer(ticket))
        self._stream.finish()
        outcome = await welcome_holder(local, self._connection, ticket)
        await serve_join(local, self._connection, outcome.node, ticket.id)
        member = local.cluster.membership.member(peer.node)
        if member is None:
            raise PeerFault(Fault.TICKET, "another node than the one paired with came with its ticket")
        return member.name, member.role

    async def _part(self, machine: Taker | Shower) -> None:
        """Let the taker read why the two do not go together before the connection ends."""
        if isinstance(machine, Shower):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._connection.wait_closed()
        self._connection.close(Fault.NONE, "paired with nobody")

    def _skew_ms(self, peer: Claim) -> int:
        return peer.clock_ms - self._own.clock_ms


def explained(clash: Clash, own: Claim, peer: Claim) -> CisError:
    """Return what to tell the user of this side."""
    match clash:
        case Clash.SELF:
            return UsageError("this device shows that code itself: type it on the other one")
        case Clash.SAME_CLUSTER:
            return UsageError(f"{peer.name} is in this device's cluster already: `cis up` on both connects them")
        case Clash.NOT_ADMIN if peer.admin:
            return Denied("only an admin's device pairs another one: run `cis pair` on one of those")
        case Clash.NOT_ADMIN:
            return Denied(f"{peer.name} is no admin of its cluster: pair with a device of one of its admins")
        case Clash.BOTH_SETTLED:
            return UsageError(
                f"neither {own.name} nor {peer.name} can leave its cluster: a device that joins is alone in its own, "
                "has no conflicts left (`cis memory conflicts`) and was not told to invite. Give --role and --space on "
                "the device that invites, not on the one that joins. "
                "To join with a new identity, use a fresh home there: cis --home DIR init"
            )


class _Showing:
    """The code that is shown now."""

    def __init__(self, code: Code, terms: Terms, own: Claim) -> None:
        self.code = code
        self.terms = terms
        self.own = own
        self.begun = False
        self.outcome: asyncio.Future[Paired] = asyncio.get_running_loop().create_future()


class Desk:
    """Where a running node's pairings are held; ``joined`` is told of a node admitted here. Belongs to the loop."""

    def __init__(self, local: LocalNode, addresses: Addresses, joined: Callable[[NodeId], None]) -> None:
        self.burns = BurnFile(local.home.pairing, local.clock_ms)
        self._local = local
        self._addresses = addresses
        self._joined = joined
        self._showing: _Showing | None = None

    @property
    def waits(self) -> bool:
        """Whether a code lives that nobody has tried yet: first frames are looked at only then."""
        return self._showing is not None and not self._showing.begun

    def takes(self, frame: bytes) -> bool:
        """Tell whether a first frame is for this desk."""
        return self.waits and is_start(frame)

    async def check(self, terms: Terms) -> None:
        """Raise what would keep this node from pairing at all."""
        self.burns.check()
        await claim_of(self._local, terms)

    async def show(self, terms: Terms) -> Code:
        """Draw a code and wait for its taker from now on; `Denied` while pairing is stopped or a code is shown."""
        self.burns.check()
        own = await claim_of(self._local, terms)
        if self._showing is not None:
            raise Denied(
                "another `cis pair` on this device is showing a code: use that one, or end it there with Ctrl-C"
            )
        self._showing = _Showing(draw_code(self._local.entropy), terms, own)
        self._local.record("pairing opened", None, f"number {self._showing.code.number}")
        return self._showing.code

    async def wait_paired(self, code: Code) -> Paired:
        """Wait for the code's taker, for as long as it lives; raises `TimedOut`, and `CisError` where it failed."""
        showing = self._showing
        assert showing is not None, "a code is shown first"
        assert showing.code is code, "and not hidden before"
        try:
            await asyncio.wait([showing.outcome], timeout=CODE_LIFE_S)
            if showing.begun:
                await asyncio.wait([showing.outcome], timeout=FINISH_S)
            if not showing.outcome.done():
                raise TimedOut(
                    f"nobody typed {showing.code} within {CODE_LIFE_S:g} s, and it is void now: run `cis pair` again"
                )
            return showing.outcome.result()
        finally:
            self.hide(code)

    def hide(self, code: Code) -> None:
        """Forget the code, if it is still the one shown."""
        if self._showing is not None and self._showing.code is code:
            self._showing.outcome.cancel()
            self._showing = None

    async def serve(self, connection: Conversation, stream: Stream, frame: bytes) -> None:
        """Hold the exchange that this first frame begins; what comes of it is told to who shows the code."""
        showing = self._showing
        assert showing is not None, "asked with `takes` before"
        assert not showing.begun, "as above"
        showing.begun = True
        begun_ms = self.burns.begin()
        machine = Shower(showing.code, showing.own, connection.certificate_hash, self._local.entropy)
        talk = _Talk(self._local, showing.terms, showing.own, connection, stream, self._addresses)
        try:
            paired = await talk.run(machine, frame)
        except Failed as failed:
            self._settle(showing, self._burnt(showing.code, failed))
            return
        except CisError as error:
            self.burns.absolve(begun_ms)
            self._settle(showing, error)
            return
        self._complete(paired, begun_ms)
        if not showing.outcome.done():
            showing.outcome.set_result(paired)

    def _settle(self, showing: _Showing, error: CisError) -> None:
        if not showing.outcome.done():
            showing.outcome.set_exception(error)

    def _burnt(self, code: Code, failed: Failed) -> CisError:
        self._local.record("pairing failed", None, f"number {code.number}: {failed.detail}")
        return Denied(
            f"the code {code} is burnt: a wrong one was typed, or the exchange broke off ({failed.detail}). "
            f"Run `cis pair` here again and type the new code there; {_left(self.burns)}"
        )

    async def take(self, code: Code, terms: Terms, connection: Conversation) -> Paired:
        """Be the taker of a code on a connection that this node dialled; raises `CisError`, the connection closed."""
        self.burns.check()
        own = await claim_of(self._local, terms)
        machine = Taker(code, own, connection.certificate_hash, self._local.entropy)
        begun_ms = self.burns.begin()
        try:
            stream = await connection.open_stream()
            await stream.write_frame(machine.start())
            talk = _Talk(self._local, terms, own, connection, stream, self._addresses)
            paired = await talk.run(machine, None)
        except (Failed, Unavailable) as error:
            if machine.begun:
                raise self._refused(code, str(getattr(error, "detail", error))) from error
            self.burns.absolve(begun_ms)
            raise Unavailable(
                f"the device there shows no code {code.number}-… now: it was used up, has expired after two minutes, "
                "or is another. Look there, or run `cis pair` there again"
            ) from error
        except CisError:
            self.burns.absolve(begun_ms)
            raise
        self._complete(paired, begun_ms)
        return paired

    def _complete(self, paired: Paired, begun_ms: int) -> None:
        self.burns.absolve(begun_ms)
        self._local.record("pairing done", paired.peer.node, f"{paired.name} joined as {paired.role.name.lower()}")
        if paired.admitted is None:
            self._joined(paired.peer.node)

    def _refused(self, code: Code, detail: str) -> CisError:
        self._local.record("pairing failed", None, f"number {code.number}: {detail}")
        return Denied(
            f"{code} is not the code shown there, or somebody stands between the devices ({detail}). It is burnt on "
            f"both: run `cis pair` there again and type the new code here; {_left(self.burns)}"
        )


def _left(burns: BurnFile) -> str:
    left = burns.left()
    if left:
        return f"after {left} more failure{'s' if left > 1 else ''} within an hour pairing stops"
    return (
        "this was the third failure within an hour, so this device pairs with nobody for an hour (`cis invite` works)"
    )
