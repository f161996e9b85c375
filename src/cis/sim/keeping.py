"""Devices that leave vectors and values to others, and the law of it: what is elsewhere by choice is somewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cis.crdt import Policy
from cis.model import Dot, Kind
from cis.store.author import Write
from cis.store.database import fetch
from cis.store.keeping import Keep, set_keep
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form

if TYPE_CHECKING:
    from cis.sim.node import SimNode

MODEL = "sim"
_LEFT_OUT = """
    SELECT a.rid FROM absent a WHERE NOT EXISTS (SELECT 1 FROM dead d WHERE d.rid = a.rid)
    AND NOT EXISTS (SELECT 1 FROM hidden k WHERE k.rid = a.rid) ORDER BY a.rid"""


def embed(node: SimNode, key: str) -> None:
    """Write what a model makes of the text a node shows under a key, as it does some time behind a write."""
    space = node.cluster.public
    recalled = node.store.reader.recall(space, key, Policy.CRDT)
    text = embeddable(recalled) if recalled is not None else None
    if text is not None:
        numbers = struct.pack("<2f", 1.0, len(text))
        content = Content(key, digest_of(text), form=Form.BYTES, vector=numbers, vector_model=MODEL)
        (outcome,) = node.store.write([Write(space, Kind.VECTOR, content)]).result()
        node.world.count("refusals" if isinstance(outcome, Exception) else "vectors")


def keep(node: SimNode, policy: Keep) -> None:
    """Have a node keep that much from now on, and look for what it lacks by that."""
    public, entropy = node.cluster.public, node.entropy
    changed = node.store.execute(partial(set_keep, space=public, keep=policy, entropy=entropy)).result()
    if changed:
        node.world.count("policies")
        node.later(0.0, node.recovering.after_withdrawal)


def left_out(node: SimNode) -> list[Dot]:
    """Return the living changes whose body is elsewhere by the node's choice."""
    reader = node.store.reader
    return [reader.rows.dot(rid) for (rid,) in fetch(reader.connection, _LEFT_OUT)]


def nowhere(nodes: Sequence[SimNode], has: Iterable[SimNode]) -> list[Dot]:
    """Return what some leave out and none of the others has."""
    wanted = sorted({dot for node in nodes for dot in left_out(node)})
    among = list(has)
    return [dot for dot in wanted if not any(holds(node, dot) for node in among)]


def holds(node: SimNode, dot: Dot) -> bool:
    """Tell whether a node has the body of a change."""
    query = "SELECT 1 FROM replica r JOIN body b ON b.rid = r.no << 40 | ? WHERE r.id = ?"
    return node.store.reader.connection.execute(query, (dot.seq, dot.replica)).get is not None
