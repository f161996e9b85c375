"""What a run showed: what grew and how fast, whether that is within bounds, and everything that was broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from soak.run import Ending, Line, Looked, Setting
from soak.sampling import Sample
from soak.trend import slope

WARM_UP_S = 900.0
"""What Python and SQLite keep for the next time is filled by then."""
JUDGED_S = 1800.0
"""Slopes over less than this, after the warm-up, are shown and not judged: pages come and go by a few MiB."""
LIMITS = {"rss": 1.0, "descriptors": 1.0, "tasks": 1.0, "threads": 1.0}
"""Growth an hour that is allowed: MiB of memory, pieces of the others."""
WHAT = (
    "rss",
    "pss",
    "anonymous",
    "sqlite",
    "descriptors",
    "tasks",
    "threads",
    "blocks",
    "memory_db",
    "index_db",
    "log",
)
"""The fields of `Sample` whose growth is told; sizes in MiB."""
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Growth:
    """What one node took that stayed up: at the end of the warm-up, at the end, and the slope between, an hour."""

    node: str
    first: Mapping[str, float]
    last: Mapping[str, float]
    per_hour: Mapping[str, float]
    cpu_percent: float
    """of one core, on average over the run"""


@dataclass(frozen=True)
class Report:
    """One run."""

    setting: Setting
    ending: Ending
    samples: Sequence[Sample]
    warm_up_s: float
    judged: bool
    growth: Sequence[Growth]

    @property
    def exceeded(self) -> list[str]:
        """What grew by more than it may, where the run was long enough to judge that."""
        if not self.judged:
            return []
        return [
            f"{one.node}: {what} grows by {one.per_hour[what]:.2f} an hour, over {limit:g}"
            for one in self.growth
            for what, limit in LIMITS.items()
            if one.per_hour[what] >= limit
        ]

    @property
    def failed(self) -> bool:
        """Whether anything was broken or grew by more than it may."""
        return bool(self.ending.broken or self.exceeded)


def report_of(lines: Iterable[Line]) -> Report:
    """Work out what the lines of one run show; raises ValueError where it did not come to its end."""
    setting: Setting | None = None
    ending: Ending | None = None
    samples: list[Sample] = []
    for line in lines:
        match line:
            case Setting():
                setting = line
            case Looked(sample):
                samples.append(sample)
            case Ending():
                ending = line
    if setting is None or ending is None:
        raise ValueError("this is not the record of a run that came to its end")
    span_s = max((one.at_s for one in samples), default=0.0)
    warm_up_s = min(WARM_UP_S, span_s / 4)
    growth = [
        _growth(name, [one for one in samples if one.node == name], warm_up_s)
        for name in setting.staying
        if sum(one.node == name and one.at_s >= warm_up_s for one in samples) > 1
    ]
    return Report(setting, ending, samples, warm_up_s, span_s - warm_up_s >= JUDGED_S, growth)


def _growth(name: str, samples: Sequence[Sample], warm_up_s: float) -> Growth:
    warm = [one for one in samples if one.at_s >= warm_up_s]
    return Growth(
        node=name,
        first={what: getattr(warm[0], what) for what in WHAT},
        last={what: getattr(warm[-1], what) for what in WHAT},
        per_hour={what: _HOUR_S * (slope([(one.at_s, getattr(one, what)) for one in warm]) or 0.0) for what in WHAT},
        cpu_percent=100 * (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].at_s - samples[0].at_s),
    )


def facts(report: Report) -> dict[str, object]:
    """Return it as plain values, without the samples."""
    return {
        "date": report.setting.date,
        "version": report.setting.version,
        "python": report.setting.python,
        "system": report.setting.system,
        "processors": report.setting.processors,
        "load": report.setting.load,
        "plan": {name: getattr(report.setting.plan, name) for name in report.setting.plan.__struct_fields__},
        "seconds": round(report.ending.seconds, 1),
        "warm_up_s": round(report.warm_up_s, 1),
        "judged": report.judged,
        "samples": len(report.samples),
        "counts": report.ending.counts,
        "growth": [asdict(one) for one in report.growth],
        "exceeded": report.exceeded,
        "broken": list(report.ending.broken),
    }


def text_of(report: Report) -> str:
    """Return it for people."""
    plan = report.setting.plan
    lines = [f"soak: {plan.nodes} nodes, {plan.minutes:g} min, seed {plan.seed}, {len(report.samples):,} samples"]
    lines += [f"  {count:>9,}  {what}" for what, count in report.ending.counts.items()]
    lines += [
        f"  {one.node}: RSS {one.first['rss']:.1f} to {one.last['rss']:.1f} MiB, {one.per_hour['rss']:+.2f} MiB/h;"
        f" descriptors {one.per_hour['descriptors']:+.1f}/h, tasks {one.per_hour['tasks']:+.1f}/h"
        for one in report.growth
    ]
    lines += [f"  grows: {one}" for one in report.exceeded]
    lines += [f"  broken: {one}" for one in report.ending.broken]
    if not report.judged:
        lines.append("  too short to judge what grows: an hour says")
    lines.append("  failed" if report.failed else "  passed")
    return "\n".join(lines)
