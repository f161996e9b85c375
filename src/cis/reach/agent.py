"""One search for a path by ICE (RFC 8445 §8): when checks begin, which pair is nominated, and when it has failed.

Pairs that use a relay are tried by ourselves only when no direct one has succeeded for a while, and nominated only
then: §8.1.1 leaves to the controlling side when it stops looking for a better pair, and a relay, whose way is open
from the start, would win many races against a direct path. A search whose pairs have all failed waits for the peer's
checks before it gives up (RFC 8863).
"""

from __future__ import annotations

import asyncio
import math

from aioice import stun
from aioice.ice import ICE_COMPLETED, ICE_FAILED, CandidatePair

from cis.reach.checks import Checks
from cis.reach.pairs import State, is_relayed, priority

SEARCH_S = 10.0
"""A search that found nothing by then has failed."""
PATIENCE_S = 5.0
"""How long a search whose pairs all failed still waits for what the peer tries."""
PACE_S = 0.02
"""Between the beginnings of two checks (Ta, RFC 8445 §14.2)."""


class Agent(Checks):
    """Searches once; ``search`` runs the checks, and what arrives is answered as long as the agent is open.

    Pairs that use a relay wait ``relay_hold_s`` for a direct one; None leaves them out.
    """

    def __init__(self, *, controlling: bool, relay_hold_s: float | None) -> None:
        super().__init__(controlling=controlling, direct_only=relay_hold_s is None)
        self._loop = asyncio.get_running_loop()
        self._relay_hold_s = math.inf if relay_hold_s is None else relay_hold_s
        self._began = self._loop.time()

    @property
    def nominated(self) -> CandidatePair | None:
        """The pair both sides use."""
        return self._nominated.get(1)

    async def search(self) -> bool:
        """Run the checks until a pair is nominated (True), or nothing is left to try (False)."""
        assert self._group is None, "an agent searches once"
        self._began = self._loop.time()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._early_checks_done = True
                for early in self._early_checks:
                    self.check_incoming(*early)
                self._early_checks.clear()
                outcome = await self._pace()
                for pair in self._check_list:
                    if pair.task is not None:
                        pair.task.cancel()
        finally:
            self._check_list_done = True
        return outcome == ICE_COMPLETED

    def shut(self) -> None:
        """Answer nothing any more, and end the search."""
        self._closing = True
        self._finish(ICE_FAILED)

    @property
    def holding(self) -> bool:
        """Whether pairs that use a relay still wait for a direct one."""
        if self._loop.time() - self._began >= self._relay_hold_s:
            return False
        if self._remote_candidates_expected():
            return True
        return any(pair.state != State.FAILED and not is_relayed(pair) for pair in self._check_list)

    async def _pace(self) -> int:
        """Begin checks one after the other, until something is decided."""
        while True:
            self._check_periodic()
            try:
                async with asyncio.timeout(PACE_S):
                    return await self._check_list_state.get()
            except TimeoutError:
                self._nominate_best()
                self._check_list_maybe_fail()

    def _check_periodic(self) -> bool:
        holding = self.holding
        for pair in self._check_list:
            if pair.state == State.WAITING and pair.task is None and not (holding and is_relayed(pair)):
                self.check_start_task(pair)
                return True
        return not self._check_list_done

    def _nominate_best(self) -> None:
        """As the controlling side, settle on the best pair that works: any direct one before any relayed one."""
        valid = [pair for pair in self._check_list if pair.state == State.SUCCEEDED]
        if not self.ice_controlling or self._check_list_done or self._nominating or not valid:
            return
        best = min(valid, key=lambda pair: (is_relayed(pair), -priority(pair, controlling=self.ice_controlling)))
        if not (is_relayed(best) and self.holding) and self._group is not None:
            self._nominating.add(1)
            best.task = self._group.create_task(self._nominate(best))

    async def _nominate(self, pair: CandidatePair) -> None:
        try:
            await self._ask(pair, nominate=True)
        except stun.TransactionError:
            self.check_state(pair, State.FAILED)
        else:
            pair.nominated = True
        finally:
            self._nominating.clear()
        self.check_complete(pair)
        self._nominate_best()

    def _check_list_maybe_fail(self) -> None:
        """Give up when time is up; or when all failed, none is to come, and the peer had time to try its own."""
        spent_s = self._loop.time() - self._began
        hopeless = not self._remote_candidates_expected() and all(p.state == State.FAILED for p in self._check_list)
        if spent_s >= SEARCH_S or (hopeless and spent_s >= PATIENCE_S):
            self._finish(ICE_FAILED)

    def _finish(self, outcome: int) -> None:
        if not self._check_list_done:
            self._check_list_done = True
            self._check_list_state.put_nowait(outcome)

    def _on_checked(self) -> None:
        self._nominate_best()
