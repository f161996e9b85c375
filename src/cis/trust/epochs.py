"""The epochs of each space and of the discovery key: in which order they came, who was given their keys.

Epochs are ordered by the rank of the entries that opened them. One whose key was sealed to a node that has since
been removed, or removed by somebody who did not know of it, takes no new writes (RULES of signing and sealing). A
grant made apart from a rotation leaves its subject without that epoch's key; who lacks what is told here.
"""

from __future__ import annotations

from collections.abc import Collection

from cis.model import NodeId, SpaceId
from cis.trust.log import Known
from cis.trust.members import Members
from cis.wire.membership import NO_SPACE, Grant, NewSpace, Role, Rotate

Lack = tuple[NodeId, SpaceId, tuple[int, ...]]


class Epochs:
    """What the log of one moment says of epochs."""

    def __init__(self, log: Members) -> None:
        self._log = log
        self._spaces = (NO_SPACE, *log.spaces())
        self._opened: dict[SpaceId, dict[int, None]] = {}
        self._void: dict[SpaceId, dict[int, None]] = {}
        self._knowers: dict[tuple[SpaceId, int], dict[NodeId, None]] = {}
        self._hashes: dict[tuple[SpaceId, int], bytes] = {}
        ranked = log.ranked()
        void = []
        for known in ranked:
            if log.rights.blame(known) is None:
                self._open(known)
            elif isinstance(known.entry.body, Rotate):
                void.append(known)
        for known in void:
            self._open_void(known)
        for known in ranked:
            self._hear(known)

    def of(self, space: SpaceId) -> tuple[int, ...]:
        """Return all epochs of a space, by rank; none of a space there is not."""
        return tuple(self._opened.get(space, ()))

    def usable(self, space: SpaceId) -> int | None:
        """Return the latest epoch that no removed node was given, None where there is none."""
        return next((epoch for epoch in reversed(self.of(space)) if self._safe(space, epoch)), None)

    def preferred(self, space: SpaceId, held: Collection[int]) -> int | None:
        """Return, of the epochs held, the one in use, else the latest; None where none of them is of the space."""
        usable = self.usable(space)
        if usable is not None and usable in held:
            return usable
        return next((epoch for epoch in reversed(self.of(space)) if epoch in held), None)

    def key_hash(self, space: SpaceId, epoch: int) -> bytes | None:
        """Return the hash that the entry which opened an epoch states of its key."""
        return self._hashes.get((space, epoch))

    def lacking(self) -> tuple[Lack, ...]:
        """Return the entitled members that were never sealed an epoch's key, space by space.

        A void epoch counts if somebody entitled knows it: before it learned better, it may have written under it.
        """
        found: list[Lack] = []
        for space in self._spaces:
            entitled = self._log.members() if space == NO_SPACE else self._log.readers(space)
            nodes = {member.node for member in entitled}
            written = (
                epoch for epoch in self._void.get(space, ()) if not nodes.isdisjoint(self._knowers[space, epoch])
            )
            counting = self._current_discovery() if space == NO_SPACE else (*self.of(space), *written)
            for member in entitled:
                lacked = tuple(epoch for epoch in counting if member.node not in self._knowers[space, epoch])
                if lacked:
                    found.append((member.node, space, lacked))
        return tuple(found)

    def _current_discovery(self) -> tuple[int, ...]:
        usable = self.usable(NO_SPACE)
        return () if usable is None else (usable,)

    def _open(self, known: Known) -> None:
        entry = known.entry
        match entry.body:
            case Grant() if entry.founding:
                for space in self._spaces[:2]:
                    self._enter(space, 0, known)
            case Rotate(space=space, key_hash=key_hash) as rotate if space in self._spaces:
                if self._enter(space, rotate.epoch, known):
                    self._hashes[space, rotate.epoch] = key_hash
            case NewSpace(space=space):
                self._enter(space, 0, known)

    def _open_void(self, known: Known) -> None:
        rotate = known.entry.body
        assert isinstance(rotate, Rotate)
        place = (rotate.space, rotate.epoch)
        if place not in self._knowers and rotate.space in self._spaces:
            self._void.setdefault(rotate.space, {})[rotate.epoch] = None
            self._hashes[place] = rotate.key_hash
            self._knowers[place] = _told_by(known)

    def _enter(self, space: SpaceId, epoch: int, known: Known) -> bool:
        if (space, epoch) in self._knowers:
            return False
        self._opened.setdefault(space, {})[epoch] = None
        self._knowers[space, epoch] = _told_by(known)
        return True

    def _hear(self, known: Known) -> None:
        """Enter whom a grant tells keys, void or not. Who does not know a key can tell it to nobody."""
        entry, recovery = known.entry, self._log.rights.recovery
        if entry.grant is None:
            return
        for sealed in entry.sealed:
            knowers = self._knowers.get((sealed.key.space, sealed.key.epoch))
            if knowers is not None and (entry.issuer in knowers or entry.issuer == recovery):
                knowers[sealed.recipient] = None

    def _safe(self, space: SpaceId, epoch: int) -> bool:
        return all(self._entitled(node, space) for node in self._knowers[space, epoch])

    def _entitled(self, node: NodeId, space: SpaceId) -> bool:
        """Tell whether a node may know a space's keys: by its role, or as a member they were never taken from."""
        log = self._log
        if node == log.rights.recovery:
            return True
        if log.member(node) is None:
            return False
        if space == NO_SPACE:
            return True
        role = log.space_role(node, space)
        return role not in (None, Role.BLIND) or not log.rights.covering(node, space)


def _told_by(known: Known) -> dict[NodeId, None]:
    """Who knows a key from the entry that brought it."""
    return dict.fromkeys((known.entry.issuer, *(sealed.recipient for sealed in known.entry.sealed)))
