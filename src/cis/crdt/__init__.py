"""Pure merge: what is shown of a memory, given its changes, and what a new change replaces.

One mechanism carries every type: the state is the set of changes that no other held change replaces.
Merging is therefore the union of sets of changes, and commutes, associates and is idempotent by itself;
`alive` reads the result. The store does the same in bulk SQL and is tested against this room.
"""

from cis.crdt.clock import HybridClock
from cis.crdt.naming import refs_for_add, refs_for_count, refs_for_put, refs_for_remove, refs_for_vector
from cis.crdt.state import Policy, Shape, View, alive, effective, is_held, view

__all__ = [
    "HybridClock",
    "Policy",
    "Shape",
    "View",
    "alive",
    "effective",
    "is_held",
    "refs_for_add",
    "refs_for_count",
    "refs_for_put",
    "refs_for_remove",
    "refs_for_vector",
    "view",
]
