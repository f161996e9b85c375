"""How STUN servers see the endpoint's socket, and what that tells of the NAT before it (RFC 8489, RFC 5780).

All servers are asked at first and when the network changed. After that one question every 25 s, to the quickest,
keeps the NAT's mapping open and notices when it changes, as long as there is a NAT or somebody looks for a path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.errors import Unavailable
from cis.reach.facts import ServerFact
from cis.reach.names import Address

if TYPE_CHECKING:
    from cis.reach.hub import IceHub
    from cis.reach.stun_client import Reflexive

_ANSWER_S = 3.0
_KEEP_OPEN_S = 25.0
_LOOK_AGAIN_S = 300.0
_FRESH_S = 3.0
"""An answer older than this is made sure of before somebody is told of it: a router that restarted maps anew."""
_RETRY_FIRST_S = 0.5
"""The first question may have been lost, or come before the network was there; the pauses double from here."""
_RETRY_MAX_S = 30.0
_PER_FAMILY_MAX = 3


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one server said when asked at one of its addresses."""

    server: Address
    asked: Address
    said: Reflexive
    round: int

    @property
    def seen(self) -> Address:
        return self.said.host, self.said.port


class Reflection:
    """Asks the servers as long as ``run`` runs; ``on_answer`` is called when answers came or were dropped."""

    def __init__(
        self,
        hub: IceHub,
        servers: Sequence[Address],
        own: Callable[[], Collection[Address]],
        on_answer: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._servers = tuple(dict.fromkeys(servers))
        self._own = own
        self._on_answer = on_answer
        self._answers: dict[tuple[Address, int], _Answer] = {}
        self._errors: dict[Address, str] = {}
        self._wake = asyncio.Event()
        self._renewing = False
        self._round = 0
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -_LOOK_AGAIN_S
        self._retry_s = _RETRY_FIRST_S
        self.settled = not self._servers
        """Whether every server was asked and has answered or failed."""

    async def run(self) -> None:
        """Ask, and ask again in time."""
        while self._servers:
            self._wake.clear()
            async with asyncio.TaskGroup() as group:
                self._asking = group.create_task(self._ask_some_or_all())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_pause_s()):
                    await self._wake.wait()

    def again(self) -> None:
        """Forget all answers: the network has changed."""
        self._answers.clear()
        self._errors.clear()
        self._renewing = True
        self._retry_s = _RETRY_FIRST_S
        self.settled = not self._servers
        self._wake.set()
        if self._asking is not None:
            self._asking.cancel()  # what it waits for was asked on the old network

    def freshen(self) -> None:
        """Ask now if nobody has answered lately: a mapping that was left alone may be another by now."""
        if not self._answers or asyncio.get_running_loop().time() - self._asked_at > _FRESH_S:
            self._retry_s = _RETRY_FIRST_S
            self._wake.set()

    def addresses(self) -> tuple[Address, ...]:
        """Every address we were seen at that is not our own, those of the quickest servers first, a few a family."""
        own = self._own()
        seen = dict.fromkeys(one.seen for one in self._by_latency() if one.seen not in own)
        first: list[Address] = []
        for version in (4, 6):
            first += [one for one in seen if _version(one[0]) == version][:_PER_FAMILY_MAX]
        return tuple(first)

    def mapping(self) -> str | None:
        """How the IPv4 NAT maps: different servers see one address, or each its own; None while that is not known."""
        answers = {one.asked: one.seen for one in self._by_latency() if _version(one.seen[0]) == 4}
        seen = dict.fromkeys(answers.values())
        if any(one in self._own() for one in seen):
            return "none"
        if len(answers) < 2:
            return None
        return "endpoint-independent" if len(seen) == 1 else "address-dependent"

    def facts(self) -> list[ServerFact]:
        """What became of asking each server."""
        facts = []
        for server in self._servers:
            latency_s = min((one.said.latency_s for one in self._by_latency() if one.server == server), default=None)
            error = None if latency_s is not None else self._errors.get(server)
            facts.append(ServerFact(f"{server[0]}:{server[1]}", "stun", latency_s, error))
        return facts

    async def _ask_some_or_all(self) -> None:
        if not self._renewing and await self._ask(self._quickest()):
            return
        self._renewing = False
        await self._ask([(server, version) for server in self._servers for version in self._versions()])
        self.settled = True
        self._on_answer()

    async def _ask(self, targets: Iterable[tuple[Address, int]]) -> bool:
        """Ask at once; whether any answered."""
        self._asked_at = asyncio.get_running_loop().time()
        self._round += 1
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask_one(server, version)) for server, version in targets]
        return any(task.result() for task in asking)

    async def _ask_one(self, server: Address, version: int) -> bool:
        try:
            found = await self._hub.names.lookup(*server)
            asked = next((one for one in found if _version(one[0]) == version), None)
            if asked is None:
                self._errors.setdefault(server, "the name has no address here; check it, and the resolver")
                return False
            said = await self._hub.binding(asked, _ANSWER_S)
        except Unavailable as error:
            self._answers.pop((server, version), None)
            self._errors[server] = str(error)
            return False
        self._take(_Answer(server, asked, said, self._round), version)
        return True

    def _take(self, answer: _Answer, version: int) -> None:
        before = self._answers.get((answer.server, version))
        if before is not None and before.seen != answer.seen:
            # The mapping is another: what other servers said before this round is old, too.
            self._renewing = True
            self._answers = {
                key: one for key, one in self._answers.items() if key[1] != version or one.round == self._round
            }
        self._answers[answer.server, version] = answer
        if before is None or before.seen != answer.seen:
            self._on_answer()

    def _quickest(self) -> list[tuple[Address, int]]:
        """The server to ask for each family."""
        quickest: dict[int, Address] = {}
        for one in self._by_latency():
            quickest.setdefault(_version(one.asked[0]), one.server)
        return [(server, version) for version, server in quickest.items()]

    def _by_latency(self) -> list[_Answer]:
        return sorted(self._answers.values(), key=lambda one: one.said.latency_s)

    def _versions(self) -> list[int]:
        own = {_version(host) for host, _ in self._own()}
        return [version for version in (4, 6) if version in own and (version == 4 or self._hub.takes_ipv6)]

    def _next_pause_s(self) -> float:
        if not self._answers:
            pause_s, self._retry_s = self._retry_s, min(2 * self._retry_s, _RETRY_MAX_S)
            return pause_s
        self._retry_s = _RETRY_FIRST_S
        return _KEEP_OPEN_S if self.addresses() or self._hub.searching else _LOOK_AGAIN_S


def _version(host: str) -> int:
    return 6 if ":" in host else 4
