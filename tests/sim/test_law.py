"""The naive law and the product's membership log say the same of any entries, in whatever order they arrive."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cis.errors import CisError
from cis.model import ReplicaId, SpaceId
from cis.sim.archive import Archive
from cis.sim.law import Law
from cis.sim.members import START_MS, Members, gather
from cis.sim.sealing import SeededSuite, seeded_sealing
from cis.trust import Membership
from cis.wire.membership import NO_SPACE, Cut, Grant, Role, decode_entry, encode_part


class History:
    """Admins that decide at random, each on a copy of the log of its own, and hear of each other now and then."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.members: Members = gather(4, self.rng)
        self.logs = [Membership(self.members.cluster, self.members.entries) for _ in self.members.identities]
        self.raws = list(self.members.entries)
        self.replicas = [
            ReplicaId(one.node + bytes([number]) * 8) for one in self.members.identities for number in (1, 2)
        ]

    def live(self, steps: int) -> None:
        for _ in range(steps):
            number = self.rng.randrange(len(self.logs))
            if self.rng.random() < 0.4:
                self.hear(number)
                continue
            try:
                raw = self.decide(number)
            except CisError:
                continue
            self.logs[number].add(raw)
            self.raws.append(raw)

    def hear(self, number: int) -> None:
        other = self.rng.choice(self.logs)
        for raw in other.entries_missing_from(self.logs[number].ids()):
            self.logs[number].add(raw)

    def decide(self, number: int) -> bytes:
        rng, log, admin = self.rng, self.logs[number], self.members.identities[number]
        public, subject = self.members.public, rng.choice(self.members.identities)
        keys = log.keys_of(admin, self.members.keys[number])
        match rng.choice(("grant", "revoke", "revoke", "demote", "rotate")):
            case "grant":
                name = f"m{self.members.place(subject.node)}"
                role = rng.choice((Role.ADMIN, Role.WRITER, Role.READER))
                grant = Grant(subject.node, subject.sealing_public, name, role, (public,))
                return log.grant(admin, grant, keys, rng.randbytes, START_MS)
            case "rotate":
                return log.rotate(admin, rng.choice((NO_SPACE, public)), rng.randbytes, START_MS)
            case what:
                named = [one for one in self.replicas if rng.random() < 0.5]
                cuts = [Cut(public, replica, rng.randrange(9)) for replica in named]
                spaces = (public,) if what == "demote" else ()
                return log.revoke(admin, subject.node, spaces, cuts, rng.randbytes, START_MS)


def archived(history: History) -> Archive:
    archive = Archive(history.members.cluster)
    waiting = list(history.raws)
    while waiting:
        waiting = [raw for raw in waiting if archive.take(raw) == "whose parents are not there"]
    return archive


@pytest.mark.parametrize("seed", range(12))
def test_the_law_and_the_log_agree_whatever_the_order_of_arrival(seed: int) -> None:
    with seeded_sealing(Random(seed)):
        history = History(seed)
        history.live(40)
        archive, public = archived(history), history.members.public
        everything = Membership(history.members.cluster)
        for raw in history.rng.sample(history.raws, len(history.raws)):
            everything.add(raw)
        assert set(archive.items) == set(everything.log.known)
        for log in (*history.logs, everything):
            law = Law(archive, log.log.known, public)
            assert {member.node: dict(member.roles) for member in log.members()} == law.roles
            assert [log.epoch(space) for space in (NO_SPACE, public)] == [
                law.epoch(space) for space in (NO_SPACE, public)
            ]
            for replica in history.replicas:
                for head in log.log.known:
                    assert voids(log, public, replica, head) == law.voids(public, replica, 5, head)


def voids(log: Membership, space: SpaceId, replica: ReplicaId, head: bytes) -> bool:
    limit = log.limit(space, replica)
    beyond = limit is not None and limit.seq < 5
    return beyond or log.refuses(replica, space, head) or not log.may_write(replica[:32], space, head)


def test_forged_entries_are_known_as_such() -> None:
    with seeded_sealing(Random(1)):
        members = gather(3, Random(1))
    archive = Archive(members.cluster)
    assert [archive.take(raw) for raw in members.entries] == [""] * 4
    entry = decode_entry(members.entries[-1])
    for forged, complaint in (
        (msgspec.structs.replace(entry, signature=bytes(64)), "signature"),
        (msgspec.structs.replace(entry, attachment=b"x"), "attachment"),
    ):
        assert complaint in Archive(members.cluster).take(encode_part(forged))
    assert "parents" in Archive(members.cluster).take(members.entries[-1])


def test_what_the_seeded_suite_seals_the_real_one_opens() -> None:
    recipient = X25519PrivateKey.generate()
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    sealed = [SeededSuite(Random(7)).encrypt(b"key", recipient.public_key(), b"info") for _ in range(2)]
    assert sealed[0] == sealed[1]
    assert suite.decrypt(sealed[0], recipient, b"info") == b"key"
