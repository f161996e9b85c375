"""What came of a run: a table with a row for each room, and the changes that no test noticed, as diffs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mutation.workshop import Verdict

SCORE_MIN = 0.85
HEAD = ("room", "changes", "tried", "killed", "timeout", "survived", "unreached", "odd", "score")


@dataclass(frozen=True)
class Row:
    """One room: how many changes there are, and how many of those tried came to what."""

    room: str
    changes: int
    counts: Mapping[Verdict, int]

    @property
    def tried(self) -> int:
        """How many were tried."""
        return sum(self.counts.values())

    @property
    def score(self) -> float:
        """The share of those tried that the tests noticed; a loop that no longer ends is noticed too."""
        noticed = self.counts.get(Verdict.KILLED, 0) + self.counts.get(Verdict.TIMEOUT, 0)
        return noticed / self.tried if self.tried else 1.0

    def cells(self) -> tuple[str, ...]:
        """Return its cells, as `HEAD` names them."""
        counts = [f"{self.counts.get(verdict, 0):,}" for verdict in Verdict]
        return (self.room, f"{self.changes:,}", f"{self.tried:,}", *counts, f"{self.score:.1%}")


@dataclass(frozen=True)
class Report:
    """One run; ``survivors`` by name, as diffs."""

    seed: int
    share: float
    rows: Sequence[Row]
    survivors: Mapping[str, str]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether a room scores below what is asked of it."""
        return any(row.score < SCORE_MIN for row in self.rows)

    def text(self) -> str:
        """Return it for people: the table in Markdown, then the diffs."""
        lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *(row.cells() for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        head = f"share {self.share:g}, seed {self.seed}, {self.seconds:,.0f} s"
        return "\n".join([head, "", table, *(f"\n{name}\n{diff}" for name, diff in self.survivors.items())])

    def facts(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "seed": self.seed,
            "share": self.share,
            "seconds": round(self.seconds, 1),
            "rooms": {
                row.room: {
                    "changes": row.changes,
                    "tried": row.tried,
                    **{verdict.value: row.counts.get(verdict, 0) for verdict in Verdict},
                    "score": round(row.score, 4),
                }
                for row in self.rows
            },
            "survivors": dict(self.survivors),
        }


def row_of(room: str, changes: int, verdicts: Sequence[Verdict]) -> Row:
    """Count what became of the changes of a room that were tried."""
    return Row(room, changes, Counter(verdicts))
