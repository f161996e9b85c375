"""What keys protect, made by somebody who holds them: signed and sealed properly, with anything inside."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache

import msgspec

from cis.api.configuration.relay_urls import parse_stun, parse_turn
from cis.apps.mcp.uris import read as read_uri
from cis.discovery.address import Source, dialable, join_endpoint, split_endpoint
from cis.discovery.libp2p.places import read_place, write_place
from cis.discovery.static import StaticPeer
from cis.errors import Denied, PeerFault, UsageError
from cis.model import Candidate, NodeId, replica_id
from cis.model.ids import did_of, parse_did
from cis.trust import backup
from cis.trust.beacons import ITEM_RECORD_MAX, open_item, open_record, seal_item, seal_record
from cis.trust.bulletins import Told as ToldBulletin
from cis.trust.bulletins import open_bulletin, read_bulletin, seal_bulletin
from cis.trust.codes import parse_code
from cis.trust.entries import hash_attachment, named_space, read_entry, sign_entry, verify_chain
from cis.trust.identity import Label
from cis.trust.invites import Ticket, parse_ticket
from cis.trust.keys import ClusterKeys
from cis.trust.membership import Membership
from cis.trust.phrase import identity_of, phrase_of
from cis.trust.records import read_record, sign_record
from cis.trust.recovery import parse_recovery_key, recovery_text
from cis.trust.rooms import RoomCipher
from cis.trust.sealing import Unreadable
from cis.trust.signals import open_signal, seal_signal
from cis.wire.membership import NO_CLUSTER, Entry, Role, Statement, decode_entry, decode_statement, encode_part
from cis.wire.signals import decode_signal
from fuzz.target import Target, chosen, script, steps_in
from tests.unit.trust.cluster import NOW_MS, Cluster, entropy, identity

_ANA_SEED = 1
_DRAW = entropy(5)
_TAG = bytes(16)


@cache
def cluster() -> Cluster:
    """Return Ana's cluster, with Bob as another admin and Carol as a writer."""
    made = Cluster(_ANA_SEED)
    made.admit(identity(2), "bob", Role.ADMIN)
    made.admit(identity(3), "carol")
    return made


def entries(data: bytes) -> None:
    """Membership entries of an admin, a member or a stranger: the log takes them or not, and is read all the same."""
    base = cluster()
    log = Membership(base.log.cluster, _entries())
    people = (base.ana, identity(2), identity(3), identity(4))
    for number, raw in steps_in(data):
        with suppress(PeerFault):
            read_entry(raw)
        verify_chain(log.cluster, people[1].node, [raw, *_entries()[:2]])
        with suppress(PeerFault):
            entry = decode_entry(raw)
            stated = _restated(decode_statement(entry.statement), number, log)
            issuer = chosen(people, number)
            changed = msgspec.structs.replace(
                stated, issuer=issuer.node, attachment_hash=hash_attachment(entry.attachment)
            )
            log.add(sign_entry(issuer, changed, entry.attachment))
    _read_everything(log, tuple(one.node for one in people))


def _restated(statement: Statement, number: int, log: Membership) -> Statement:
    """Put a statement behind what the log holds, so that it is not refused for its place alone."""
    where = NO_CLUSTER if number & 32 else log.cluster
    parents = statement.parents if number & 16 else log.ids()[-1:]
    return msgspec.structs.replace(statement, cluster=where, parents=parents)


def _read_everything(log: Membership, people: tuple[NodeId, ...]) -> None:
    base = cluster()
    log.digest(), log.heads(), log.lacking(), log.space_names(base.keys)
    with suppress(PeerFault):
        log.keys_of(identity(2), ClusterKeys.none(base.keys.private))
    for space in (base.public, *log.spaces()):
        log.epoch(space), log.epochs(space), log.readers(space), log.sharers(space)
        for node in people:
            head = log.authority(node, space) or bytes(32)
            replica = replica_id(node, bytes(8))
            log.may_write(node, space, head), log.limit(space, replica), log.refuses(replica, space, head)
            log.chain(node), log.judge(node, ()), log.revoked(node), log.removed_by(node)


def sealed(data: bytes) -> None:
    """Node records, items of a hash table, bulletins and signals that a member made."""
    ana, keys = cluster().ana, cluster().keys
    public = keys.spaces[cluster().public]
    for number, inner in steps_in(data):
        match number % 6:
            case 0:
                signed = msgspec.msgpack.encode((inner, ana.sign(Label.RECORD, inner)))
                with suppress(PeerFault):
                    read_record(signed)
            case 1:
                opened = open_record(
                    keys.discovery_key, _TAG, seal_record(keys.discovery_key, _TAG, inner[:2048], _DRAW)
                )
                with suppress(PeerFault):
                    read_record(opened)
            case 2:
                item = seal_item(keys.discovery_key, _TAG, inner[:ITEM_RECORD_MAX], _DRAW)
                with suppress(PeerFault):
                    read_record(open_item(keys.discovery_key, _TAG, item))
            case 3:
                body = msgspec.msgpack.encode([48, inner, ana.sign(Label.BULLETIN, public.space + inner)])
                with suppress(PeerFault, Unreadable):
                    open_bulletin(read_bulletin(body, public.space), public)
            case 4:
                box = seal_signal(bytes(32), ana.node, ana.node, _TAG, inner[:8192], _DRAW)
                with suppress(PeerFault):
                    decode_signal(open_signal(bytes(32), ana.node, ana.node, box))
            case _:
                for opens in (open_record, open_item):
                    with suppress(PeerFault):
                        opens(keys.discovery_key, _TAG, inner)
                with suppress(PeerFault):
                    open_signal(bytes(32), ana.node, ana.node, inner)


def room(data: bytes) -> None:
    """What is said in an anchor's room, first the other side's key: nothing is opened that it did not seal."""
    own, other = (RoomCipher(7, entropy(seed), is_taker=seed == 1) for seed in (1, 2))
    other.agree(own.public)
    with suppress(PeerFault):
        own.agree(other.public)
        own.confirm(bytes(32))
        for number, chunk in steps_in(data):
            if number & 1:
                own.agree(chunk)
            else:
                assert not own.open(chunk), "it was sealed by nobody"


def texts(data: bytes) -> None:
    """Tickets, codes, words, keys, names and addresses as people paste them: what is read is written the same."""
    for number, raw in steps_in(data):
        text = raw.decode(errors="surrogateescape" if number & 64 else "replace")
        with suppress(UsageError):
            _TEXTS[number % len(_TEXTS)](text)


def _ticket(text: str) -> None:
    payload = text.encode(errors="surrogateescape")
    for typed in (text, Ticket(bytes(32), NodeId(bytes(32)), (), bytes(32), 0).to_text() + text, _ticket_of(payload)):
        with suppress(UsageError):
            ticket = parse_ticket(typed)
            assert parse_ticket(ticket.to_text()) == ticket


def _ticket_of(payload: bytes) -> str:
    """Return a ticket whose check fits its payload, whatever that is."""
    import base64
    from hashlib import blake2b

    measured = len(payload).to_bytes(2, "big") + payload
    check = blake2b(measured, digest_size=4, person=b"cis ticket text").digest()
    return "cis1" + base64.b32encode(measured + check).decode().rstrip("=").lower()


def _code(text: str) -> None:
    assert parse_code(str(parse_code(text))) == parse_code(text)


def _phrase(text: str) -> None:
    found = identity_of(text)
    assert identity_of(" ".join(phrase_of(found))).seed == found.seed


def _recovery(text: str) -> None:
    found = parse_recovery_key(text)
    assert parse_recovery_key(recovery_text(found)).seed == found.seed


def _did(text: str) -> None:
    assert parse_did(did_of(parse_did(text))) == parse_did(text)


def _endpoint(text: str) -> None:
    for source in Source:
        dialable(text, source)
    host, port = split_endpoint(text)
    assert split_endpoint(join_endpoint(host, port)) == (host, port)


def _peer(text: str) -> None:
    peer = StaticPeer.parse(text)
    assert StaticPeer.parse(str(peer)) == peer


def _place(text: str) -> None:
    place = read_place(text)
    assert place is None or read_place(write_place(*place[:2])) is not None


_TEXTS = (
    _ticket,
    _code,
    _phrase,
    _recovery,
    _did,
    _endpoint,
    _peer,
    _place,
    parse_stun,
    parse_turn,
    lambda text: read_uri(text, "public"),
)


def backups(data: bytes) -> None:
    """A file that is to be a backup, and what is inside one that opens."""
    for number, raw in steps_in(data):
        with suppress(UsageError):
            backup.read_backup(raw)
        with suppress(UsageError, Denied):
            backup.open_backup(raw if number & 1 else b"age-encryption.org/v1\n" + raw, "secret")


@cache
def _entries() -> tuple[bytes, ...]:
    return tuple(cluster().log.entries_missing_from())


def _entry_seeds() -> Iterable[bytes]:
    base, bob = cluster(), identity(2)
    yield script(*enumerate(_entries()))
    log = base.copy()
    made = [
        base.log.revoke(base.ana, identity(3).node, (), (), entropy(9), NOW_MS),
        base.log.rotate(base.ana, base.public, entropy(10), NOW_MS),
        log.grant(bob, base.grant(identity(7), "seven"), base.keys, entropy(11), NOW_MS),
    ]
    yield script(*((0, one) for one in made))
    nonce = bytes(16)
    space = msgspec.msgpack.encode((named_space(base.log.cluster, base.ana.node, nonce), b"name"))
    statement = Statement(4, base.log.cluster, base.log.ids()[-1:], base.ana.node, NOW_MS, nonce, space, bytes(32))
    yield script((0, encode_part(Entry(encode_part(statement), bytes(64), encode_part(())))))


def _sealed_seeds() -> Iterable[bytes]:
    from fuzz.targets.wire import golden

    ana, keys = cluster().ana, cluster().keys
    record = sign_record(ana, (Candidate("192.0.2.1", 7677, "direct"), Candidate("2001:db8::1", 9, "lan")), NOW_MS)
    told = ToldBulletin(bytes(8), 1, NOW_MS, "builds", b"green")
    bulletin = seal_bulletin(ana, keys.spaces[cluster().public], told, _DRAW)
    yield script((0, msgspec.msgpack.decode(record)[0]), (1, record), (2, record))
    yield script((3, msgspec.msgpack.decode(bulletin)[1]))
    yield from (script((4, signal)) for signal in golden("cis.wire.signals"))
    yield script((5, seal_record(keys.discovery_key, _TAG, record, _DRAW)))


def _room_seeds() -> Iterable[bytes]:
    other = RoomCipher(7, entropy(2), is_taker=False)
    own = RoomCipher(7, entropy(1), is_taker=True)
    other.agree(own.public)
    yield script((1, other.public), (0, bytes(40)))


def _text_seeds() -> Iterable[bytes]:
    node = cluster().ana.node
    ticket = Ticket(bytes(32), node, (("192.0.2.1", 7677), ("node.example.net", 1)), bytes(32), NOW_MS)
    texts = (
        ticket.to_text(), "42-copper-otter", " ".join(phrase_of(cluster().ana)), recovery_text(cluster().ana),
        did_of(node), "[2001:db8::1]:7677", f"{did_of(node)}@node.example.net:9", "/ip4/192.0.2.1/tcp/4001",
        "stun:stun.example.net", "turns:turn.example.net:443?transport=tcp", "memory://a%2Fb?space=work",
    )  # fmt: skip
    yield from (script((number, text.encode())) for number, text in enumerate(texts))
    payload = (bytes(32), node, bytes(32), NOW_MS, (((b"\0\xc0\0\2\1"), 7677), (b"host.example.net", 1)))
    yield script((64 * len(_TEXTS), msgspec.msgpack.encode(payload)))


def _backup_seeds() -> Iterable[bytes]:
    whole = backup.Backup(
        version=1, made_ms=NOW_MS, name="ana", locked=True, seed=bytes(32), cluster=bytes(32),
        keys=b"keys", entries=(b"entry",), peers=b"{}", config=b"[p2p]",
    )  # fmt: skip
    yield script((0, b"cis backup 1\n" + msgspec.msgpack.encode(whole)))
    yield script((1, b"age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 1\n\n--- x\n"))


TARGETS = (
    Target("trust.entries", entries, _entry_seeds, bytes_max=6000),
    Target("trust.sealed", sealed, _sealed_seeds),
    Target("trust.room", room, _room_seeds),
    Target("trust.texts", texts, _text_seeds, bytes_max=1024),
    Target("trust.backups", backups, _backup_seeds, bytes_max=2048),
)
