"""A node for the faults of processes: writes for as long as it is let, and says what was acknowledged.

Its one argument is JSON: the fields of `Orders`. Standard output has a line for each event: ``ready``, ``ack KEY``,
``refused``, ``state HASH``. On standard input a line ``quiet`` ends the writing, and ``state`` asks for the hash.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from cis.errors import StoreError
from cis.model import Kind, parse_did
from cis.node.core.events import Sighted
from cis.node.driver import Driver, NodeOptions
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.store.author import Write
from cis.wire.content import Content
from faults.disk import Disk, Read, Step, on

WRITES_PER_ROUND = 20
_SICK_SHARE = 0.2


class Orders(msgspec.Struct):
    """What a child is told: where it lives, whom it knows (DID, address, port), how its keys begin."""

    home: str
    host: str
    port: int
    peers: list[tuple[str, str, int]]
    word: str
    pause_s: float = 0.0
    """between two writes"""
    sick: str = ""
    """a file: while it is there, a part of all operations of the disk fails"""


async def main(orders: Orders) -> None:
    """Run the node until standard input ends."""
    with LocalNode.open(Home(Path(orders.home))) as local:
        options = NodeOptions(host=orders.host, port=orders.port, sync_interval_s=1.0)
        driver, ready = Driver(local, options), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(driver.run(ready.set))
            await ready.wait()
            for did, host, port in orders.peers:
                driver.report(Sighted(Target(parse_did(did), host, port, "static")))
            print("ready", flush=True)
            writing = group.create_task(write(local, orders))
            await obey(local, writing)
            driver.stop()


async def write(local: LocalNode, orders: Orders) -> None:
    """Put new keys and overwrite a shared one, a few at a time, for ever."""
    life, number = secrets.token_hex(4), 0
    while True:
        number += 1
        count = secrets.randbelow(WRITES_PER_ROUND) + 1
        keys = [f"{orders.word}/{life}/{number}/{place}" for place in range(count)]
        contents = [Content(key, b"v" * 200) for key in keys] + [Content("shared", life.encode())]
        writes = [Write(local.cluster.public, Kind.PUT, content) for content in contents]
        try:
            await asyncio.wrap_future(local.store.write(writes))
        except StoreError:
            print("refused", flush=True)
        else:
            print("\n".join(f"ack {key}" for key in keys), flush=True)
        await asyncio.sleep(orders.pause_s)


async def obey(local: LocalNode, writing: asyncio.Task[None]) -> None:
    """Do what standard input says, to its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"quiet\n":
            writing.cancel()
        elif line == b"state\n":
            try:
                with local.store.snapshot() as snapshot:
                    state = snapshot.state_hash(local.cluster.public).hex()
            except StoreError as error:
                state = f"unknown: {error}"
            print("state", state, flush=True)
    writing.cancel()


@contextlib.contextmanager
def disk_of(orders: Orders) -> Iterator[None]:
    """Put a disk under the store that is sick while a file says so, if one is named."""
    if not orders.sick:
        yield
        return
    sign, chance = Path(orders.sick), random.Random(orders.word)

    def rule(_: Step | Read) -> None:
        if sign.exists() and chance.random() < _SICK_SHARE:
            raise apsw.IOError("disk I/O error")

    with on(Disk(Path(orders.home).resolve(), rule, records=False)):
        yield


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=Orders)
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(level=os.environ.get("CIS_FAULTS_LOG", "WARNING"))
    with disk_of(given):
        asyncio.run(main(given))
