"""What is asked of a healed cluster: one state everywhere, the model's, and every acknowledged write accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from cis.model import MemoryId, VersionVector
from cis.sim.ledger import BEARING, Fact, alive
from cis.sim.oracle import name

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.oracle import Oracle


def in_step(oracle: Oracle, nodes: Sequence[SimNode]) -> bool:
    """Tell whether all hold the same, forked logs aside, and none has yet to compare it."""
    return (
        not any(oracle.shadows[node.number].owes for node in nodes)
        and len({_plain(oracle, oracle.shadows[node.number].holds) for node in nodes}) == 1
    )


def settle(oracle: Oracle, nodes: Sequence[SimNode]) -> None:
    """Judge the healed cluster: one state everywhere, the model's, and every acknowledged write accounted for."""
    if not in_step(oracle, nodes):
        ahead = Counter(_plain(oracle, oracle.shadows[node.number].holds) for node in nodes)
        oracle.found("divergences", f"{len(ahead)} different vectors among {len(nodes)} nodes after healing")
        return
    for node in nodes:
        oracle.check_whole(node)
    claims = oracle.shadows[nodes[0].number].claims
    for dot in sorted(set().union(*(oracle.shadows[node.number].acknowledged for node in nodes))):
        if dot not in claims and dot not in oracle.orphans:
            oracle.found("lost", f"{name(*dot)} was acknowledged and is nowhere")
    facts = oracle.facts(nodes[0], nodes[0].store.reader, VersionVector(), claims)
    _judge_state(oracle, nodes, [one for one in facts if one.dot.replica not in oracle.ledger.forked])


def _judge_state(oracle: Oracle, nodes: Sequence[SimNode], facts: Sequence[Fact]) -> None:
    by_memory: dict[MemoryId, list[Fact]] = {}
    for fact in facts:
        by_memory.setdefault(fact.memory, []).append(fact)
    living = {dot: one for of in by_memory.values() for dot, one in alive(of).items() if one.kind in BEARING}
    meant = [fact for fact in facts if fact.dot in oracle.ledger.intents]
    over = set().union(*(oracle.ledger.intents[fact.dot].over for fact in meant))
    for fact in meant:
        if fact.kind in BEARING and (fact.dot in over) == (fact.dot in living):
            kind = "resurrected" if fact.dot in over else "lost"
            oracle.found(
                kind, f"{name(*fact.dot)} is {'shown' if fact.dot in over else 'gone'}; its users meant otherwise"
            )
    if oracle.ledger.forked:
        return  # what the other branch did is in the hashes
    wanted = state_hash(living.values())
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
