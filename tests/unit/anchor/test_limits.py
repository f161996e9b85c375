"""Every limit of an anchor holds, for one connection, one address and all."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from cis.anchor.doorway import SPARE, SPARE_PER_ADDRESS, Doorway
from cis.anchor.limits import ADDRESSES_MAX, AnchorLimits, address_of, address_rates, limits_of
from cis.anchor.protocol import (
    POST_BYTES_MAX,
    RECORD_BYTES_MAX,
    ROOM_S_MAX,
    TAGS_MAX,
    TTL_S_MAX,
    Done,
    EnterRoom,
    Found,
    LookUp,
    OpenRoom,
    Post,
    Register,
    Say,
    decode_to_anchor,
    encode,
)
from cis.anchor.serving import read_limits
from cis.errors import Denied, PeerFault, UsageError
from tests.unit.anchor.switched import Anchor, beacon, refused

TAG = b"t" * 16


def test_connections_in_all_from_one_address_and_a_minute() -> None:
    anchor = Anchor(connections_max=3)
    for number in range(3):
        anchor.connect(f"203.0.113.{number}")
    with pytest.raises(Denied, match="as many nodes are connected as"):
        anchor.connect("203.0.113.9")
    anchor = Anchor(connections_per_address=2)
    first = anchor.connect()
    anchor.connect()
    with pytest.raises(Denied, match="from this address"):
        anchor.connect()
    anchor.connect("203.0.113.2")
    first.leave()
    anchor.connect()
    anchor = Anchor(connects_per_minute=2)
    for _ in range(2):
        anchor.connect().leave()
    with pytest.raises(Denied, match="too many requests"):
        anchor.connect()
    anchor.now += 30
    anchor.connect()


def test_requests_a_minute_end_the_connection() -> None:
    anchor = Anchor(requests_per_minute=3)
    node, other = anchor.connect(), anchor.connect("203.0.113.2")
    for _ in range(3):
        assert isinstance(node.ask(LookUp, ()), Found)
    node.ask(LookUp, ())
    assert node.party.ending is not None
    assert anchor.board.rates.refused["requests"] == 1
    assert isinstance(other.ask(LookUp, ()), Found)


def test_posts_and_their_bytes_a_minute() -> None:
    anchor = Anchor(posts_per_minute=2)
    node = anchor.connect()
    assert [isinstance(node.ask(Post, TAG, b"x"), Done) for _ in range(3)] == [True, True, False]
    anchor = Anchor(post_bytes_per_minute=1000)
    node = anchor.connect()
    assert [isinstance(node.ask(Post, TAG, bytes(600)), Done) for _ in range(2)] == [True, False]


def test_tags_looked_up_a_minute() -> None:
    anchor = Anchor(tags_looked_up_per_minute=10)
    node = anchor.connect()
    assert isinstance(node.ask(LookUp, (TAG,) * 8), Found)
    assert "too many" in refused(node.ask(LookUp, (TAG,) * 8))


def test_claims_of_one_connection() -> None:
    node = Anchor(claims_per_connection=2).connect()
    answers = [node.claim(beacon(number)) for number in (1, 2, 2, 3)]
    assert [isinstance(answer, Done) for answer in answers] == [True, True, True, False]


def test_records_of_one_address_and_in_all_and_their_bytes() -> None:
    anchor = Anchor(records_per_address=2)
    node, other = anchor.connect(), anchor.connect("203.0.113.2")
    for number in (1, 2, 3):
        node.claim(beacon(number))
    assert isinstance(node.register(beacon(1)), Done)
    assert isinstance(node.register(beacon(2)), Done)
    assert "this address" in refused(node.register(beacon(3)))
    assert isinstance(node.register(beacon(2)), Done)
    other.claim(beacon(3))
    assert isinstance(other.register(beacon(3)), Done)
    anchor = Anchor(records_max=1)
    node = anchor.connect()
    node.claim(beacon(1))
    node.claim(beacon(2))
    node.register(beacon(1))
    assert "as many records" in refused(node.register(beacon(2)))
    anchor = Anchor(records_bytes_max=1000)
    node = anchor.connect()
    node.claim(beacon(1))
    assert isinstance(node.register(beacon(1), bytes(900)), Done)
    assert "as much room" in refused(node.register(beacon(1), bytes(200)))


def test_wrong_tokens_a_minute_even_if_the_next_is_right() -> None:
    anchor = Anchor("right-token-of-16", tokens_refused_per_minute=2)
    assert all(anchor.connect(token="right-token-of-16").party.greeted for _ in range(5))
    for _ in range(2):
        assert not anchor.connect(token="wrong").party.greeted
    assert not anchor.connect(token="right-token-of-16").party.greeted
    assert anchor.connect("203.0.113.2", token="right-token-of-16").party.greeted


def test_rooms_of_one_address_and_in_all_and_an_hour() -> None:
    anchor = Anchor(rooms_per_address=1)
    assert isinstance(anchor.connect().ask(OpenRoom, 1, 60), Done)
    assert "this address" in refused(anchor.connect().ask(OpenRoom, 2, 60))
    assert isinstance(anchor.connect("203.0.113.2").ask(OpenRoom, 2, 60), Done)
    anchor = Anchor(rooms_max=1)
    anchor.connect().ask(OpenRoom, 1, 60)
    assert "as many rooms as this anchor" in refused(anchor.connect("203.0.113.2").ask(OpenRoom, 2, 60))
    anchor = Anchor(rooms_per_hour=12)
    for number in range(2):
        assert "nobody waits" in refused(anchor.connect().ask(EnterRoom, number + 1))
    assert "too many pairings" in refused(anchor.connect().ask(EnterRoom, 3))
    anchor.now += 300
    assert "nobody waits" in refused(anchor.connect().ask(EnterRoom, 4))


def test_where_too_much_waits_on_all_connections_each_has_one_message_waiting_and_none_is_large() -> None:
    anchor = Anchor(queues_bytes_max=2000)
    slow, quick, other = anchor.connect(), anchor.connect(), anchor.connect()
    slow.claim(beacon(1))
    quick.claim(beacon(2))
    assert [other.ask(Post, beacon(1).tag, bytes(1500)).heard for _ in range(3)] == [True, True, False]
    assert slow.party.crowded
    assert other.ask(Post, beacon(2).tag, b"x").heard
    assert not other.ask(Post, beacon(2).tag, b"x").heard
    assert "too much to do" in refused(other.ask(LookUp, (TAG,)))
    slow.heard()
    assert isinstance(other.ask(LookUp, (TAG,)), Found)


def test_what_is_being_sent_counts_as_waiting_until_the_next_is_asked_for() -> None:
    anchor = Anchor(queue_bytes=1000)
    slow, other = anchor.connect(), anchor.connect()
    slow.claim(beacon(1))
    assert other.ask(Post, beacon(1).tag, bytes(1500)).heard
    for sends, bytes_left in ((True, True), (False, False)):
        assert (slow.party.next() is not None) is sends
        assert slow.party.crowded is bytes_left
        assert (anchor.board.waiting.bytes > 1500) is bytes_left
    assert anchor.board.waiting.bytes == 0


def test_who_leaves_while_something_is_being_sent_no_longer_counts() -> None:
    anchor = Anchor()
    slow = anchor.connect()
    slow.tell(LookUp(1, ()))
    assert slow.party.next() is not None
    slow.leave()
    assert slow.party.next() is None
    assert anchor.board.waiting.bytes == 0


def test_who_speaks_where_nobody_is_pays_for_it_as_for_a_request() -> None:
    anchor = Anchor(requests_per_minute=3)
    node = anchor.connect()
    for _ in range(3):
        node.tell(Say(b"x"))
    assert node.party.ending is None
    node.tell(Say(b"x"))
    assert node.party.ending is not None


@pytest.mark.parametrize(
    "message",
    [
        Register(1, TAG, 1, bytes(RECORD_BYTES_MAX + 1)),
        Register(1, TAG, TTL_S_MAX + 1, b"x"),
        Register(1, TAG, 0, b"x"),
        Register(1, TAG[:15], 1, b"x"),
        Post(1, TAG, bytes(POST_BYTES_MAX + 1)),
        LookUp(1, (TAG,) * (TAGS_MAX + 1)),
        OpenRoom(1, 1000, 60),
        OpenRoom(1, 0, 60),
        OpenRoom(1, 1, ROOM_S_MAX + 1),
        LookUp(1 << 31, ()),
    ],
)
def test_sizes_and_times_beyond_the_limits_do_not_decode(message: object) -> None:
    with pytest.raises(PeerFault):
        decode_to_anchor(encode(message))


def test_an_address_is_an_ipv4_address_or_a_network_of_64_bits() -> None:
    assert address_of("203.0.113.7") == address_of("::ffff:203.0.113.7") == "203.0.113.7"
    assert address_of("2001:db8:0:1::7") == address_of("2001:db8:0:1:ffff::9%eth0") == "2001:db8:0:1::/64"
    assert address_of("2001:db8:0:2::7") != address_of("2001:db8:0:1::7")
    assert address_of("not an address") == "not an address"


def test_buckets_of_addresses_not_heard_of_lately_are_forgotten() -> None:
    rates = address_rates(per_s=1 / 60, burst=1)
    for number in range(ADDRESSES_MAX + 50):
        assert rates.take(str(number), 0.0)
    assert len(rates) == ADDRESSES_MAX
    assert not rates.take(str(ADDRESSES_MAX), 0.0)


def test_connections_are_counted_when_they_are_accepted_before_they_say_anything() -> None:
    def accepted(door: Doorway) -> socket.socket | None:
        client = socket.create_connection(door.getsockname()[:2])
        clients.append(client)
        try:
            return door.accept()[0]
        except ConnectionAbortedError:
            return None

    clients: list[socket.socket] = []
    for limit, proxies in (({"connections_per_address": 1}, ()), ({"connections_max": 1}, ("127.0.0.1",))):
        limits = msgspec.structs.replace(AnchorLimits(), **limit)
        spare = SPARE if proxies else SPARE_PER_ADDRESS
        with Doorway(socket.create_server(("127.0.0.1", 0)), limits, proxies) as door:
            inside = [accepted(door) for _ in range(1 + spare)]
            assert None not in inside
            assert accepted(door) is None
            assert clients[-1].recv(1) == b""
            first = inside[0]
            assert first is not None
            first.close()
            again = accepted(door)
            assert again is not None
            for one in (*clients, *inside, again):
                one.close()


def test_limits_are_read_from_a_file_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("connections_max = 7\nhello_s = 2\n")
    limits = read_limits(file)
    assert (limits.connections_max, limits.hello_s, limits.rooms_max) == (7, 2.0, AnchorLimits().rooms_max)
    for text in ("connections_max = 'many'", "connection_max = 7", "connections_max = 0", "= 7"):
        file.write_text(text)
        with pytest.raises(UsageError):
            read_limits(file)
    assert limits_of({}) == AnchorLimits()
