"""The stream of a record: the right tag gets it, and nothing else gets anything, however it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec

import pytest

from cis.discovery.libp2p.messages import SEALED_BYTES_MAX
from tests.interop.libp2p.needs import needs_libp2p

if find_spec("trio") is not None:
    import trio
    from trio.testing import MockClock

    from cis.discovery.libp2p.exchange import ANSWERS_MAX, Answers, ask

pytestmark = needs_libp2p
TAG, SEALED = bytes(range(16)), b"sealed" * 100


class Stream:
    """A libp2p stream: ``parts`` is what the other side sends, None for nothing any more and no end."""

    def __init__(self, *parts: bytes | Exception | None) -> None:
        self._parts = list(parts)
        self.written = b""
        self.end = ""

    async def read(self, most: int) -> bytes:
        await trio.lowlevel.checkpoint()
        part = self._parts.pop(0) if self._parts else b""
        if part is None:
            await trio.sleep_forever()
        if isinstance(part, Exception):
            raise part
        assert part is not None
        self._parts[:0] = [part[most:]] if part[most:] else []
        return part[:most]

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close(self) -> None:
        self.end = "closed"

    async def reset(self) -> None:
        self.end = self.end or "reset"


def run(work: Callable[[], Awaitable[None]]) -> None:
    trio.run(work, clock=MockClock(autojump_threshold=0))


def answers(noted: list[str] | None = None) -> Answers:
    return Answers(lambda: (TAG, SEALED), lambda what, error: (noted if noted is not None else []).append(what))


def answer_to(*parts: bytes | Exception | None) -> Stream:
    stream = Stream(*parts)
    run(lambda: answers().on_stream(stream))
    return stream


def test_the_tag_gets_the_record_in_however_many_parts_it_comes() -> None:
    for parts in ((TAG,), (TAG[:3], TAG[3:15], TAG[15:]), (TAG + b"and more",)):
        stream = answer_to(*parts)
        assert stream.written == len(SEALED).to_bytes(2, "big") + SEALED
        assert stream.end == "closed"


@pytest.mark.parametrize("parts", [(bytes(16),), (TAG[:15],), (), (ConnectionError("gone"),), (TAG[:15], ValueError())])
def test_anything_else_gets_nothing_and_raises_nothing(parts: tuple[bytes | Exception, ...]) -> None:
    stream = answer_to(*parts)
    assert (stream.written, stream.end) == (b"", "reset")


def test_an_asker_that_says_nothing_is_given_up() -> None:
    stream = answer_to(TAG[:15], None)
    assert (stream.written, stream.end) == (b"", "reset")


def test_no_more_askers_are_heard_at_once_than_may_be() -> None:
    silent = [Stream(None) for _ in range(ANSWERS_MAX)]
    late, later = Stream(TAG), Stream(TAG)

    async def work() -> None:
        answering = answers()
        async with trio.open_nursery() as nursery:
            for stream in silent:
                nursery.start_soon(answering.on_stream, stream)
            await trio.testing.wait_all_tasks_blocked()
            await answering.on_stream(late)
        await answering.on_stream(later)

    run(work)
    assert (late.written, late.end) == (b"", "reset")
    assert later.end == "closed"


@pytest.mark.parametrize(
    ("parts", "sealed"),
    [
        ((b"\x00\x06sealed",), b"sealed"),
        ((b"\x00", b"\x06sea", b"led and more"), b"sealed"),
        ((b"\x00\x00",), None),
        ((b"\x00\x07sealed",), None),
        (((SEALED_BYTES_MAX + 1).to_bytes(2, "big") + bytes(SEALED_BYTES_MAX + 1),), None),
        ((), None),
    ],
)
def test_of_what_is_answered_only_a_record_of_the_length_it_says_is_taken(
    parts: tuple[bytes, ...], sealed: bytes | None
) -> None:
    stream, got = Stream(*parts), []

    async def work() -> None:
        got.append(await ask(stream, TAG))

    run(work)
    assert got == [sealed]
    assert (stream.written, stream.end) == (TAG, "reset")
