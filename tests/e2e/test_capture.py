"""What somebody on the path sees of two real processes that join, synchronise and tell each other things."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from zeroconf import DNSIncoming, DNSRecord

from cis.discovery.mdns import SERVICE, Mdns
from cis.discovery.provider import SLOT_SECONDS
from cis.discovery.tags import tag_of
from cis.model import NodeId, did_of
from cis.net.keylog import DEBUG, KEYS
from cis.node.home.folder import Home as NodeHome
from cis.node.home.local import LocalNode
from cis.trust.sealing import Opener, SpaceKeys
from cis.wire.bulletins import decode_bulletin
from cis.wire.content import Content, decode_content, padme
from cis.wire.gossip import Gossip
from cis.wire.messages import decode, is_segment
from cis.wire.segment import HEADER, RECORD, Segment
from tests.announcing import Tagged, fields_of
from tests.e2e import capture
from tests.e2e.conftest import Home

_REASON = capture.why_not()
pytestmark = [pytest.mark.skipif(_REASON is not None, reason=_REASON or ""), pytest.mark.timeout(120)]

TAG_BYTES = 16
"""What AES-GCM adds to a body."""
NAMES = ("a-distinctive-name", "another-distinctive-name")
WRITTEN = {"distinctive/key": "a distinctive value", "other/key": "another value " * 50, "third/key": "x" * 3000}
TOLD = "a distinctive text"


@dataclass
class Session:
    """A session that was captured: the packets, the keys to them, and what it was about."""

    file: Path
    keys: Path
    port: int
    known: dict[str, bytes]
    """what tells who they are, in the form it has on the wire"""
    public: SpaceKeys


def _hold_session(folder: Path, first: Home, second: Home) -> Session:
    file, keys = folder / "session.pcapng", folder / "keys.log"
    traced = {DEBUG: "1", KEYS: str(keys)}
    for home, name in ((first, NAMES[0]), (second, NAMES[1])):
        home.cis("init", "--name", name)
    started = first.run("up", "--listen", "127.0.0.1:0", "--detach", "--json", **traced)
    assert started.code == 0, started
    port = int(json.loads(started.out)["listen"].rpartition(":")[2])
    with capture.captured(file, f"udp port {port}"):
        ticket = first.json("invite")["ticket"]
        assert second.run("join", ticket, "--yes", **traced).code == 0
        assert second.run("up", "--listen", "127.0.0.1:0", "--detach", **traced).code == 0
        first.wait(lambda status: status["connected"] == [NAMES[1]], "status")
        for home, (key, text) in zip((first, second, first), WRITTEN.items(), strict=True):
            home.cis("memory", "set", key, text)
        second.cis("p2p", "broadcast", TOLD, "--topic", "distinctive-topic")
        for home in (first, second):
            home.wait(lambda found: found["spaces"][0]["memories"] == len(WRITTEN), "memory", "stats")
        for home in (second, first):
            home.cis("down")
    with LocalNode.open(NodeHome(first.path)) as local:
        cluster = local.cluster
        members = {member.name: member.node for member in cluster.membership.members()}
        known = {
            **{name: name.encode() for name in members},
            **{f"the id of {name}": bytes(node) for name, node in members.items()},
            "the cluster": cluster.id,
            "the space": bytes(cluster.public),
        }
        assert set(members) == set(NAMES)
        return Session(file, keys, port, known, cluster.keys.spaces[cluster.public])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("captured")
    first, second = Home(folder / "one"), Home(folder / "two")
    try:
        yield _hold_session(folder, first, second)
    finally:
        first.kill()
        second.kill()


def frames(stream: bytes) -> Iterator[bytes]:
    """The frames of a stream, as far as they are whole."""
    while len(stream) >= 4 and len(stream) >= 4 + (size := int.from_bytes(stream[:4])):
        yield stream[4 : 4 + size]
        stream = stream[4 + size :]


def bodies_of_gossip(session: Session) -> Iterator[bytes]:
    for stream in capture.streams(session.file, session.port, session.keys).values():
        for frame in frames(stream):
            if is_segment(frame):
                yield frame
            else:
                with contextlib.suppress(Exception):
                    if isinstance(message := decode(frame), Gossip):
                        yield message.body


def segments(session: Session) -> list[Segment]:
    found = [decode(body) for body in bodies_of_gossip(session) if is_segment(body)]
    return [one for one in found if isinstance(one, Segment)]


def opened(segment: Segment, keys: SpaceKeys) -> Iterator[Content]:
    """Unseal every body of a segment that has them all."""
    assert not segment.missing
    records, extras, bodies = (memoryview(column) for column in (segment.records, segment.extras, segment.bodies))
    for _, epoch, changes, _, _, salt, _ in HEADER.iter_unpack(segment.headers):
        opener = Opener(keys, epoch, salt)
        for place in range(changes):
            record, records = bytes(records[: RECORD.size]), records[RECORD.size :]
            *_, more, size = RECORD.unpack(record)
            bound, extras = record + bytes(extras[: 8 * more]), extras[8 * more :]
            yield decode_content(opener.open(place, bytes(bodies[:size]), bound))
            bodies = bodies[size:]


def test_nothing_that_tells_who_they_are_or_what_they_say_is_seen_in_clear(session: Session) -> None:
    seen = capture.payloads(session.file)
    assert len(seen) > 20
    everything = b"\n".join(seen)
    texts = [did_of(NodeId(node)) for name, node in session.known.items() if name.startswith("the id of")]
    for what in (*session.known.values(), *(text.encode() for text in (*texts, *WRITTEN, *WRITTEN.values(), TOLD))):
        assert what not in everything
    assert b"distinctive" not in everything
    assert capture.streams(session.file, session.port, None) == {}


def test_with_the_keys_of_tls_it_does_appear_so_the_search_would_have_found_it(session: Session) -> None:
    decrypted = b"\n".join(capture.streams(session.file, session.port, session.keys).values())
    for what, how in session.known.items():
        assert how in decrypted, what
    for text in (*WRITTEN, *WRITTEN.values(), TOLD):  # these are sealed once more, to the members
        assert text.encode() not in decrypted


def test_with_the_key_of_the_space_what_they_wrote_does_appear(session: Session) -> None:
    read = {}
    for segment in segments(session):
        for content in opened(segment, session.public):
            if not content.vector:  # of what was written a vector has but the digest
                read[content.key] = content.value.decode()
    assert read == WRITTEN


def test_the_sizes_of_bodies_fall_into_the_classes_of_padme(session: Session) -> None:
    sizes = []
    for segment in segments(session):
        sizes += [size - TAG_BYTES for *_, size in RECORD.iter_unpack(segment.records)]
    told = [decode_bulletin(body)[1] for body in bodies_of_gossip(session) if not is_segment(body)]
    sizes += [len(statement.sealed) - TAG_BYTES for statement in told]
    assert told
    assert len(sizes) >= len(WRITTEN) + 1
    assert all(padme(size) == size for size in sizes)
    assert any(padme(size) != size for size in range(3000, 3100))  # not every size is a class


# --- mDNS ------------------------------------------------------------------------------------------------------------


async def _announce(slot: int, announced: Tagged) -> None:
    provider = Mdns(interfaces=["127.0.0.1"], allow_loopback=True, clock=lambda: slot * SLOT_SECONDS + 1.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.5):
            await provider.run(announced, lambda _: None)


def _announced_in(file: Path, slot: int, announced: Tagged) -> list[DNSRecord]:
    with capture.captured(file, "udp port 5353"):
        asyncio.run(_announce(slot, announced))
    messages = [DNSIncoming(payload) for payload in capture.payloads(file)]
    return [record for message in messages for record in message.answers()]


def test_announcements_of_two_slots_share_no_field_but_service_address_and_port(tmp_path: Path) -> None:
    key, node = b"k" * 32, NodeId(b"\1" * 32)
    announced, tags = Tagged(node, [node], key), {slot: tag_of(key, slot, node) for slot in (5, 6)}
    first, second = (fields_of(_announced_in(tmp_path / f"{slot}.pcapng", slot, announced)) for slot in (5, 6))
    for slot, seen in ((5, first), (6, second)):
        assert any(isinstance(one, bytes) and tags[slot] in one for one in seen), "the tag was announced, and seen"
    assert first & second == {f"{SERVICE}.local.", 7677, bytes([127, 0, 0, 1])}
