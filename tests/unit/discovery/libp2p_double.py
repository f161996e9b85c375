"""A worker for tests, run as a process: it speaks the worker's part, well or ill as its first argument says.

It writes what it was told into a file, one line of JSON each, since its stdout is the node's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cis.discovery.libp2p.messages import (
    HEADER_LENGTH,
    TO_WORKER_BYTES_MAX,
    Begin,
    Found,
    Seek,
    Show,
    Standing,
    ToNode,
    Trouble,
    framed,
    length_of,
    to_worker,
)

SPOILT = {
    "garbage": b"\x00\x00\x00\x05junk!",
    "oversized": b"\xff\xff\xff\xff" + bytes(64),
    "flood": framed(Standing(1, shown=True, trouble=Trouble.NONE)) * 2000,
    "noise": framed(Found(bytes(16), b"junk")) * 20,
}


def main(conduct: str, log: Path, reply: str) -> None:
    """Take orders until there are no more; ``reply`` is hex of what is found under the first tag sought."""

    def note(**what: object) -> None:
        with log.open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")

    def say(raw: bytes) -> None:
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()

    def tell(message: ToNode) -> None:
        say(framed(message))

    note(said="started", environment=sorted(os.environ), folder=str(Path.cwd()))
    print("a complaint about /ip4/192.0.2.7/tcp/4001", file=sys.stderr, flush=True)
    while header := sys.stdin.buffer.read(HEADER_LENGTH):
        message = to_worker(sys.stdin.buffer.read(length_of(header, bytes_max=TO_WORKER_BYTES_MAX)))
        match message:
            case Begin():
                note(said="begin", entries=message.entries)
                if conduct == "dies":
                    sys.exit(3)
                if conduct in SPOILT:
                    say(SPOILT[conduct])
                if conduct in Trouble.__members__:
                    tell(Standing(0, shown=False, trouble=Trouble[conduct]))
            case Show():
                note(said="show", tag=message.tag.hex(), hosts=message.hosts)
            case Seek(members):
                note(said="seek", members=[[tag.hex() for tag in tags] for tags in members])
                if reply and members:
                    tell(Found(members[0][0], bytes.fromhex(reply)))
    note(said="ended")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
