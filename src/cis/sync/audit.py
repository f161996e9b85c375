"""The audit between two nodes, the same machine on both ends: what differs silently is found, explained and mended.

Vectors first, then the living items of each space are compared (`cis.sync.audit_ranges`). For each item alive at
the peer alone this end says why it is not alive here: replaced by a change the peer claims to hold (then the peer is
wrong), collected (then it is dead there too), or held or lost against what this end's own vector says (then this
end is wrong). What is not covered by a vector is no divergence: ordinary synchronisation brings it. Who is wrong
derives the memory anew, and pulls the changesets and bodies it lacks. Whatever arrives is verified like any segment.

::

    audit = Audit({space: Inventory(vector, items)}, initiator=True)
    effects = audit.start()
    effects = audit.receive(message)      # or .receive_segment(), .explained(…), .mended(), .supplied(…), …
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from cis.errors import Fault, PeerFault
from cis.model import SpaceId
from cis.sync.audit_effects import (
    AuditEffect,
    AuditFinished,
    AuditReport,
    Explained,
    Inventory,
    Mend,
    Range,
    Repair,
    Tally,
)
from cis.sync.audit_space import SpaceAudit
from cis.sync.audit_wants import Supplies, Wants
from cis.sync.session import PAGES_MAX, Send, SendFrame
from cis.wire import messages
from cis.wire.audit import Absent, AuditOpening, Outcome, Ranges, Verdicts, Want

VERDICT_PAGES_MAX = 1024


class AuditPhase(enum.IntEnum):
    """Where an audit stands; each end comes to each in its time."""

    OPENING = 0
    COMPARING = 1
    EXPLAINING = 2
    JUDGING = 3
    """the peer's verdicts are awaited"""
    MENDING = 4
    FETCHING = 5
    RECHECKING = 6
    ENDING = 7
    FINISHED = 8


class Opening:
    """What both ends can compare: the spaces each offers, and their vectors."""

    def __init__(self, inventories: Mapping[SpaceId, Inventory]) -> None:
        self.common: dict[SpaceId, SpaceAudit] = {}
        self._offered = {space: SpaceAudit(space, mine) for space, mine in sorted(inventories.items())}
        self._stating: deque[SpaceId] | None = None
        self._pages: list[messages.Vector] = []

    def stated(self) -> Iterator[Send]:
        """Yield what this end opens with."""
        yield Send(AuditOpening(list(self._offered)))
        for space in self._offered.values():
            yield from map(Send, space.stated())

    def receive(self, message: AuditOpening | messages.Vector) -> bool:
        """Take the peer's opening; True once it is complete."""
        match message:
            case AuditOpening() if self._stating is None:
                self._stating = deque(sorted({SpaceId(space) for space in message.spaces}))
            case messages.Vector() if self._stating and message.space == self._stating[0]:
                self._on_vector(message, self._stating)
            case _:
                raise PeerFault(Fault.MALFORMED, f"{type(message).__name__} out of order in the opening of an audit")
        return not self._stating

    def _on_vector(self, message: messages.Vector, stating: deque[SpaceId]) -> None:
        self._pages.append(message)
        if not message.more:
            space = stating.popleft()
            if space in self._offered:
                self.common[space] = self._offered[space]
                self.common[space].heard(self._pages)
            self._pages = []
        elif len(self._pages) >= PAGES_MAX:
            raise PeerFault(Fault.TOO_LARGE, "a vector of more pages than any cluster needs")


class Audit:
    """See the module."""

    def __init__(self, inventories: Mapping[SpaceId, Inventory], *, initiator: bool) -> None:
        self.report = AuditReport()
        self._initiator = initiator
        self._phase = AuditPhase.OPENING
        self._opening = Opening(inventories)
        self._spaces = self._opening.common
        self._comparing: deque[SpaceAudit] = deque()
        self._answers_due = 0
        self._judged = False
        self._verdict_pages = 0
        self._wants = Wants()
        self._asked_again = False
        self._supplies = Supplies()
        self._outcome_due = True

    @property
    def finished(self) -> bool:
        """Tell whether the audit has ended well."""
        return self._phase is AuditPhase.FINISHED

    def start(self) -> list[AuditEffect]:
        """Open with the spaces and their vectors."""
        return list(self._opening.stated())

    # --- what the peer sends -----------------------------------------------------------------------------------

    def receive(self, message: messages.Message) -> list[AuditEffect]:
        """Take a message other than a segment; `PeerFault` where it does not belong here."""
        compared = self._phase > AuditPhase.COMPARING
        match message:
            case AuditOpening() | messages.Vector() if self._phase is AuditPhase.OPENING:
                return self._on_opening(message)
            case Ranges() if self._comparing and message.space == self._comparing[0].space:
                return self._on_ranges(message)
            case Verdicts() if compared and not self._judged and message.space in self._spaces:
                return self._on_verdicts(message)
            case Want() if self._judged and self._outcome_due and message.space in self._spaces:
                return [self._supplies.wanted(message)]
            case Absent() if self._wants.asked:
                self._wants.absent(message.last)
                return self._fetch()
            case Outcome() if self._outcome_due and compared and (self._judged or not self._spaces):
                self._outcome_due = False
                self.report.there = Tally(message.wrong, message.mended, message.fetched, message.missing)
                return self._fetch() if self._phase is AuditPhase.FETCHING and self._wants.idle else self._finish()
        raise PeerFault(Fault.MALFORMED, f"{type(message).__name__} does not belong in {self._phase.name.lower()}")

    def receive_segment(self) -> list[AuditEffect]:
        """Take a segment, not yet looked at: it answers the oldest want."""
        if not self._wants.asked:
            raise PeerFault(Fault.MALFORMED, "a segment nobody wanted")
        return [Repair(self._wants.arrived())]

    def _on_opening(self, message: AuditOpening | messages.Vector) -> list[AuditEffect]:
        if not self._opening.receive(message):
            return []
        self._phase = AuditPhase.COMPARING
        self._comparing.extend(self._spaces.values())
        self.report.compared = sum(len(space.items) for space in self._comparing)
        return self._begin_next()

    def _begin_next(self) -> list[AuditEffect]:
        """Begin the next space, which one of the two ends does; explain what differs after the last."""
        if not self._comparing:
            return self._explain()
        return [Send(self._comparing[0].reconciliation.open())] if self._initiator else []

    def _on_ranges(self, message: Ranges) -> list[AuditEffect]:
        comparison = self._comparing[0].reconciliation
        answer = comparison.receive(message)
        effects: list[AuditEffect] = [] if answer is None else [Send(answer)]
        if comparison.finished:
            self._comparing.popleft()
            self.report.differing += len(comparison.mine_only) + len(comparison.theirs_only)
            self.report.truncated |= comparison.truncated
            effects += self._begin_next()
        return effects

    def _on_verdicts(self, message: Verdicts) -> list[AuditEffect]:
        self._verdict_pages += 1
        if self._verdict_pages > VERDICT_PAGES_MAX:
            raise PeerFault(Fault.TOO_LARGE, "more verdicts than there can be differences")
        self._spaces[SpaceId(message.space)].on_verdicts(message)
        self._judged = not message.more
        return self._mend()

    # --- answers of the node -----------------------------------------------------------------------------------

    def explained(self, space: SpaceId, found: Iterable[Explained]) -> list[AuditEffect]:
        """Take the answer to an `Explain`."""
        self._spaces[space].explained(found)
        self._answers_due -= 1
        return [] if self._answers_due else self._judge()

    def mended(self) -> list[AuditEffect]:
        """Take the answer to a `Mend` or `Drop`."""
        self._answers_due -= 1
        return [] if self._answers_due else self._fetch()

    def supplied(self, frame: bytes | None, last: int) -> list[AuditEffect]:
        """Take the answer to the oldest `Supply`; None where this end does not have it whole, up to ``last``."""
        self._supplies.answered()
        return [SendFrame(frame) if frame is not None else Send(Absent(last)), *self._finish()]

    def repaired(self, wanted: Range, reached: int | None) -> list[AuditEffect]:
        """Take the answer to a `Repair`: the segment's last number, None where it did not fit what is held."""
        self._wants.repaired(wanted, reached)
        return self._fetch()

    def rechecked(self, space: SpaceId, wrong: int, unheld: int) -> list[AuditEffect]:
        """Take the answer to a `Recheck`: how much is still wrong, and how many living changes lack their body."""
        known, here = self._spaces[space], self.report.here
        found = len(known.lost) + len(known.told)
        self.report.here = Tally(
            here.wrong + found,
            here.mended + found - wrong,
            here.fetched + max(0, known.unheld - unheld),
            here.missing + unheld + known.still_damaged(self._wants.failed),
        )
        self._answers_due -= 1
        return [] if self._answers_due else self._end()

    # --- one phase after the other -----------------------------------------------------------------------------

    def _explain(self) -> list[AuditEffect]:
        self._phase = AuditPhase.EXPLAINING
        if not self._spaces:
            return self._end()
        questions = [question for space in self._spaces.values() if (question := space.to_explain()) is not None]
        self._answers_due = len(questions)
        return list(questions) if questions else self._judge()

    def _judge(self) -> list[AuditEffect]:
        self._phase = AuditPhase.JUDGING
        pages = [page for space in self._spaces.values() for page in space.verdicts()]
        last = pages.pop()
        closing = Verdicts(last.space, last.replaced, last.dead, more=False)
        return [*map(Send, pages), Send(closing), *self._mend()]

    def _mend(self) -> list[AuditEffect]:
        """Mend once both have judged."""
        if not self._judged or self._phase is not AuditPhase.JUDGING:
            return []
        self._phase = AuditPhase.MENDING
        spaces = self._spaces.values()
        effects: list[AuditEffect] = [drop for space in spaces if (drop := space.to_drop()) is not None]
        effects += [Mend(space.space, tuple(space.suspects)) for space in spaces if space.suspects]
        self._answers_due = len(effects)
        return effects or self._fetch()

    def _fetch(self) -> list[AuditEffect]:
        """Ask for what may be asked for now; look again once nothing is wanted any more.

        What the peer did not have whole the initiator wants once more when the peer itself is mended.
        """
        if self._phase is AuditPhase.MENDING:
            self._phase = AuditPhase.FETCHING
            for space in self._spaces.values():
                self._wants.plan(space.wanted, space.theirs)
        if self._wants.idle and self._wants.lacking and self._initiator and not self._asked_again:
            if self._outcome_due:
                return []
            self._asked_again = self._wants.again()
        if not self._wants.idle:
            return [Send(want) for want in self._wants.next()]
        self._wants.give_up()
        self._phase = AuditPhase.RECHECKING
        self.report.truncated |= self._wants.truncated
        self._answers_due = len(self._spaces)
        return [space.to_recheck() for space in self._spaces.values()]

    def _end(self) -> list[AuditEffect]:
        self._phase = AuditPhase.ENDING
        return [Send(Outcome(*self.report.here)), *self._finish()]

    def _finish(self) -> list[AuditEffect]:
        if self._phase is not AuditPhase.ENDING or self._outcome_due or not self._supplies.idle:
            return []
        self._phase = AuditPhase.FINISHED
        return [AuditFinished(self.report)]
