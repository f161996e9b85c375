"""What an anchor does with requests: whose tag is whose, what is found, who hears what, and who is let in."""

from __future__ import annotations

from cis.anchor.protocol import Done, Found, Hello, LookUp, Post, Posted, Refused, Release, Welcome
from tests.unit.anchor.switched import Anchor, beacon, refused

TAG = b"t" * 16


def test_what_a_node_registers_is_found_under_its_tag_until_it_expires() -> None:
    anchor = Anchor()
    node, other = anchor.connect(), anchor.connect("203.0.113.2")
    assert isinstance(node.claim(beacon(1)), Done)
    assert isinstance(node.register(beacon(1), b"first", ttl_s=60), Done)
    assert isinstance(node.register(beacon(1), b"second", ttl_s=60), Done)
    tag = beacon(1).tag
    assert other.ask(LookUp, (tag, TAG)) == Found(1, ((tag, b"second"),))
    node.leave()
    assert other.ask(LookUp, (tag,)).records
    anchor.now += 60
    assert other.ask(LookUp, (tag,)).records == ()
    anchor.board.tick(anchor.now, anchor.now)
    assert (anchor.board.shelf.count, anchor.board.shelf.bytes) == (0, 0)


def test_nobody_registers_listens_or_overwrites_under_a_tag_that_is_anothers() -> None:
    anchor = Anchor()
    node, thief = anchor.connect(), anchor.connect()
    node.claim(beacon(1))
    node.register(beacon(1))
    stolen = beacon(1).claim(node.party.challenge, b"anchor.example.net")  # seen on another connection
    from cis.anchor.protocol import Claim

    assert "whom that tag belongs to" in refused(thief.ask(Claim, beacon(1).key, stolen))
    other_name = beacon(1).claim(thief.party.challenge, b"evil.example.net")  # drawn out of it by another anchor
    assert "another name" in refused(thief.ask(Claim, beacon(1).key, other_name))
    assert "not claimed" in refused(thief.register(beacon(1), b"forged"))
    assert anchor.connect().ask(LookUp, (beacon(1).tag,)).records == ((beacon(1).tag, b"sealed"),)


def test_a_post_reaches_who_claimed_the_tag_and_says_whether_anybody_did() -> None:
    anchor = Anchor()
    node, other = anchor.connect(), anchor.connect()
    node.claim(beacon(1))
    assert other.ask(Post, beacon(1).tag, b"offer") == Done(1, heard=True)
    assert node.heard() == [Posted(beacon(1).tag, b"offer")]
    assert other.ask(Post, TAG, b"offer") == Done(2, heard=False)
    node.ask(Release, beacon(1).tag)
    assert not other.ask(Post, beacon(1).tag, b"offer").heard
    node.claim(beacon(1))
    node.leave()
    assert not other.ask(Post, beacon(1).tag, b"offer").heard
    assert not anchor.board._listeners


def test_a_post_to_who_reads_nothing_is_as_if_nobody_listened() -> None:
    anchor = Anchor(queue_bytes=1000)
    node, other = anchor.connect(), anchor.connect()
    node.claim(beacon(1))
    heard = [other.ask(Post, beacon(1).tag, bytes(400)).heard for _ in range(5)]
    assert heard == [True, True, True, False, False]


def test_a_connection_begins_with_one_hello_of_a_known_version() -> None:
    anchor = Anchor()
    silent, twice, later = anchor.connect(greet=False), anchor.connect(), anchor.connect(greet=False)
    silent.ask(LookUp, ())
    twice.tell(Hello(1))
    later.tell(Hello(2))
    assert all(node.party.ending is not None for node in (silent, twice, later))
    assert isinstance(twice.welcome, Welcome)
    assert twice.welcome.stun_port == 3478


def test_with_tokens_only_who_shows_one_is_let_in() -> None:
    anchor = Anchor("right-token-of-16", "other-token-of-16")
    assert isinstance(anchor.connect(token="other-token-of-16").welcome, Welcome)
    for wrong in ("", "right-token-of-1", "right-token-of-166"):
        node = anchor.connect(token=wrong)
        assert isinstance(node.welcome, Refused)
        assert node.party.ending is not None
    assert anchor.board.token_problem("right-token-of-16", "203.0.113.2", anchor.now) is None
    assert Anchor().board.token_problem("", "203.0.113.2", 0) is not None


def test_what_is_no_message_ends_the_connection_and_nothing_else() -> None:
    anchor = Anchor()
    other = anchor.connect()
    for data in (b"", b"\x00", b"\xff" * 100, bytes(20_000), b"\x92\x63\x01"):
        node = anchor.connect()
        anchor.board.take(node.party, data, anchor.now, anchor.now)
        assert node.party.ending is not None
        node.leave()
    assert isinstance(other.ask(LookUp, ()), Found)


def test_who_leaves_leaves_nothing_behind() -> None:
    anchor = Anchor()
    node = anchor.connect()
    node.claim(beacon(1))
    node.tell(LookUp(9, (TAG,)))
    node.leave()
    board = anchor.board
    assert (board.connections, board.waiting.bytes, len(board._listeners), len(board._connected)) == (0, 0, 0, 0)
