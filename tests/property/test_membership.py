"""The membership log against a model that says the rules outright, over random histories with hostile entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cis.errors import Denied, PeerFault, UsageError
from cis.model import NodeId, ReplicaId, SpaceId, node_of, replica_id
from cis.trust.entries import SignedEntry, read_entry
from cis.trust.identity import Identity
from cis.trust.keys import ClusterKeys, private_keys, space_id
from cis.trust.membership import Membership, found, state
from cis.wire.membership import NO_SPACE, Cut, Grant, Revoke, Role, Rotate, encode_part
from tests.unit.trust.cluster import NOW_MS, entropy, identity

PEOPLE = [identity(number) for number in range(1, 6)]
RECOVERY = identity(99)
ACTORS = [*PEOPLE, RECOVERY]
FOUNDER = PEOPLE[0]
_, FOUNDED, KEYS = found(FOUNDER, "n0", entropy(1000), NOW_MS, RECOVERY.node)
CLUSTER = FOUNDED.cluster
PUBLIC = space_id(CLUSTER, "public")
OTHER = SpaceId(b"o" * 16)
SCOPES: list[tuple[SpaceId, ...]] = [(PUBLIC,), (OTHER,), (PUBLIC, OTHER), ()]
PRIVATE = private_keys(CLUSTER, entropy(7))

people = st.sampled_from([*range(len(PEOPLE)), *range(4)])
actors = st.sampled_from([*range(len(ACTORS)), *range(4)])
step = st.tuples(
    st.sampled_from(["admin", "grant", *["revoke"] * 4, "narrow", "rotate", "tell", "forge", "forge"]),
    actors,
    people,
    st.integers(0, 15),
)
quarrel = st.lists(st.tuples(st.just("revoke"), st.integers(0, 3), st.integers(0, 3), st.integers(0, 15)), max_size=5)
Step = tuple[str, int, int, int]
FOUR_ADMINS: list[Step] = [
    ("admin", 0, 1, 3),
    ("admin", 0, 2, 3),
    ("tell", 0, 1, 0),
    ("admin", 1, 3, 3),
    *(("tell", 1, place, 0) for place in (0, 2, 3, 4)),
]
"""The founder made two admins and the first of them a third, as all know: rights enough for trouble."""
histories = st.tuples(
    st.sampled_from([[], FOUR_ADMINS, FOUR_ADMINS, FOUR_ADMINS]), quarrel, st.lists(step, max_size=12)
).map(lambda parts: [one for part in parts for one in part])


class World:
    """Everybody has a log of their own, learns by being told, and may forge what an admin can sign."""

    def __init__(self) -> None:
        founding = FOUNDED.entries_missing_from()
        self.logs = [Membership(CLUSTER, founding) for _ in ACTORS]
        self.keys = [KEYS, *(ClusterKeys.none(PRIVATE) for _ in PEOPLE[1:]), KEYS]
        self.all: dict[bytes, bytes] = {read_entry(raw).id: raw for raw in founding}
        self.drawn = 0

    def run(self, steps: list[Step]) -> World:
        for what, actor, target, extra in steps:
            with suppress(Denied, UsageError, PeerFault):
                self.take(what, actor, target, extra)
        return self

    def take(self, what: str, actor: int, target: int, extra: int) -> None:
        log, me, subject = self.logs[actor], ACTORS[actor], PEOPLE[target]
        self.drawn += 1
        draw = entropy(10_000 + self.drawn)
        self.learn(actor)
        if what == "tell":
            for raw in log.entries_missing_from(self.logs[target].ids()):
                self.logs[target].add(raw)
            return
        if what in ("admin", "grant"):
            role = Role.ADMIN if what == "admin" else list(Role)[1:][extra % 3]
            grant = Grant(subject.node, subject.sealing_public, f"n{target}", role, SCOPES[extra % 4])
            raw = log.grant(me, grant, self.keys[actor], draw, NOW_MS)
        elif what in ("revoke", "narrow"):
            spaces = () if what == "revoke" else SCOPES[extra % 3]
            raw = log.revoke(me, subject.node, spaces, cuts_of(subject, extra), draw, NOW_MS)
        elif what == "rotate":
            raw = log.rotate(me, (NO_SPACE, PUBLIC)[extra % 2], draw, NOW_MS)
        else:
            raw = self.forge(log, me, subject, extra, draw(16))
        log.add(raw)
        self.all[read_entry(raw).id] = raw

    def forge(self, log: Membership, me: Identity, subject: Identity, extra: int, nonce: bytes) -> bytes:
        """What an admin can sign though it should not: backdated, against itself, of who it likes."""
        ids = log.ids()
        parents = tuple(dict.fromkeys((ids[extra % len(ids)], ids[(7 * extra) % len(ids)])))
        if extra % 2:
            grant = Grant(subject.node, subject.sealing_public, "evil", Role.ADMIN, (PUBLIC,))
            return state(me, CLUSTER, parents, grant, b"", nonce, NOW_MS)
        cuts = encode_part(cuts_of(subject, extra))
        return state(me, CLUSTER, parents, Revoke(subject.node, ()), cuts, nonce, NOW_MS)

    def learn(self, actor: int) -> None:
        with suppress(PeerFault):
            self.keys[actor] = self.logs[actor].keys_of(ACTORS[actor], self.keys[actor])


def replicas(subject: Identity) -> tuple[ReplicaId, ReplicaId]:
    return replica_id(subject.node, b"incarn-1"), replica_id(subject.node, b"incarn-2")


def cuts_of(subject: Identity, extra: int) -> tuple[Cut, ...]:
    one, two = replicas(subject)
    named = [Cut(PUBLIC, one, extra)] if extra % 3 else []
    return (*named, *([Cut(OTHER, two, 3)] if extra % 5 == 0 else []))


class Model:
    """The rules, said outright over sets of ids."""

    def __init__(self, raws: list[bytes]) -> None:
        self.entries = {entry.id: entry for entry in map(read_entry, raws)}
        self.before = cache(self._before)
        self.depth = cache(self._depth)
        self.ranked = sorted(self.entries.values(), key=self.rank)
        self.standing: list[SignedEntry] = []
        for one in sorted(self.revokes(), key=lambda one: (self.seniority(one.issuer), self.rank(one))):
            if self.effective(one):
                self.standing.append(one)

    def _before(self, entry: bytes) -> frozenset[bytes]:
        parents = self.entries[entry].statement.parents
        return frozenset(parents).union(*(self.before(parent) for parent in parents))

    def _depth(self, entry: bytes) -> int:
        return max((self.depth(parent) + 1 for parent in self.entries[entry].statement.parents), default=0)

    def rank(self, entry: SignedEntry) -> tuple[int, bytes]:
        return self.depth(entry.id), entry.id

    def revokes(self) -> Iterator[SignedEntry]:
        return (one for one in self.ranked if one.revoke)

    def grants(self, node: NodeId) -> list[SignedEntry]:
        return [one for one in self.ranked if one.grant and one.grant.subject == node]

    def admin_grants(self, node: NodeId) -> list[SignedEntry]:
        return [one for one in self.grants(node) if one.grant and one.grant.role is Role.ADMIN]

    def seniority(self, node: NodeId) -> tuple[int, tuple[int, bytes]]:
        nearest: dict[NodeId, tuple[int, tuple[int, bytes]]] = {RECOVERY.node: (-1, (0, b""))}
        for _ in range(len(PEOPLE) + 1):
            for one in self.ranked:
                if one.founding:
                    nearest[one.issuer] = (0, self.rank(one))
                elif one.grant and one.grant.role is Role.ADMIN and one.issuer in nearest:
                    offered = (nearest[one.issuer][0] + 1, self.rank(one))
                    nearest[one.grant.subject] = min(offered, nearest.get(one.grant.subject, offered))
        return nearest[node]

    def removals(self, node: NodeId) -> list[SignedEntry]:
        return [one for one in self.standing if one.revoke and one.revoke.subject == node and not one.revoke.spaces]

    def covering(self, node: NodeId, space: SpaceId) -> list[SignedEntry]:
        return [
            one
            for one in self.standing
            if one.revoke and one.revoke.subject == node and (not one.revoke.spaces or space in one.revoke.spaces)
        ]

    def follows(self, later: SignedEntry, earlier: SignedEntry) -> bool:
        return earlier.id in self.before(later.id)

    def cut(self, entry: SignedEntry) -> bool:
        return any(
            not self.follows(removal, entry)
            and not any(
                self.follows(entry, again) and self.follows(again, removal) and self.effective(again)
                for again in self.admin_grants(entry.issuer)
            )
            for removal in self.removals(entry.issuer)
        )

    def effective(self, entry: SignedEntry) -> bool:
        if entry.founding or entry.issuer == RECOVERY.node or entry in self.standing:
            return True
        return not self.cut(entry) and any(
            self.follows(entry, grant)
            and self.effective(grant)
            and not any(
                self.follows(entry, removal) and not self.follows(grant, removal)
                for removal in self.removals(entry.issuer)
            )
            for grant in self.admin_grants(entry.issuer)
        )

    def roles(self, node: NodeId, spaces: tuple[SpaceId, ...]) -> dict[SpaceId, Role] | None:
        """What a node may do now; None for one that is no member."""
        live = [
            one
            for one in self.grants(node)
            if self.effective(one) and all(self.follows(one, removal) for removal in self.removals(node))
        ]
        if not live or node == RECOVERY.node:
            return None
        found: dict[SpaceId, Role] = {}
        for one in live:
            assert one.grant
            if one.grant.role is Role.ADMIN:
                return dict.fromkeys(spaces, Role.ADMIN)
            for space in one.grant.spaces:
                if all(self.follows(one, revoke) for revoke in self.covering(node, space)):
                    found[space] = min(one.grant.role, found.get(space, Role.BLIND))
        return found

    def may_write(self, node: NodeId, space: SpaceId, head: bytes) -> bool:
        seen = self.before(head) | {head}
        for one in self.grants(node):
            assert one.grant
            admin = one.grant.role is Role.ADMIN
            if not admin and not (one.grant.role is Role.WRITER and space in one.grant.spaces):
                continue
            against = self.removals(node) if admin else self.covering(node, space)
            taken = any(revoke.id in seen and not self.follows(one, revoke) for revoke in against)
            if one.id in seen and self.effective(one) and not taken:
                return True
        return False

    def limit(self, space: SpaceId, replica: ReplicaId) -> int | None:
        covering = self.covering(node_of(replica), space)
        named = [cut.seq for one in covering for cut in one.cuts if cut.space == space and cut.replica == replica]
        return max(named, default=None)

    def refuses(self, replica: ReplicaId, space: SpaceId, head: bytes) -> bool:
        if self.limit(space, replica) is not None:
            return False
        seen = self.before(head) | {head}
        return any(one.id not in seen for one in self.covering(node_of(replica), space))

    def epochs(self, space: SpaceId) -> list[int]:
        rotations = [one for one in self.ranked if isinstance(one.body, Rotate) and self.effective(one)]
        return [0, *(one.body.epoch for one in rotations if one.body.space == space)]


def shuffled(world: World, rng: Random) -> Membership:
    raws = list(world.all.values())
    rng.shuffle(raws)
    log = Membership(CLUSTER)
    for raw in raws:
        log.add(raw)
    return log


@given(steps=histories, rng=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_of_arrival_the_log_says_what_the_rules_say(steps: list[Step], rng: Random) -> None:
    world = World().run(steps)
    model = Model(list(world.all.values()))
    one, other = shuffled(world, rng), shuffled(world, rng)
    assert one.digest() == other.digest()
    assert one.members() == other.members()
    for space in (NO_SPACE, PUBLIC):
        assert list(one.epochs(space)) == list(other.epochs(space)) == model.epochs(space)
        assert one.epoch(space) == other.epoch(space)
    assert one.lacking() == other.lacking()
    for entry in model.ranked:
        assert (one.rights.blame(one.log.known[entry.id]) is None) == model.effective(entry)
    for who in ACTORS:
        node = who.node
        roles = model.roles(node, (PUBLIC,))
        member = one.member(node)
        assert (None if member is None else member.roles) == roles
        assert one.revoked(node) == (roles is None and bool(model.grants(node)))
        for space in (PUBLIC, OTHER):
            head = one.authority(node, space)
            assert head == other.authority(node, space)
            assert head is None or model.may_write(node, space, head)
            for entry in model.ranked:
                assert one.may_write(node, space, entry.id) == model.may_write(node, space, entry.id)
            for replica in replicas(who):
                named = one.limit(space, replica)
                assert named == other.limit(space, replica)
                assert model.limit(space, replica) in (None, named and named.seq)
                for entry in model.ranked:
                    assert one.refuses(replica, space, entry.id) == model.refuses(replica, space, entry.id)


@given(steps=histories)
@settings(max_examples=100, deadline=None)
def test_no_removed_node_opens_an_epoch_in_use_with_all_entries_and_keys_it_ever_had(
    steps: list[Step],
) -> None:
    world = World().run(steps)
    log = shuffled(world, Random(0))
    for space in (NO_SPACE, PUBLIC):
        epoch = log.epoch(space)
        for number, who in enumerate(PEOPLE):
            if log.member(who.node) is not None:
                continue
            with suppress(PeerFault):
                stolen = log.keys_of(who, world.keys[number])
                opened = stolen.discovery if space == NO_SPACE else getattr(stolen.spaces.get(space), "epochs", {})
                assert epoch not in opened


@given(steps=histories)
@settings(max_examples=60, deadline=None)
def test_after_one_rotation_by_an_admin_there_is_an_epoch_in_use_again(steps: list[Step]) -> None:
    world = World().run(steps)
    log = shuffled(world, Random(0))
    for space in (NO_SPACE, PUBLIC):
        raw = log.rotate(RECOVERY, space, entropy(5), NOW_MS)
        log.add(raw)
        assert log.epoch(space) == read_entry(raw).body.epoch
        assert not [lack for lack in log.lacking() if log.epoch(space) in lack[2] and lack[1] == space]


@given(steps=histories, rng=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_recovery_key_always_has_its_way(steps: list[Step], rng: Random) -> None:
    world = World().run(steps)
    log = shuffled(world, rng)
    for who in PEOPLE:
        if log.member(who.node) is not None:
            raw = log.revoke(RECOVERY, who.node, (), (), entropy(rng.randrange(1 << 30)), NOW_MS)
            log.add(raw)
            world.all[read_entry(raw).id] = raw
    assert log.members() == ()
    assert shuffled(world, rng).members() == ()
