"""A cis node as a contestant: the real store, driver and sockets, as `cis.bench.node_role` runs them.

``python -m bench.peers.cis_peer`` writes in bulk, ``… single`` with every change in a changeset of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cis import __version__
from cis.bench.node_role import NodeRole
from cis.bench.roles import serve
from cis.bench.writing import changesets_of_one, write_all
from cis.model import Kind
from cis.node.home.folder import Home
from cis.store.author import Write
from cis.wire.content import Content

if TYPE_CHECKING:
    from cis.store.engine import Commit

READ_AT_ONCE = 1000


class CisPeer(NodeRole):
    """Requests: see `bench.peers.contest`."""

    def __init__(self, group: asyncio.TaskGroup, *, single: bool) -> None:
        super().__init__(group)
        self._single = single
        self._card: dict[str, Any] = {}

    async def on_open(self, folder: str, side: str) -> dict[str, Any]:  # type: ignore[override]  # another protocol
        """Make a node; the source runs, and its ticket lets the target in."""
        await self.on_create(str(Path(folder) / "home"), side)
        card: dict[str, Any] = {}
        if side == "source":
            card = {**await self.on_start(), **await self.on_invite()}
        return {"card": card, "versions": {"cis": __version__, "python": platform.python_version()}}

    async def on_meet(self, card: dict[str, Any]) -> None:
        """Join by the source's ticket, and run, unconnected."""
        if not card:
            return
        self._card = card
        await self.on_join(card["ticket"], "target")
        home = self.local.home.folder
        self.local.close()
        Home(home).bootstrap.unlink(missing_ok=True)  # connections begin when they are asked for
        await super().on_open(str(home))
        await self.on_start()

    async def on_fill(self, file: str) -> dict[str, Any]:
        """Write everything through the full local path; answers when the last is durable."""
        writes = await asyncio.to_thread(self._writes, Path(file))
        if self._single:
            changesets_of_one()
        elapsed_s = await asyncio.to_thread(write_all, self.local.store, writes, single=self._single)
        return {"elapsed_s": elapsed_s, "mark": {}}

    async def on_pull(self, mark: dict[str, Any], entries: int, limit_s: float) -> dict[str, Any]:  # noqa: ARG002 - as all
        """Connect and hold a session to its end: what it brought is durable, and can be read."""
        began = time.monotonic()
        where = {name: self._card[name] for name in ("node", "host", "port")}
        try:
            async with asyncio.timeout(limit_s):
                arrived = (await self.on_connect(**where))["changes"]
        except TimeoutError:
            arrived = min(entries - 1, len(self.local.store.reader.memories(self.local.cluster.public)))
        return {"elapsed_s": time.monotonic() - began, "entries": arrived}

    async def on_digest(self) -> dict[str, Any]:
        """Return how many memories are held, and the hash of all of them, read and opened."""
        return await asyncio.to_thread(self._digest)

    async def on_put(self, key: str, value: str) -> dict[str, Any]:
        """Write one memory; it is written when it is durable."""
        began_at_s = time.monotonic()
        content = Content(key, value.encode())
        await asyncio.wrap_future(self.local.store.write([Write(self.local.cluster.public, Kind.PUT, content)]))
        return {"began_at_s": began_at_s, "written_at_s": time.monotonic()}

    async def on_expect(self, key: str, value: str) -> dict[str, Any]:
        """Return when that value can be recalled here, looking after every commit."""
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def look(_: Commit | None) -> None:
            recalled = self.local.store.reader.recall(self.local.cluster.public, key)
            content = recalled.latest.content if recalled is not None else None
            if content is not None and content.value == value.encode() and not seen.done():
                seen.set_result(time.monotonic())

        end = self.driver.watch(look)
        try:
            look(None)
            return {"seen_at_s": await seen}
        finally:
            end()

    def _writes(self, file: Path) -> list[Write]:
        public = self.local.cluster.public
        pairs = [json.loads(line) for line in file.read_text().splitlines()]
        return [Write(public, Kind.PUT, Content(key, value.encode())) for key, value in pairs]

    def _digest(self) -> dict[str, Any]:
        public, found = self.local.cluster.public, []
        with self.local.store.snapshot() as reader:
            memories = reader.memories(public)
            for start in range(0, len(memories), READ_AT_ONCE):
                recalled = reader.recall_many(memories[start : start + READ_AT_ONCE], public)
                found += [part.latest.content for part in recalled.values()]
        lines = sorted((one.key.encode(), one.value) for one in found if one is not None)
        digest = hashlib.sha256(b"".join(b"%b\0%b\n" % pair for pair in lines))
        return {"entries": len(lines), "sha256": digest.hexdigest()}


def factory(single: bool) -> Callable[[asyncio.TaskGroup], CisPeer]:  # noqa: FBT001 - the command's one choice
    """Return what makes the contestant."""
    return lambda group: CisPeer(group, single=single)


if __name__ == "__main__":
    serve(factory("single" in sys.argv[1:]))
