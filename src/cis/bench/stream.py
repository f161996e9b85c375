"""``cis bench stream``: one stream over our endpoint against one over bare qh3, in turn."""

from __future__ import annotations

from dataclasses import dataclass

from cis.bench.bare_pair import Yardstick
from cis.bench.figures import median, ratio, say


@dataclass(frozen=True, slots=True)
class StreamResult:
    """MB (10⁶ bytes) a second; the ratio is the median of the rounds' own."""

    mb: float
    rounds: int
    mb_per_s: float
    bare_mb_per_s: float
    ratio_bare_quic: float


def bench_stream(size: int = 64_000_000, rounds: int = 7) -> StreamResult:
    """Measure that many rounds, each side first in every other one; one more warms up."""
    ours: list[float] = []
    bare: list[float] = []
    with Yardstick("carrier") as endpoint, Yardstick("bare") as plain:
        say(f"{rounds} rounds of {size / 1e6:g} MB over each, in turn")
        for number in range(rounds + 1):
            turns = [(endpoint, ours), (plain, bare)]
            for pair, speeds in turns if number % 2 else reversed(turns):
                speeds.append(size / pair.send(size) / 1e6)
    ours, bare = ours[1:], bare[1:]
    ratios = [ratio(*pair) for pair in zip(ours, bare, strict=True)]
    return StreamResult(size / 1e6, rounds, median(ours), median(bare), median(ratios))
