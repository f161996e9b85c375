"""Messages of the gossip stream: HyParView keeps the overlay, Plumtree the tree, a bulletin what is told.

Views are exchanged as contacts: a node with its signed node record, empty where the sender knows none.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.wire.decoding import Node

BODY_BYTES_MAX = 64 * 1024
"""What travels inside a gossip message; larger changes are announced and pulled by a session."""
CONTACTS_MAX = 16
WANTED_MAX = 1024
HOPS_MAX = 16
TREE_BYTES = 8
RECORD_BYTES_MAX = 2048
BULLETIN_TAG = 48

MessageId = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Tree = Annotated[bytes, msgspec.Meta(min_length=TREE_BYTES, max_length=TREE_BYTES)]
"""Whose tree: the beginning of the id of the node that broadcasts."""
Hops = Annotated[int, msgspec.Meta(ge=0, le=HOPS_MAX)]
Contact = tuple[Node, Annotated[bytes, msgspec.Meta(max_length=RECORD_BYTES_MAX)]]
Contacts = Annotated[list[Contact], msgspec.Meta(max_length=CONTACTS_MAX)]


class Join(msgspec.Struct, array_like=True, tag=32, frozen=True):
    """HyParView: take the sender into the active view and tell others of it."""

    contact: Contact


class ForwardJoin(msgspec.Struct, array_like=True, tag=33, frozen=True):
    """HyParView: a node joined; walks on until its time to live is up."""

    contact: Contact
    ttl: Hops


class Neighbour(msgspec.Struct, array_like=True, tag=34, frozen=True):
    """HyParView: asks to become a neighbour; urgent when the receiver is to drop another where it has no room."""

    contact: Contact
    urgent: bool


class NeighbourAnswer(msgspec.Struct, array_like=True, tag=35, frozen=True):
    """HyParView: whether the sender of `Neighbour` was taken into the active view."""

    accepted: bool


class Disconnect(msgspec.Struct, array_like=True, tag=36, frozen=True):
    """HyParView: the sender took the receiver out of its active view; ``leaving`` when it is about to stop."""

    leaving: bool = False


class Shuffle(msgspec.Struct, array_like=True, tag=37, frozen=True):
    """HyParView: a sample of the origin's views, walking until its time to live is up."""

    origin: Contact
    contacts: Contacts
    ttl: Hops


class ShuffleAnswer(msgspec.Struct, array_like=True, tag=38, frozen=True):
    """HyParView: a sample of the passive view in return."""

    contacts: Contacts


class Gossip(msgspec.Struct, array_like=True, tag=40, frozen=True):
    """Plumtree: a message pushed eagerly, which has come so many hops; its id is the BLAKE2b-256 of its body."""

    hops: Hops
    tree: Tree
    body: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)]


class IHave(msgspec.Struct, array_like=True, tag=41, frozen=True):
    """Plumtree: ids the sender can give, with the hops each took to it."""

    offers: Annotated[list[tuple[MessageId, Hops]], msgspec.Meta(max_length=WANTED_MAX)]


class Graft(msgspec.Struct, array_like=True, tag=42, frozen=True):
    """Plumtree: give the sender these messages, and push what comes in their trees and in the trees named."""

    ids: Annotated[list[MessageId], msgspec.Meta(max_length=WANTED_MAX)]
    trees: Annotated[list[Tree], msgspec.Meta(max_length=WANTED_MAX)] = []


class Prune(msgspec.Struct, array_like=True, tag=43, frozen=True):
    """Plumtree: offer to the sender from now on, in this tree, and do not push."""

    tree: Tree


GossipMessage = (
    Join
    | ForwardJoin
    | Neighbour
    | NeighbourAnswer
    | Disconnect
    | Shuffle
    | ShuffleAnswer
    | Gossip
    | IHave
    | Graft
    | Prune
)
