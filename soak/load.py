"""What is asked of the nodes: a steady mixture over a bounded set of memories, and what must be found of it.

Each node writes memories and sets of its own, whose last acknowledged value is therefore known; counters are shared and
add up; some memories are written by all at once, and some expire, of which only that all agree is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from cis.api.python.asynchronous import AsyncClient
from cis.errors import CisError
from faults.ledger import Added, Kept, Ledger, Tried
from soak.daemons import Daemon

KEYS, EXPIRING, SHARED, COUNTERS, ELEMENTS = 60, 10, 20, 4, 30
"""Memories each node has of its own, those of them that expire, memories that all write, counters, elements of each
node's set: so few that all are there long before the warm-up ends."""
TOPIC = "soak"
TTL_S = 60.0
_SIZES = (3, 10, 40, 200)
"""Words of a text."""
WORDS = [first + second for first in ("ka", "lo", "mi", "nu", "re", "to") for second in ("ben", "dar", "fis", "gol")]

Act = Callable[[AsyncClient], Awaitable[object]]


@dataclass
class Load:
    """The load of one run. ``wrong`` is what a node answered that it should not have."""

    daemons: Sequence[Daemon]
    seed: int
    writes_per_s: float
    """of each node"""
    ledger: Ledger = field(default_factory=Ledger)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """set when nothing more is to be asked"""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def run(self, daemon: Daemon) -> None:
        """Ask one node until it is quiet."""
        worker = _Worker(self, daemon, Random(f"{self.seed} {daemon.name}"))
        while not self.quiet.is_set():
            pause_s = worker.rng.expovariate(self.writes_per_s / _WRITING_SHARE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.quiet.wait()
                    return
            await worker.step()

    async def listen(self, daemon: Daemon) -> None:
        """Hear at one node what all tell, until it is quiet."""
        async with daemon.client() as client, client.listen(TOPIC) as heard:
            async for message in heard:
                self.counts["broadcasts heard at the first node"] += 1
                self.counts["broadcasts missed as not read in time"] += message.missed

    def next(self) -> int:
        """Return the number of the next wish."""
        return next(self._numbers)


@dataclass
class _Worker:
    load: Load
    daemon: Daemon
    rng: Random

    async def step(self) -> None:
        """Ask one thing; what fails is wrong unless the node was made to go meanwhile."""
        if not self.daemon.up.is_set():
            self.load.counts["requests left out as the node was away"] += 1
            return
        (name,) = self.rng.choices(list(_MIXTURE), list(_MIXTURE.values()))
        act: Act = getattr(self, name)()
        life = self.daemon.life
        try:
            async with self.daemon.client() as client:
                await act(client)
        except (CisError, OSError) as error:
            self.load.counts["requests cut off by the end of a node"] += 1
            if self.daemon.up.is_set() and self.daemon.life == life:
                self.load.wrong.append(f"{self.daemon.name} refused: {name}: {error!r}")
        else:
            self.load.counts[f"requests: {name}"] += 1

    def _key(self) -> str:
        return f"own/{self.daemon.name}/{self.rng.randrange(KEYS)}"

    def _text(self, number: int) -> str:
        words = self.rng.choices(WORDS, k=self.rng.choice(_SIZES))
        return " ".join([*words, f"wish{number}"])

    def _wished(self, key: str, value: bytes | None, ask: Act) -> Act:
        """Note what is wished for, and that it was acknowledged."""

        async def act(client: AsyncClient) -> None:
            number = self.load.next()
            self.load.ledger.hear(Tried(number, key, value))
            await ask(client)
            self.load.ledger.hear(Kept(number))

        return act

    def set(self) -> Act:
        key, text = self._key(), self._text(self.load.next())
        return self._wished(key, text.encode(), lambda client: client.set(key, text, tags=[self.rng.choice(WORDS)]))

    def set_shared(self) -> Act:
        key, text = f"shared/{self.rng.randrange(SHARED)}", self._text(self.load.next())
        return lambda client: client.set(key, text)

    def set_expiring(self) -> Act:
        key, text = f"expiring/{self.daemon.name}/{self.rng.randrange(EXPIRING)}", self._text(self.load.next())
        return lambda client: client.set(key, text, ttl_s=TTL_S)

    def delete(self) -> Act:
        key = self._key()
        return self._wished(key, None, lambda client: client.delete(key))

    def increment(self) -> Act:
        key, by = f"count/{self.rng.randrange(COUNTERS)}", self.rng.randint(1, 5)

        async def act(client: AsyncClient) -> None:
            number = self.load.next()
            self.load.ledger.hear(Added(number, key, by))
            await client.incr(key, by)
            self.load.ledger.hear(Kept(number))

        return act

    def change_set(self) -> Act:
        key, element = f"set/{self.daemon.name}", f"element {self.rng.randrange(ELEMENTS)}"
        if self.rng.random() < 0.5:
            return self._wished(f"{key}#{element}", b"in", lambda client: client.add(key, element))
        return self._wished(f"{key}#{element}", None, lambda client: client.remove(key, element))

    def get(self) -> Act:
        key = self._key()

        async def act(client: AsyncClient) -> None:
            found = await client.get(key)
            if self.load.ledger.lost(key, shown(found)) and key in self.load.ledger.keys:
                self.load.wrong.append(f"{self.daemon.name} shows of {key} what was not written last: {found}")

        return act

    def search(self) -> Act:
        words = " ".join(self.rng.sample(WORDS, 2))
        return lambda client: client.search(words, limit=10)

    def list(self) -> Act:
        async def act(client: AsyncClient) -> None:
            async for _ in client.list(f"own/{self.daemon.name}/"):
                pass

        return act

    def status(self) -> Act:
        return lambda client: client.status()

    def broadcast(self) -> Act:
        text = self._text(self.load.next())
        return lambda client: client.broadcast(TOPIC, text)


_MIXTURE = {
    "set": 40,
    "set_shared": 8,
    "set_expiring": 6,
    "delete": 10,
    "increment": 6,
    "change_set": 8,
    "get": 20,
    "search": 6,
    "list": 1,
    "status": 3,
    "broadcast": 6,
}
"""How often each is asked, in relation to the others."""
_WRITES = ("set", "set_shared", "set_expiring", "delete", "increment", "change_set")
_WRITING_SHARE = sum(_MIXTURE[name] for name in _WRITES) / sum(_MIXTURE.values())


def shown(memory: Any) -> bytes | None:  # noqa: ANN401 - a memory of whichever value
    """Return the text a node shows, as bytes; None for nothing."""
    return None if memory is None else str(memory.value).encode()


async def missing(load: Load, client: AsyncClient) -> list[str]:
    """Compare what a node shows with what was acknowledged; returns what is not as it must be."""
    ledger, wrong = load.ledger, []
    members = {daemon.name: set(await client.members(f"set/{daemon.name}")) for daemon in load.daemons}
    for key in ledger.keys:
        kind, _, rest = key.partition("/")
        if kind == "set":
            owner, _, element = rest.partition("#")
            value = b"in" if element in members[owner] else None
        else:
            value = shown(await client.get(key))
        if ledger.lost(key, value):
            wrong.append(f"{key} shows {value!r:.60}, which was not acknowledged last nor tried since")
    for key in ledger.counters:
        found = await client.get(key)
        if ledger.miscounted(key, total := int(found.value) if found is not None and found.value is not None else 0):
            wrong.append(f"{key} counts {total}, which is less than acknowledged or more than tried")
    return wrong
