"""Memories read as a user reads them, and compared with what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.model import Kind, MemoryId, node_of
from cis.sim.ledger import Fact, name
from cis.store.names import name_of

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.oracle import Oracle


def recall(oracle: Oracle, node: SimNode, memory: MemoryId, *, to_the_end: bool) -> None:
    """Read a memory as a user does, and compare with what was written."""
    held = oracle.shadows[node.number].effective[memory]
    if oracle.shadows[node.number].catching_up:
        return
    living = [held[dot] for dot in oracle.shadows[node.number].living(memory)[1]]
    values = [one for one in held.values() if one.kind is not Kind.VECTOR]
    if any(one.dot not in oracle.ledger.intents or one.dot.replica in oracle.ledger.forked for one in values):
        return  # the Byzantine member's own
    recalled = node.store.reader.recall_by_id(memory, node.cluster.public)
    parts = {} if recalled is None else {part.change.dot: part for part in recalled.parts}
    beside = {} if recalled is None else {part.change.dot: part for part in recalled.siblings}
    newest = max(living, key=lambda one: (one.stamp, one.dot), default=None)
    wanted = {one.dot for one in living if newest is not None and one.kind is newest.kind is not Kind.PUT}
    wanted |= {newest.dot} if newest is not None else set()
    if set(parts) != wanted or set(beside) != {one.dot for one in living} - wanted:
        oracle.found("divergences", f"m{node.number} reads another memory than it holds: {sorted(parts)}")
    for dot, part in sorted({**parts, **beside}.items(), key=lambda item: item[0]):
        content = part.content
        if content is None and may_be_late(oracle, node, held[dot], to_the_end=to_the_end):
            continue
        if len(oracle.ledger.facts[dot]) > 1:
            continue  # two were written under one dot, and only one of them is meant by what is known of it
        if part.name is not None and part.name == name_of(oracle.ledger.intents[dot].content):
            continue  # it is elsewhere by choice, and listed all the same
        if content is None or not oracle.ledger.intents[dot].reads(content):
            oracle.found("lost", f"m{node.number} shows {name(*dot)} without what was written")


def may_be_late(oracle: Oracle, node: SimNode, fact: Fact, *, to_the_end: bool) -> bool:
    """Tell whether a body may be missing.

    Whoever sent the change knew what replaces it, which has not come yet, or is held back; or a key has not come
    yet; or what replaced it was cut off, and the body is still to be had from others. In the end (when it has
    been asked whether others have it, and who has which keys) this may only be where its own author replaced it by
    what was cut off: of that nobody keeps the body.
    """
    keys = node.cluster.keys.spaces[node.cluster.public]
    if to_the_end:
        return fact.epoch not in keys.epochs or oracle.ledger.is_named(
            fact,
            unless=lambda one: oracle.is_void(node, one) and node_of(one.dot.replica) != node_of(fact.dot.replica),
        )
    return fact.epoch not in keys.epochs or oracle.ledger.is_named(fact)
