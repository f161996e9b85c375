"""An audit over a simulated stream: `cis.node.streams.auditing` does the work, this carries its frames."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cis.errors import CisError
from cis.model import NodeId
from cis.node.streams.auditing import AuditWork
from cis.sync.audit_effects import AuditEffect, AuditFinished, Drop
from cis.sync.session import Send, SendFrame
from cis.wire.messages import encode

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode
    from cis.sim.node import SimNode
    from cis.sim.wires import End


class AuditRun:
    """One side of one audit; ``on_end`` is told of its end, with the error if there was one."""

    def __init__(
        self,
        node: SimNode,
        end: End,
        stream: int,
        on_end: Callable[[AuditRun, CisError | None], None],
        peer: NodeId,
        *,
        own: bool,
    ) -> None:
        self.stream = stream
        self.over = False
        self._node = node
        self._end = end
        self._on_end = on_end
        self._open = contextlib.ExitStack()
        reader = self._open.enter_context(node.store.snapshot())
        local = cast("LocalNode", node)  # what the work needs of one is there
        self._work = AuditWork(local, reader, node.cluster.shared_with(peer), {}, initiator=own)

    def start(self) -> None:
        """Open with the spaces and their vectors."""
        self._step(self._work.audit.start)

    def take(self, frame: bytes) -> None:
        """Take a frame of the other side."""
        self._step(lambda: self._work.take(frame))

    def drop(self) -> None:
        """Let the snapshot go; nothing more is heard of the audit."""
        self.over = True
        self._open.close()

    def give_up(self, error: CisError | None) -> None:
        """End it, with an error if there is one."""
        if not self.over:
            self.drop()
            self._on_end(self, error)

    def _step(self, react: Callable[[], list[AuditEffect]]) -> None:
        if self.over:
            return
        try:
            waiting = deque(react())
            while waiting and not self.over:
                waiting.extend(self._perform(waiting.popleft()))
        except CisError as error:
            self.give_up(error)

    def _perform(self, effect: AuditEffect) -> list[AuditEffect]:
        match effect:
            case Send(message):
                self._end.send(self.stream, self._node.outgoing(encode(message)))
            case SendFrame(frame):
                self._end.send(self.stream, frame)
            case AuditFinished():
                self.give_up(None)
            case Drop():
                answer = self._work.answer(effect)
                self._node.world.count("adoptions")
                self._node.world.changed(self._node)
                return answer
            case _:
                return self._work.answer(effect)
        return []
