"""The audit as the user asks for it: held with a connected peer, its outcome or what went wrong in plain words."""

from __future__ import annotations

import asyncio

from cis.api.peers.network_schema import AuditResult, AuditTally
from cis.errors import CisError
from cis.net import ConnectionLost
from cis.net.closing import StreamReset
from cis.node.streams.auditing import AuditSummary
from cis.node.streams.links import PeerLink
from cis.sync.audit_effects import Tally


async def audit_with(link: PeerLink, timeout_s: float) -> tuple[AuditResult | None, str]:
    """Hold an audit; return its result, or None and why there is none."""
    error = ""
    try:
        async with asyncio.timeout(timeout_s):
            return _result(await link.audit()), ""
    except* TimeoutError:
        error = f"the audit was not done within {timeout_s:g} s; what it mended stays mended"
    except* StreamReset:
        error = "the peer takes part in no audit now: it is busy with one, or needs an update"
    except* ConnectionLost as group:
        error = str(_first(group))
    except* CisError as group:
        error = link.blame(_first(group))
    return None, error


def _result(summary: AuditSummary) -> AuditResult:
    report = summary.report
    return AuditResult(
        compared=report.compared,
        checked=summary.checked,
        damaged=summary.damaged,
        derived_anew=summary.derived_anew,
        here=_tally(report.here),
        there=_tally(report.there),
        unfinished=report.truncated,
    )


def _tally(tally: Tally) -> AuditTally:
    return AuditTally(wrong=tally.wrong, mended=tally.mended, fetched=tally.fetched, missing=tally.missing)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
