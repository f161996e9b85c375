"""A node for the crash tests: writes without pause and says which writes were acknowledged; run as a process.

Arguments: home, own port, the peer's DID and port, a word for its keys. Standard output has a line for each
event: ``ready``, ``ack KEY``, ``state HASH``; a line ``quiet`` on standard input ends the writing, ``state``
asks for the hash.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path

from cis.model import Kind, parse_did
from cis.node.driver import Driver, NodeOptions
from cis.node.events import Sighted
from cis.node.home import Home
from cis.node.local import LocalNode
from cis.peers import Target
from cis.store.author import Write
from cis.wire.content import Content

WRITES_PER_ROUND = 20


async def main(home: str, port: str, peer: str, peer_port: str, word: str) -> None:
    with LocalNode.open(Home(Path(home))) as local:
        options = NodeOptions(host="127.0.0.1", port=int(port), sync_interval_s=1.0)
        driver, ready = Driver(local, options), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(driver.run(ready.set))
            await ready.wait()
            driver.report(Sighted(Target(parse_did(peer), "127.0.0.1", int(peer_port), "static")))
            print("ready", flush=True)
            writing = group.create_task(write(local, word))
            await obey(local, writing)
            driver.stop()


async def write(local: LocalNode, word: str) -> None:
    """Put new keys and overwrite a shared one, a few at a time, for ever."""
    life, round_ = secrets.token_hex(4), 0
    while True:
        round_ += 1
        keys = [f"{word}/{life}/{round_}/{place}" for place in range(secrets.randbelow(WRITES_PER_ROUND) + 1)]
        contents = [Content(key, b"v" * 200) for key in keys] + [Content("shared", life.encode())]
        writes = [Write(local.cluster.public, Kind.PUT, content) for content in contents]
        await asyncio.wrap_future(local.store.write(writes))
        print("\n".join(f"ack {key}" for key in keys), flush=True)


async def obey(local: LocalNode, writing: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"quiet\n":
            writing.cancel()
        elif line == b"state\n":
            with local.store.snapshot() as snapshot:
                print("state", snapshot.state_hash(local.cluster.public).hex(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
