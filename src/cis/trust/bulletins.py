"""Bulletins: signed by their author, sealed to the readers of a space, bound to its cluster by the public space's id.

The seal is that of changesets (`cis.trust.sealing`) with the author's statement as associated data, so that what is
sealed cannot be told under another name, number or time, even by one who holds the key. Under which space's key it is
sealed is not said: everybody can verify and pass on what only the readers of a space can open.

::

    body = seal_bulletin(identity, keys, Told(session, 1, now_ms, "builds", b"green"), entropy)
    statement = read_bulletin(body, keys.space)          # by every node, or PeerFault
    content = open_bulletin(statement, keys)             # by readers, or Unreadable
    space, content = open_any(statement, held)           # by whoever holds the keys of several spaces
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId
from cis.trust.identity import Entropy, Identity, Label, verify
from cis.trust.sealing import Opener, Sealer, SpaceKeys, Unreadable
from cis.wire.bulletins import (
    BulletinContent,
    BulletinStatement,
    SignedBulletin,
    decode_bulletin,
    decode_content,
    encode_bulletin_part,
    encode_content,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What an author tells, in which of its runs, as the how-manieth, and when by its own clock."""

    session: bytes
    number: int
    sent_ms: int
    topic: str
    payload: bytes


def seal_bulletin(
    identity: Identity, keys: SpaceKeys, told: Told, entropy: Entropy, *, public: SpaceId | None = None
) -> bytes:
    """Return a bulletin as the body of a gossip message; ``public`` is given where the keys are of another space."""
    plaintext = encode_content(BulletinContent(told.topic, told.payload))
    sealer = Sealer(keys, [plaintext], entropy)
    said = (identity.node, told.session, told.number, told.sent_ms)
    sealed = sealer.seal(0, plaintext, _bound(keys.space, *said))
    statement = encode_bulletin_part(BulletinStatement(*said, sealer.epoch, sealer.salt, sealed))
    signature = identity.sign(Label.BULLETIN, (public or keys.space) + statement)
    return encode_bulletin_part(SignedBulletin(statement, signature))


def read_bulletin(body: bytes, public: SpaceId) -> BulletinStatement:
    """Return the statement of a bulletin its author signed in this cluster; `PeerFault` otherwise."""
    signed, statement = decode_bulletin(body)
    if not verify(NodeId(statement.author), Label.BULLETIN, public + signed.statement, signed.signature):
        raise PeerFault(Fault.BAD_SIGNATURE, "a bulletin that its author did not sign")
    return statement


def open_bulletin(statement: BulletinStatement, keys: SpaceKeys) -> BulletinContent:
    """Return what is inside; Unreadable without the key, `PeerFault` where its author sealed what is no content."""
    said = (NodeId(statement.author), statement.session, statement.number, statement.sent_ms)
    opener = Opener(keys, statement.epoch, statement.salt)
    return decode_content(opener.open(0, statement.sealed, _bound(keys.space, *said)))


def open_any(statement: BulletinStatement, held: Iterable[SpaceKeys]) -> tuple[SpaceId, BulletinContent]:
    """Return the space whose readers it is for, and what is inside; as `open_bulletin` where none of the keys fits."""
    for keys in held:
        if statement.epoch in keys.epochs:
            try:
                return keys.space, open_bulletin(statement, keys)
            except Unreadable:
                continue
    raise Unreadable(f"sealed under an epoch {statement.epoch} of which this node holds no key")


def _bound(space: SpaceId, author: NodeId, session: bytes, number: int, sent_ms: int) -> bytes:
    return Label.BULLETIN.value + space + author + session + number.to_bytes(8, "big") + sent_ms.to_bytes(8, "big")
