"""The sessions and audits a simulated node has under way, its own and its peers'."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cis.errors import CisError, Fault, PeerFault
from cis.node.core import events
from cis.sim.audits import AuditRun
from cis.sim.lending import BorrowRun, LendRun
from cis.sim.sessions import SessionRun
from cis.wire.messages import Open, encode

if TYPE_CHECKING:
    from cis.node.streams.lending import Borrowing
    from cis.sim.conversing import Conversation
    from cis.sim.node import SimNode
    from cis.sim.wires import End

FIRST_RUN = 4
"""Sessions and audits are numbered from here; the side that dialled takes the even numbers."""

Ended = Callable[[str], None]
Run = SessionRun | AuditRun | BorrowRun | LendRun


class Exchanges:
    """One life's; see the module."""

    def __init__(self, node: SimNode, talk: Conversation) -> None:
        self._node = node
        self._talk = talk
        self._runs: dict[tuple[events.LinkId, int], Run] = {}
        self._own_session: dict[events.LinkId, int] = {}

    def find(self, end: End, stream: int) -> Run | None:
        """Return what goes on over a stream."""
        return self._runs.get((end.link, stream))

    def drop(self, link: events.LinkId | None = None) -> None:
        """Let go what goes on over a link that is lost, or over all as the node is gone."""
        for place in [place for place in self._runs if link in {None, place[0]}]:
            run = self._runs.pop(place)
            self._own_session.pop(place[0], None)
            if link is not None and isinstance(run, AuditRun):
                run.give_up(PeerFault(Fault.NONE, "the connection ended"))
            else:
                run.drop()

    def synchronise(self, link: events.LinkId) -> None:
        """Begin a session."""
        end = self._talk.ends.get(link)
        if end is not None:
            stream = self._open(end, "sync")
            self._own_session[link] = stream
            self._begin_session(end, stream)

    def audit(self, link: events.LinkId, ended: Ended) -> None:
        """Begin an audit; ``ended`` is told of its end, with the error if there was one."""
        end = self._talk.ends.get(link)
        if end is not None:
            self._begin_audit(end, self._open(end, "audit"), ended, own=True)

    def borrow(self, link: events.LinkId, borrowing: Borrowing, ended: Callable[..., None]) -> None:
        """Ask for values; ``ended`` is told whether all was answered."""
        end = self._talk.ends[link]
        run = BorrowRun(end, self._open(end, "bodies"), borrowing, partial(self._borrowed, end, ended))
        self._runs[link, run.stream] = run
        run.start()

    def _borrowed(self, end: End, ended: Callable[..., None], run: BorrowRun, error: CisError | None) -> None:
        self._runs.pop((end.link, run.stream), None)
        if error is not None:
            end.reset(run.stream)
            self._talk.blame(end, error)
        ended(whole=error is None)

    def on_reset(self, end: End, stream: int) -> None:
        """The other side gave a session or audit up."""
        run = self._runs.get((end.link, stream))
        if isinstance(run, AuditRun):
            run.give_up(PeerFault(Fault.BUSY, "the peer gave the audit up"))
        elif run is not None:
            del self._runs[end.link, stream]
            run.drop()
            if self._own_session.get(end.link) == stream:
                del self._own_session[end.link]
                self._node.report(events.SyncEnded(end.link, None))

    def _open(self, end: End, purpose: str) -> int:
        stream = FIRST_RUN + 2 * self._talk.fresh_number() + (end is end.wire.ends[1])
        end.send(stream, encode(Open(purpose)))
        return stream

    def open(self, end: End, stream: int, message: object) -> None:
        """The peer begins something; of two sessions begun at once that of the smaller id goes on."""
        match message:
            case Open("sync"):
                if end.link in self._own_session and self._node.id < self._talk.node_at(end):
                    end.reset(stream)
                else:
                    self._begin_session(end, stream)
            case Open("audit"):
                if any(link == end.link and isinstance(run, AuditRun) for (link, _), run in self._runs.items()):
                    end.reset(stream)
                else:
                    self._begin_audit(end, stream, lambda _: None, own=False)
            case Open("bodies"):
                place = (end.link, stream)
                ended = partial(self._runs.pop, place, None)
                self._runs[place] = LendRun(self._node, end, stream, self._talk.node_at(end), ended)

    def _begin_session(self, end: End, stream: int) -> None:
        self._node.world.count("sessions")
        run = SessionRun(self._node, end, stream, partial(self._session_ended, end), self._talk.node_at(end))
        self._runs[end.link, stream] = run
        run.start()

    def _session_ended(self, end: End, run: SessionRun, error: CisError | None) -> None:
        self._runs.pop((end.link, run.stream), None)
        own = self._own_session.get(end.link) == run.stream
        if own:
            del self._own_session[end.link]
        if error is None:
            self._node.world.count("sessions_completed")
            self._node.report(events.SyncEnded(end.link, run.machine.report))
            self._node.recovering.after_session(self._talk.node_at(end), run.machine.report.changes_received)
            return
        end.reset(run.stream)
        if own:
            self._node.report(events.SyncEnded(end.link, None, str(error)))
        self._talk.blame(end, error)

    def _begin_audit(self, end: End, stream: int, ended: Ended, *, own: bool) -> None:
        self._node.world.count("audits")
        on_end = partial(self._audit_ended, end, ended)
        run = AuditRun(self._node, end, stream, on_end, self._talk.node_at(end), own=own)
        self._runs[end.link, stream] = run
        run.start()

    def _audit_ended(self, end: End, ended: Ended, run: AuditRun, error: CisError | None) -> None:
        self._runs.pop((end.link, run.stream), None)
        if error is not None:
            end.reset(run.stream)
            self._talk.blame(end, error)
        ended("" if error is None else str(error))
