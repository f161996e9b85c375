"""The process that libp2p runs in: ``python -m cis.discovery.libp2p.worker``, spoken to over stdin and stdout.

It holds no key and no name: blinded tags and sealed records are all it is given. It ends when its stdin does, so with
its parent however that ends, and whatever else it is doing; its memory and files are bounded by the system.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial

import trio

from cis.discovery.libp2p.messages import (
    HEADER_LENGTH,
    TO_WORKER_BYTES_MAX,
    Begin,
    Standing,
    ToNode,
    ToWorker,
    Trouble,
    framed,
    length_of,
    to_worker,
)
from cis.errors import PeerFault

MEMORY_BYTES_MAX = 512 << 20
FILES_MAX = 512
_NICE = 5
_ORDERS_MAX = 16


def main() -> None:
    """Take orders until there are no more."""
    source, sink = _take_pipes()
    _bound()
    trio.run(_attend, source, partial(_write, sink))


def _take_pipes() -> tuple[int, int]:
    """Keep stdin and stdout for messages alone: what foreign code reads and prints goes elsewhere."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return source, sink


def _bound() -> None:
    """Bound memory and open files, and leave no core behind."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - where there is one

    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    os.nice(_NICE)


async def _attend(source: int, tell: Callable[[ToNode], None]) -> None:
    give, orders = trio.open_memory_channel[ToWorker](_ORDERS_MAX)
    token = trio.lowlevel.current_trio_token()

    def hand_on(order: ToWorker) -> None:
        trio.from_thread.run(give.send, order, trio_token=token)

    threading.Thread(target=_listen, args=(source, hand_on), daemon=True).start()
    begin = await orders.receive()
    if not isinstance(begin, Begin):
        return
    try:
        from cis.discovery.libp2p.station import Station  # noqa: PLC0415 - two seconds, and may not be there
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        sys.stderr.write(f"py-libp2p failed with {type(error).__name__}\n")
        tell(Standing(0, shown=False, trouble=Trouble.BROKEN))
        return
    station = Station(begin, tell)
    try:
        station.choose_port()
    except OSError:
        tell(Standing(0, shown=False, trouble=Trouble.PORT))
        return
    await station.run(orders)


def _listen(source: int, hand_on: Callable[[ToWorker], None]) -> None:
    """Read orders in a thread of its own, which ends the process at once when there can be no more of them."""
    try:
        with os.fdopen(source, "rb") as pipe:
            while header := pipe.read(HEADER_LENGTH):
                hand_on(to_worker(pipe.read(length_of(header, bytes_max=TO_WORKER_BYTES_MAX))))
    except (OSError, PeerFault, trio.RunFinishedError, trio.Cancelled):
        os._exit(1)
    os._exit(0)


def _write(sink: int, message: ToNode) -> None:
    view = memoryview(framed(message))
    while view:
        view = view[os.write(sink, view) :]


if __name__ == "__main__":
    main()
