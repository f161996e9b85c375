"""What is asked of a healed cluster: one state everywhere, the model's, and every acknowledged write accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from cis.model import Dot, MemoryId, VersionVector
from cis.model.change import BODILESS, SEQ_BITS
from cis.sim.keeping import nowhere
from cis.sim.ledger import BEARING, Fact, alive, name
from cis.sim.recalling import may_be_late
from cis.sim.ways import knows_key
from cis.store.audit import unheld_bodies

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.oracle import Oracle


def in_step(oracle: Oracle, nodes: Sequence[SimNode]) -> bool:
    """Tell whether all know and hold the same, forked logs aside, and none has yet to compare it, or lacks a body."""
    return (
        not any(oracle.shadows[node.number].owes for node in nodes)
        and len({_plain(oracle, oracle.shadows[node.number].holds) for node in nodes}) == 1
        and oracle.membership.in_step(nodes)
        and not any(_is_had(nodes, dot) for node in nodes for dot in _unheld(oracle, node))
    )


def strayed(oracle: Oracle, node: SimNode, others: Iterable[SimNode]) -> bool:
    """Tell whether a node whose disk was put back knows nobody of the cluster any more, and no key in use there.

    Neither it nor anybody can then prove to the other to be of one cluster: it has to be invited again.
    """
    others = [other for other in others if other is not node]
    knows = any(node.cluster.membership.member(other.id) is not None for other in others)
    heard = any(
        knows_key(node.cluster, other.cluster) or knows_key(other.cluster, node.cluster) for other in others if other.up
    )
    return node.number in oracle.restored and not knows and not heard


def _unheld(oracle: Oracle, node: SimNode) -> list[Dot]:
    """The living changes whose body is missing, where it should not be."""
    lacking = unheld_bodies(node.store.reader, node.cluster.public)
    return [dot for dot in lacking if not may_be_late(oracle, node, oracle.ledger.facts[dot][0], to_the_end=True)]


def _is_had(nodes: Sequence[SimNode], wanted: Dot) -> bool:
    """Tell whether one of these nodes has the body of a change."""
    query = "SELECT 1 FROM replica r JOIN body b ON b.rid = r.no << ? | ? WHERE r.id = ?"
    asked = (SEQ_BITS, wanted.seq, wanted.replica)
    return any(node.store.reader.connection.execute(query, asked).get is not None for node in nodes)


def settle(oracle: Oracle, nodes: Sequence[SimNode]) -> None:
    """Judge the healed cluster: its members have one state, the model's, and every write is accounted for."""
    if not in_step(oracle, nodes):
        oracle.found("divergences", f"{_differences(oracle, nodes)} among {len(nodes)} members after healing")
        return
    for node in nodes:
        oracle.check_whole(node, to_the_end=True)
    for dot in nowhere(nodes, nodes):
        if not oracle.ledger.is_named(oracle.ledger.facts[dot][0]):
            oracle.found("lost", f"{name(*dot)} was let go and is nowhere")
    oracle.membership.check_links(nodes)
    claims = oracle.shadows[nodes[0].number].claims
    _judge_writes(oracle, nodes, claims)
    _judge_cuts(oracle, nodes, claims)
    facts = oracle.facts(nodes[0], nodes[0].store.reader, VersionVector(), claims)
    plain = [one for one in facts if one.dot.replica not in oracle.ledger.forked]
    oracle.membership.check_keys(nodes, plain)
    _judge_state(oracle, nodes, plain)


def _differences(oracle: Oracle, nodes: Sequence[SimNode]) -> str:
    vectors = len({_plain(oracle, oracle.shadows[node.number].holds) for node in nodes})
    logs = len({node.cluster.membership.digest() for node in nodes})
    lacking = sum(len(_unheld(oracle, node)) for node in nodes)
    owing = sum(oracle.shadows[node.number].owes for node in nodes)
    return (
        f"{vectors} different vectors, {logs} different membership logs, {lacking} bodies lacking, {owing} still to "
        "compare, or keys to renew"
    )


def _judge_writes(oracle: Oracle, nodes: Sequence[SimNode], claims: VersionVector) -> None:
    """Every acknowledged write of a current member is there, unless its disk was lost, or it was cut off."""
    law, current = oracle.membership.law(nodes[0]), {node.number for node in nodes}
    excused = oracle.orphans | (oracle.risked if law.removed else set())
    for number, shadow in enumerate(oracle.shadows):
        for dot in sorted(shadow.acknowledged):
            if number in current and dot not in claims and dot not in excused and not oracle.is_forgone(nodes[0], dot):
                oracle.found("lost", f"{name(*dot)} was acknowledged and is nowhere")


def _judge_cuts(oracle: Oracle, nodes: Sequence[SimNode], claims: VersionVector) -> None:
    """What a removed node had written up to the highest cut stays, if the admin who cut there is still a member."""
    sound = {node.id for node in nodes if node.number not in oracle.restored}
    for revoke in oracle.membership.law(nodes[0]).standing:
        for (space, replica), seq in revoke.cuts.items():
            held = space == nodes[0].cluster.public and revoke.issuer in sound and replica not in oracle.ledger.forked
            if held and claims.contiguous(replica) < seq and not oracle.is_forgone(nodes[0], Dot(replica, seq)):
                oracle.found("lost", f"{name(replica, seq)} was kept by its author's removal and is nowhere")


def _judge_state(oracle: Oracle, nodes: Sequence[SimNode], facts: Sequence[Fact]) -> None:
    by_memory: dict[MemoryId, list[Fact]] = {}
    for fact in facts:
        by_memory.setdefault(fact.memory, []).append(fact)
    known = {dot: one for of in by_memory.values() for dot, one in alive(of).items()}
    living = {dot: one for dot, one in known.items() if one.kind in BEARING}
    meant = [fact for fact in facts if fact.dot in oracle.ledger.intents]
    over = set().union(*(oracle.ledger.over(fact) for fact in meant))
    for fact in meant:
        if len(oracle.ledger.facts[fact.dot]) > 1:
            continue
        if fact.kind in BEARING and (fact.dot in over) == (fact.dot in living):
            kind = "resurrected" if fact.dot in over else "lost"
            oracle.found(
                kind, f"{name(*fact.dot)} is {'shown' if fact.dot in over else 'gone'}; its users meant otherwise"
            )
    if oracle.ledger.forked:
        return  # what the other branch did is in the hashes
    wanted = state_hash(one for one in known.values() if one.kind not in BODILESS)
    for node in nodes:
        if node.store.reader.state_hash(node.cluster.public) != wanted:
            oracle.found("divergences", f"the state hash of m{node.number} is not the model's")


def _plain(oracle: Oracle, claims: VersionVector) -> tuple[object, ...]:
    seqs = tuple(sorted((one, seq) for one, seq in claims.seqs.items() if seq and one not in oracle.ledger.forked))
    beyond = tuple(sorted((one, ranges) for one, ranges in claims.beyond.items() if one not in oracle.ledger.forked))
    return seqs, beyond


def state_hash(living: Iterable[Fact]) -> bytes:
    """The hash that a space in this state has."""
    digest = blake2b(digest_size=32, person=b"cis/1 state")
    for line in sorted(one.memory + one.dot.replica + one.dot.seq.to_bytes(8, "big") for one in living):
        digest.update(line)
    return digest.digest()
