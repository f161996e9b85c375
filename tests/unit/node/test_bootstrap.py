"""bootstrap.json: what was known comes back after a restart with its age, best first, whatever became of the file."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from cis.model import NodeId, did_of
from cis.node.finding import bootstrap as room
from cis.node.finding.bootstrap import BAD_KEPT_MAX, PEERS_KEPT_MAX, Bootstrap, remember_peer
from cis.node.finding.bootstrap_file import ADDRESSES_KEPT_MAX, Calendar
from cis.node.home.folder import Home
from cis.peers import PeerBook, State, Target
from cis.peers.peer import BY_USER
from cis.peers.shelf import KEPT_S

OWN, PEER, OTHER, STRANGER, REMOVED = (NodeId(letter * 32) for letter in (b"o", b"p", b"q", b"s", b"r"))
NAMES = {OWN: "own", PEER: "peer", OTHER: "other"}
DAY_S = 86_400.0


class Node:
    """What bootstrap.json needs of a node; its wall clock is ``day``."""

    def __init__(self, folder: Path) -> None:
        self.home, self.identity, self.day = Home(folder), SimpleNamespace(node=OWN), 1000.0
        self.names = dict(NAMES)
        membership = SimpleNamespace(
            member=self.names.get,
            members=lambda: [SimpleNamespace(node=node, name=name) for node, name in self.names.items()],
            revoked=lambda node: node == REMOVED,
        )
        self.cluster = SimpleNamespace(membership=membership, name_of=lambda node: self.names[node])
        self.problems: dict[str, str] = {}
        self.bootstrap = Bootstrap(self, self.problems.__setitem__)

    def clock_ms(self) -> int:
        return round(self.day * DAY_S * 1000)

    def loaded(self, now: float = 0.0) -> PeerBook:
        book = PeerBook(OWN, Random(1))
        for peer in self.bootstrap.load(now):
            book.recall(peer, now)
        return book

    def write(self, *entries: object) -> None:
        self.home.bootstrap.write_text(json.dumps({"format": 1, "peers": entries}))

    def rows(self) -> Any:
        return json.loads(self.home.bootstrap.read_text())["peers"]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def target(host: str, node: NodeId = PEER, found_by: str = "mdns") -> Target:
    return Target(node, host, 7677, "mdns", found_by)


def hosts(book: PeerBook, node: NodeId = PEER) -> list[str]:
    peer = book.get(node)
    return [one.host for one in peer.addresses] if peer is not None else []


def full_book() -> PeerBook:
    book = PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 10.0)
    book.connected(PEER, 20.0, target("192.0.2.1"))
    book.measured(PEER, 40.0, "direct", ("192.0.2.1", 7677), 0.03)
    book.sighted(target("192.0.2.9", OTHER, "dht"), 30.0)
    book.due(30.0, {PEER})
    book.failed(target("192.0.2.9", OTHER), 35.0, "no answer")
    return book


# --- there and back --------------------------------------------------------------------------------------------------


def test_everything_known_of_a_peer_comes_back_with_its_age(node: Node) -> None:
    node.bootstrap.save(full_book(), 50.0)
    node.day += 1.0
    book = node.loaded(now=500.0)
    peer, other = book.get(PEER), book.get(OTHER)
    assert peer is not None
    assert other is not None
    assert (peer.state, peer.successes, peer.failures, peer.kind) == (State.INACTIVE, 1, 0, "direct")
    assert peer.place == ("192.0.2.1", 7677)
    assert peer.rtt_s == pytest.approx(0.03)
    assert peer.seen_at == pytest.approx(500.0 - DAY_S - 10.0, abs=1)
    (way,) = peer.addresses
    assert (way.found_by, way.source, way.successes, way.kind) == ("mdns", "mdns", 1, "direct")
    assert way.succeeded_at == pytest.approx(500.0 - DAY_S - 30.0, abs=1)
    assert way.known_at == pytest.approx(500.0 - DAY_S, abs=1), "it was in use when it was saved"
    assert (other.state, other.failures, other.addresses[0].failures) == (State.UNKNOWN, 1, 1)
    assert other.addresses[0].failed_at == pytest.approx(500.0 - DAY_S - 15.0, abs=1)


def test_the_file_is_read_by_people_and_nobody_else(node: Node) -> None:
    node.bootstrap.save(full_book(), 50.0)
    first, second = node.rows()
    assert (first["name"], first["did"], first["state"]) == ("peer", did_of(PEER), "active")
    assert first["addresses"][0]["address"] == "192.0.2.1:7677"
    assert first["last_seen"] == "1972-09-26T23:59:50Z"
    assert first["score"] > second["score"]
    assert second["addresses"][0]["found_by"] == "dht"
    assert stat.S_IMODE(node.home.bootstrap.stat().st_mode) == 0o600


def test_the_best_come_first_the_connected_before_all(node: Node) -> None:
    book = full_book()
    book.lost(PEER, 60.0, "gone")
    book.connected(OTHER, 61.0, None)
    node.bootstrap.save(book, 62.0)
    assert [row["name"] for row in node.rows()] == ["other", "peer"]
    book.lost(OTHER, 63.0, "gone")
    for _ in range(4):
        book.failed(target("192.0.2.9", OTHER), 64.0, "no answer")
    node.bootstrap.save(book, 64.0)
    assert [row["name"] for row in node.rows()] == ["peer", "other"]


def test_at_most_eight_addresses_of_a_member_are_written_the_best_first(node: Node) -> None:
    book = PeerBook(OWN, Random(1))
    for number in range(12):
        book.sighted(target(f"192.0.2.{number}"), float(number))
    book.connected(PEER, 20.0, target("192.0.2.3"))
    node.bootstrap.save(book, 20.0)
    (row,) = node.rows()
    assert len(row["addresses"]) == ADDRESSES_KEPT_MAX == 8
    assert hosts(node.loaded(now=30.0))[:2] == ["192.0.2.3", "192.0.2.11"]


def test_of_many_members_the_best_are_written_and_what_a_user_gave(node: Node) -> None:
    book, count = PeerBook(OWN, Random(1)), PEERS_KEPT_MAX + 20
    members = [NodeId(number.to_bytes(32, "big")) for number in range(count)]
    node.names.update({member: f"m{number}" for number, member in enumerate(members)})
    for number, member in enumerate(members):
        book.sighted(target("192.0.2.1", member, BY_USER if number == 0 else "dht"), float(10 * number))
    node.bootstrap.save(book, 10.0 * count)
    names = [row["name"] for row in node.rows()]
    assert len(names) == PEERS_KEPT_MAX + 1
    assert names[-1] == "m0"
    assert "m20" in names
    assert "m10" not in names


def test_only_members_are_written(node: Node) -> None:
    book = full_book()
    book.sighted(target("192.0.2.6", STRANGER), 1.0)
    book.sighted(Target(None, "192.0.2.7", 7677, "static"), 1.0)
    node.bootstrap.save(book, 50.0)
    assert [row["name"] for row in node.rows()] == ["peer", "other"]


def test_an_address_with_a_zone_means_nothing_to_a_later_run_and_is_not_written(node: Node) -> None:
    book = full_book()
    book.sighted(target("fe80::1%eth0"), 60.0)
    book.remove(OTHER)
    book.sighted(target("fe80::2%eth0", OTHER), 60.0)
    node.bootstrap.save(book, 70.0)
    assert [(row["name"], len(row["addresses"])) for row in node.rows()] == [("peer", 1)]


def test_the_issuer_of_a_ticket_is_remembered(node: Node) -> None:
    remember_peer(node, PEER, [("192.0.2.1", 7677)])
    assert node.rows()[0]["addresses"][0]["found_by"] == "invite"
    assert hosts(node.loaded()) == ["192.0.2.1"]


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_an_address_is_forgotten_thirty_days_after_it_last_worked_however_often_the_node_restarts(node: Node) -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 0.0)
    node.bootstrap.save(book, 0.0)
    for _ in range(30):
        node.day += 1.0
        book = node.loaded(now=500.0)
        assert hosts(book) == ["192.0.2.1"]
        node.bootstrap.save(book, 500.0)
    node.day += 0.1
    assert hosts(node.loaded(now=500.0)) == []


def test_an_address_in_use_is_kept_as_long_as_it_is_and_thirty_days_more() -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 0.0)
    book.connected(PEER, 1.0, target("192.0.2.1"))
    book.expire(2 * KEPT_S)
    assert hosts(book) == ["192.0.2.1"]
    book.lost(PEER, 2 * KEPT_S, "idle")
    book.expire(3 * KEPT_S - 1)
    assert hosts(book) == ["192.0.2.1"]
    book.expire(3 * KEPT_S + 1)
    assert hosts(book) == []


def test_what_is_told_of_again_is_kept_and_what_a_user_gave_until_it_is_taken_back() -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 0.0)
    book.sighted(target("192.0.2.1"), 20 * DAY_S)
    book.sighted(target("192.0.2.2", found_by=BY_USER), 0.0)
    book.expire(KEPT_S + DAY_S)
    assert hosts(book) == ["192.0.2.1", "192.0.2.2"]
    book.expire(3 * KEPT_S)
    assert hosts(book) == ["192.0.2.2"]


def test_an_address_whose_node_is_not_known_leaves_nothing_behind() -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(Target(None, "192.0.2.1", 7677, "static"), 0.0)
    book.expire(KEPT_S + 1)
    assert list(book) == []


# --- what users and accidents write ----------------------------------------------------------------------------------


def test_an_entry_by_hand_needs_no_more_than_who_and_where(node: Node) -> None:
    node.write({"did": did_of(PEER), "addresses": ["192.0.2.1:7677"]}, "did:cis:other@[2001:db8::1]:7000")
    book = node.loaded()
    assert (hosts(book), hosts(book, OTHER)) == (["192.0.2.1"], ["2001:db8::1"])
    peer = book.get(PEER)
    assert peer is not None
    assert peer.addresses[0].found_by == BY_USER
    assert node.problems == {}


def test_a_bad_entry_is_told_of_and_kept_aside_and_the_good_ones_are_used(node: Node) -> None:
    good = {"did": did_of(PEER), "addresses": ["192.0.2.1:7677"]}
    node.write({"did": "did:key:z6Mkx", "addresses": ["192.0.2.2:1"]}, good, 7, {"did": did_of(OTHER), "addresses": []})
    assert hosts(node.loaded()) == ["192.0.2.1"]
    assert "entry 1" in node.problems["bootstrap.json"]
    assert "2 more" in node.problems["bootstrap.json"]
    aside = node.bootstrap.aside()
    assert [one["entry"] for one in aside[:2]] == [{"did": "did:key:z6Mkx", "addresses": ["192.0.2.2:1"]}, 7]
    assert "no address" in aside[2]["why"]
    assert [row["name"] for row in node.rows()] == ["peer"], "the file holds the good entries alone from now on"
    assert stat.S_IMODE(node.home.bootstrap_bad.stat().st_mode) == 0o600


@pytest.mark.parametrize("address", ["example.org:7677", "169.254.169.254:80", "192.0.2.1:0", "", "224.0.0.1:7677"])
def test_a_bad_address_costs_no_more_than_itself(node: Node, address: str) -> None:
    node.write({"did": did_of(PEER), "addresses": [address, "192.0.2.1:7677"]})
    assert hosts(node.loaded()) == ["192.0.2.1"]
    (aside,) = node.bootstrap.aside()
    assert aside["entry"]["did"] == did_of(PEER)


@pytest.mark.parametrize(
    "change",
    [
        {"successes": -1},
        {"successes": "many"},
        {"rate": 7},
        {"rtt_ms": -1},
        {"last_success": "yesterday"},
        {"did": 7},
        {"addresses": "192.0.2.1:7677"},
        {"place": "nowhere at all"},
        {"last_seen": "9999-99-99T00:00:00Z"},
    ],
)
def test_a_field_that_makes_no_sense_costs_no_more_than_its_entry(node: Node, change: dict) -> None:
    good = {"did": did_of(PEER), "addresses": ["192.0.2.1:7677"]}
    node.write(good | change, {"did": did_of(OTHER), "addresses": ["192.0.2.2:7677"]})
    book = node.loaded()
    assert (hosts(book), hosts(book, OTHER)) == ([], ["192.0.2.2"])
    assert len(node.bootstrap.aside()) == 1


def test_what_is_said_to_be_in_the_future_counts_as_now(node: Node) -> None:
    entry = {"address": "192.0.2.1:7677", "last_told": "2999-01-01T00:00:00Z", "last_success": "2999-01-01T00:00:00"}
    node.write({"did": did_of(PEER), "addresses": [entry]})
    (way,) = node.loaded(now=100.0).get(PEER).addresses
    assert (way.known_at, way.succeeded_at) == (100.0, 100.0)


@pytest.mark.parametrize("year", [1, 2, 1969])
def test_what_is_said_to_have_been_before_1970_counts_as_then_and_can_be_written_again(year: int) -> None:
    calendar = Calendar(100.0, 1_700_000_000_000)
    assert calendar.written(calendar.moment(datetime(year, 1, 1, tzinfo=UTC))) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", [b"", b"{", b"[1", b"7", b'{"peers": 7}', b"\x00" * 4096, b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_kept_aside_whole(node: Node, text: bytes) -> None:
    node.home.bootstrap.write_bytes(text)
    assert list(node.loaded()) == []
    assert (node.home.folder / "bootstrap.json.unreadable").read_bytes() == text
    assert "kept aside" in node.problems["bootstrap.json"]
    assert not node.home.bootstrap.exists()


def test_a_file_that_is_too_large_is_kept_aside_unread(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BYTES_MAX", 100)
    node.write(*["x" * 50] * 3)
    assert list(node.loaded()) == []
    assert "larger" in node.problems["bootstrap.json"]


def test_who_is_no_member_is_kept_aside_and_who_was_removed_forgotten(node: Node) -> None:
    node.write(*({"did": did_of(one), "addresses": ["192.0.2.1:7677"]} for one in (STRANGER, REMOVED, PEER, OWN)))
    assert [peer.node for peer in node.loaded()] == [PEER]
    (aside,) = node.bootstrap.aside()
    assert aside["entry"] == {"did": did_of(STRANGER), "addresses": ["192.0.2.1:7677"]}


def test_what_is_kept_aside_is_bounded_and_each_thing_kept_once(node: Node) -> None:
    for number in range(2 * BAD_KEPT_MAX):
        node.write(number, 7777)
        node.loaded()
    kept = [one["entry"] for one in node.bootstrap.aside()]
    assert len(kept) == BAD_KEPT_MAX
    assert kept[-1] == 2 * BAD_KEPT_MAX - 1
    assert kept.count(7777) <= 1


# --- crashes ---------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("point", ["open", "fchmod", "fsync", "replace"])
def test_a_crash_at_any_point_of_writing_leaves_the_file_before_or_after(
    node: Node, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    node.bootstrap.save(full_book(), 50.0)
    before = node.home.bootstrap.read_bytes()
    later = full_book()
    later.sighted(target("192.0.2.77"), 60.0)

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        if point == "replace":
            patch.setattr(Path, "replace", crash)
        elif point == "fchmod":
            patch.setattr(Path, "chmod", crash)
        else:
            patch.setattr(os, point, crash)
        with pytest.raises(Crash):
            node.bootstrap.save(later, 70.0)
    assert node.home.bootstrap.read_bytes() == before
    assert hosts(node.loaded()) == ["192.0.2.1"]
    assert [path.name for path in node.home.folder.glob("*.part")] == []
    node.bootstrap.save(later, 70.0)
    assert hosts(node.loaded()) == ["192.0.2.1", "192.0.2.77"]


def test_what_cannot_be_written_is_a_problem_and_no_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    node.bootstrap.save(full_book(), 50.0)
    assert "No space left" in node.problems["bootstrap.json"]


# --- what came before ------------------------------------------------------------------------------------------------


def test_an_old_peers_json_is_read_once_and_only_where_there_is_no_bootstrap_json(node: Node) -> None:
    address = {"host": "192.0.2.1", "port": 7677, "source": "mdns", "successes": 3, "known_ms": node.clock_ms() - 5000}
    old = [{"node": did_of(PEER), "name": "peer", "addresses": [address, {}]}]
    node.home.peers_before.write_text(json.dumps(old))
    peer = node.loaded(now=100.0).get(PEER)
    assert peer is not None
    (way,) = peer.addresses
    assert (way.host, way.successes, way.known_at, way.found_by) == ("192.0.2.1", 3, 95.0, "mdns")
    assert not node.home.peers_before.exists()
    assert hosts(node.loaded()) == ["192.0.2.1"]
    node.write()
    node.home.peers_before.write_text(json.dumps(old))
    assert list(node.loaded()) == []


def test_nothing_is_read_where_there_is_nothing(node: Node) -> None:
    assert list(node.loaded()) == []
    assert node.problems == {}
    assert node.bootstrap.aside() == []
