"""A cluster of test identities and the two ends of a handshake, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count

from cis.model import NodeId, SpaceId
from cis.trust.handshake import Dialler, HandshakeKey, Listener, Local, Step
from cis.trust.identity import Identity
from cis.trust.keys import ClusterKeys, space_id
from cis.trust.membership import Membership, found
from cis.wire.membership import Grant, Role

CERTIFICATE_HASH = bytes(range(32))
NOW_MS = 1_800_000_000_000


def entropy(seed: int) -> Callable[[int], bytes]:
    """A source that repeats for its seed."""
    numbers = count()

    def draw(length: int) -> bytes:
        block = blake2b(next(numbers).to_bytes(8, "big"), key=seed.to_bytes(8, "big")).digest()
        return (block * (length // len(block) + 1))[:length]

    return draw


def identity(seed: int) -> Identity:
    return Identity.generate(entropy(seed))


@dataclass
class Cluster:
    """Ana founded it; ``admit`` adds others."""

    seed: int = 1
    ana: Identity = field(init=False)
    log: Membership = field(init=False)
    keys: ClusterKeys = field(init=False)

    def __post_init__(self) -> None:
        self.ana = identity(self.seed)
        _, self.log, self.keys = found(self.ana, "ana", entropy(self.seed + 1000), NOW_MS)

    @property
    def public(self) -> SpaceId:
        return space_id(self.log.cluster, "public")

    def grant(self, subject: Identity, name: str, role: Role = Role.WRITER) -> Grant:
        return Grant(subject.node, subject.sealing_public, name, role, (self.public,))

    def admit(
        self,
        subject: Identity,
        name: str,
        role: Role = Role.WRITER,
        *,
        issuer: Identity | None = None,
        log: Membership | None = None,
    ) -> bytes:
        """Admit a node in one copy of the log (the cluster's own unless given); return the entry."""
        log = log or self.log
        seed = int.from_bytes(subject.node[:4], "big") + len(log.ids())
        entry = log.grant(issuer or self.ana, self.grant(subject, name, role), self.keys, entropy(seed), NOW_MS)
        assert log.add(entry)
        return entry

    def copy(self) -> Membership:
        return Membership(self.log.cluster, self.log.entries_missing_from())

    def key(self) -> HandshakeKey:
        return HandshakeKey(self.keys.discovery_key)

    def local(self, who: Identity, log: Membership | None = None) -> Local:
        log = log or self.log
        return Local(who, log.cluster, CERTIFICATE_HASH, log.chain(who.node), log.digest(), log.judge)


@dataclass
class Meeting:
    """Both ends of one handshake; ``run`` hands every frame over, through ``alter`` if given."""

    dialler: Dialler
    listener: Listener
    frames: list[bytes] = field(default_factory=list)

    def run(self, alter: Callable[[int, bytes], bytes] = lambda _, frame: frame) -> tuple[Step, Step]:
        """Return the last steps of dialler and listener."""
        ends: Sequence[Dialler | Listener] = (self.listener, self.dialler)
        last = {Dialler: Step(), Listener: Step()}
        frame: bytes | None = self.dialler.start()
        while frame is not None:
            self.frames.append(frame)
            end = ends[(len(self.frames) - 1) % 2]
            step = end.receive(alter(len(self.frames) - 1, frame))
            last[type(end)] = step
            frame = step.send
        return last[Dialler], last[Listener]


def meeting(
    cluster: Cluster,
    dialler: Identity,
    listener: Identity,
    /,
    *,
    dialler_key: HandshakeKey | None = None,
    listener_keys: Sequence[HandshakeKey] | None = None,
    expected: NodeId | None = None,
    dialler_log: Membership | None = None,
    listener_log: Membership | None = None,
    **changes: object,
) -> Meeting:
    """Set up a handshake of two nodes; ``changes`` are fields of the dialler's `Local`."""
    dialling = replace(cluster.local(dialler, dialler_log), **changes)
    return Meeting(
        Dialler(dialling, dialler_key or cluster.key(), expected, entropy(71)),
        Listener(cluster.local(listener, listener_log), listener_keys or [cluster.key()], entropy(72)),
    )
