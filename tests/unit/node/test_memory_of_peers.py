"""peers.json: addresses come back after a restart with their age, few of each member, and none for ever."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from random import Random
from types import SimpleNamespace

from cis.model import NodeId, did_of
from cis.node.home import Home
from cis.node.memory_of_peers import ADDRESSES_KEPT_MAX, load_peers, save_peers
from cis.peers import PeerBook, Target
from cis.peers.book import KEPT_S

OWN, PEER = NodeId(b"o" * 32), NodeId(b"p" * 32)
DAY_S = 86_400.0


class Node:
    """What peers.json needs of a node; its wall clock is ``day``."""

    def __init__(self, folder: Path) -> None:
        self.home, self.identity, self.day = Home(folder), SimpleNamespace(node=OWN), 1000.0
        membership = SimpleNamespace(member=lambda node: node if node == PEER else None)
        self.cluster = SimpleNamespace(membership=membership, name_of=lambda node: "peer")

    def clock_ms(self) -> int:
        return round(self.day * DAY_S * 1000)

    def loaded(self, now: float) -> PeerBook:
        book = PeerBook(OWN, Random(1))
        load_peers(self, lambda target, age_s: book.sighted(target, now - age_s))
        return book


def target(host: str, node: NodeId = PEER) -> Target:
    return Target(node, host, 7677, "mdns")


def hosts(book: PeerBook) -> list[str]:
    peer = book.get(PEER)
    return [one.host for one in peer.addresses] if peer is not None else []


def test_an_address_is_forgotten_thirty_days_after_it_last_worked_however_often_the_node_restarts(
    tmp_path: Path,
) -> None:
    node, book = Node(tmp_path), PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 0.0)
    save_peers(node, book, 0.0)
    for _ in range(30):
        node.day += 1.0
        book = node.loaded(now=500.0)
        assert hosts(book) == ["192.0.2.1"]
        save_peers(node, book, 500.0)
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


def test_what_is_told_of_again_is_kept() -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(target("192.0.2.1"), 0.0)
    book.sighted(target("192.0.2.1"), 20 * DAY_S)
    book.expire(KEPT_S + DAY_S)
    assert hosts(book) == ["192.0.2.1"]


def test_an_address_whose_node_is_not_known_leaves_nothing_behind() -> None:
    book = PeerBook(OWN, Random(1))
    book.sighted(Target(None, "192.0.2.1", 7677, "static"), 0.0)
    book.expire(KEPT_S + 1)
    assert list(book) == []


def test_at_most_eight_addresses_of_a_member_are_written_the_best_first(tmp_path: Path) -> None:
    node, book = Node(tmp_path), PeerBook(OWN, Random(1))
    for number in range(12):
        book.sighted(target(f"192.0.2.{number}"), float(number))
    book.connected(PEER, 20.0, target("192.0.2.3"))
    save_peers(node, book, 20.0)
    (row,) = json.loads(node.home.peers.read_text())
    assert len(row["addresses"]) == ADDRESSES_KEPT_MAX == 8
    assert hosts(node.loaded(now=30.0))[:2] == ["192.0.2.3", "192.0.2.11"]
    assert stat.S_IMODE(node.home.peers.stat().st_mode) == 0o600


def test_what_was_written_of_a_node_that_is_no_member_or_makes_no_sense_is_not_read(tmp_path: Path) -> None:
    node = Node(tmp_path)
    address = {"host": "192.0.2.1", "port": 7677, "source": "mdns", "known_ms": node.clock_ms()}
    stranger = {"node": did_of(NodeId(b"s" * 32)), "addresses": [address]}
    node.home.peers.write_text(json.dumps([stranger]))
    assert list(node.loaded(0.0)) == []
    for text in ("{", "[1]", json.dumps([{"node": did_of(PEER), "addresses": [{}]}])):
        node.home.peers.write_text(text)
        assert list(node.loaded(0.0)) == []
