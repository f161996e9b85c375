"""One search for a path between two nodes, from exchanged candidates to the pair both use (RFC 8445).

The caller brings the peer's side of the signalling and takes the path; credentials and candidates of this side are
here to be sent::

    session = IceSession(hub, gatherer, controlling=True, relay_hold_s=1.0)
    ...                                     # send session.ufrag, .password, .candidates(); receive the peer's
    session.peer(answer.ufrag, answer.password, answer.candidates)
    path = await session.connect()          # the session answers the peer's checks until close()
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aioice import Candidate

from cis.errors import Unavailable
from cis.net.paths import Path
from cis.reach.agent import Agent
from cis.reach.candidates import Local, standing
from cis.reach.checks import Side
from cis.reach.names import Address, is_usable, plain
from cis.reach.pairs import State
from cis.reach.transports import NoPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioice import stun
    from aioice.ice import CandidatePair

    from cis.net.paths import Carrier
    from cis.reach.hub import IceHub
    from cis.wire.signals import IceCandidate

_WORDS = {
    State.FROZEN: "not tried",
    State.WAITING: "not tried",
    State.IN_PROGRESS: "no answer yet",
    State.SUCCEEDED: "works",
    State.FAILED: "no answer",
}


class PairReport(NamedTuple):
    """What became of one pair of candidates, by their kinds."""

    local: str
    remote: str
    state: str


class IceSession:
    """Searches once; close it when its path is no longer used."""

    def __init__(self, hub: IceHub, gatherer: Local, *, controlling: bool, relay_hold_s: float | None) -> None:
        self._hub = hub
        self._gatherer = gatherer
        self._agent = Agent(controlling=controlling, relay_hold_s=relay_hold_s)
        self._sides: list[Side] = []
        self._kinds: dict[Address, str] = {}
        self._closed = False
        hub.enter(self.ufrag, self._on_request)
        gatherer.on_change.append(self._on_local_change)
        self._on_local_change()
        gatherer.freshen()

    @property
    def ufrag(self) -> str:
        """Names this session in the peer's checks."""
        return self._agent.local_username

    @property
    def password(self) -> str:
        """What the peer's checks are authenticated with."""
        return self._agent.local_password

    @property
    def selected(self) -> Path | None:
        """The path both sides settled on."""
        pair = self._agent.nominated
        return None if pair is None else self._path(pair)

    def candidates(self) -> tuple[IceCandidate, ...]:
        """All candidates of this side known by now."""
        return self._gatherer.candidates()

    def peer(self, ufrag: str, password: str, candidates: Sequence[IceCandidate]) -> None:
        """Take the peer's offer or answer."""
        self._agent.remote_username = ufrag
        self._agent.remote_password = password
        self.more(candidates, last=False)

    def more(self, candidates: Sequence[IceCandidate], last: bool) -> None:  # noqa: FBT001 - the wire's word
        """Take further candidates; after the ``last`` ones a search without hope ends sooner."""
        for one in candidates:
            if is_usable(one.host, one.port) and self._agent.add_remote(_remote(one)):
                self._kinds.setdefault((plain(one.host), one.port), one.kind)
        if last:
            self._agent.end_remote()

    async def connect(self) -> Path:
        """Search until both sides use one pair; Unavailable, saying what was tried, when there is none."""
        assert self._agent.remote_password is not None, "peer() comes first"
        if self._closed:
            raise Unavailable("the search for a path was given up")
        found = await self._agent.search()
        if self._closed:
            raise Unavailable("the search for a path was given up")
        if found and (path := self.selected):
            return path
        raise NoPath(f"no path to the peer: {self._tried()}; see `cis p2p netcheck` on both sides")

    def report(self) -> list[PairReport]:
        """What was tried, best first."""
        pairs = self._agent.pairs
        return [PairReport(self._local_kind(one), self._remote_kind(one), _WORDS[one.state]) for one in pairs]

    def close(self) -> None:
        """Answer no more checks, and end the search; again is harmless."""
        if self._closed:
            return
        self._closed = True
        self._hub.leave(self.ufrag)
        self._gatherer.on_change.remove(self._on_local_change)
        self._agent.shut()

    def _on_request(self, message: stun.Message, address: Address, carrier: Carrier) -> None:
        version = 6 if ":" in address[0] else 4
        for side in self._sides:
            if side.carrier is carrier and (carrier.relayed or _version(side.local_candidate) == version):
                self._agent.request_received(message, address, side)
                return

    def _on_local_change(self) -> None:
        """Use the carriers there are now."""
        wanted = dict(self._bases())
        for side in list(self._sides):
            key = (side.carrier, _version(side.local_candidate))
            if wanted.pop(key, None) is None:
                self._sides.remove(side)
                self._agent.drop_side(side)
        for (carrier, _), candidate in wanted.items():
            side = Side(self._agent, self._hub, carrier, candidate)
            self._sides.append(side)
            self._agent.add_side(side)

    def _bases(self) -> dict[tuple[Carrier, int], Candidate]:
        """The candidates checks are sent from: of each family the best on the socket, and the relay's."""
        bases: dict[tuple[Carrier, int], Candidate] = {}
        for one in sorted(map(_remote, self._gatherer.candidates()), key=lambda one: -one.priority):
            relay = self._gatherer.relay if one.type == "relay" else None
            if one.type == "host":
                bases.setdefault((self._hub.carrier, _version(one)), one)
            elif relay is not None:
                bases.setdefault((relay, _version(one)), one)
        return bases

    def _path(self, pair: CandidatePair) -> Path:
        assert isinstance(pair.protocol, Side)
        carrier = pair.protocol.carrier
        address = self._hub.spell(pair.remote_addr, carrier)
        return Path(carrier, address, self._local_kind(pair), self._remote_kind(pair), proven=True)

    def _local_kind(self, pair: CandidatePair) -> str:
        """What the peer sees us as."""
        seen = self._agent.seen.get(pair)
        if pair.local_candidate.type == "relay" or seen is None:
            return pair.local_candidate.type
        return standing(seen, self._gatherer.candidates())

    def _remote_kind(self, pair: CandidatePair) -> str:
        kind = pair.remote_candidate.type
        return kind if kind == "relay" else self._kinds.get(pair.remote_addr, kind)

    def _tried(self) -> str:
        counts = Counter(f"{one.local} to {one.remote}: {one.state}" for one in self.report())
        if not counts:
            return "the two sides have no candidates that fit together"
        return "; ".join(f"{words}{f' ({number} pairs)' if number > 1 else ''}" for words, number in counts.items())


def _remote(one: IceCandidate) -> Candidate:
    """Spell a candidate as aioice does."""
    kind = "srflx" if one.kind == "mapped" else one.kind
    return Candidate(one.foundation, 1, "udp", one.priority, plain(one.host), one.port, kind)


def _version(one: Candidate) -> int:
    return 6 if ":" in one.host else 4
