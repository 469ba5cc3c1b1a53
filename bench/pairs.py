"""Comparisons: two or more contestants measured by turns, so that what else the machine does meets all of them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, TypeVar

from bench.report import Row

T = TypeVar("T")
Measure = Callable[[], Awaitable[T]]

PAIRS = 15
"""Of each comparison, at least."""
QUICK_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The middle of some figures, and where the middle half of them lies."""

    low: float
    middle: float
    high: float


def quartiles_of(values: Iterable[float]) -> Quartiles:
    """Quartiles, interpolated between neighbours; all three are the same where there is one value."""
    known = list(values)
    if len(known) == 1:
        return Quartiles(*(known * 3))
    return Quartiles(*quantiles(known, n=4, method="inclusive"))


async def by_turns(contestants: Mapping[str, Measure[T]], rounds: int) -> list[dict[str, T]]:
    """Measures every contestant once a round, each round in the opposite order of the one before.

    One more round goes first and is left out: it warms up caches, connections and the interpreter.

    Returns:
        For each round what was measured, by contestant.
    """
    found = []
    names = list(contestants)
    for number in range(rounds + 1):
        order = names if number % 2 else names[::-1]
        found.append({name: await contestants[name]() for name in order})
    return found[1:]


def compare(
    name: str,
    pairs: Sequence[tuple[float, float]],
    unit: str,
    *,
    goal: str = "",
    detail: str,
    inverse: bool = False,
    scale: float = 1.0,
) -> Row:
    """The row of measured pairs.

    Args:
        name: Of the row.
        pairs: (baseline, ours), each measured beside the other.
        unit: Of both, once scaled.
        goal: For the ratio, such as "<= 0.75".
        detail: How it was measured; what the ratio is of is added.
        inverse: The ratio is baseline / ours rather than ours / baseline.
        scale: Of value and baseline, such as 1e3 from seconds to milliseconds.
    """
    ratio = quartiles_of(baseline / ours if inverse else ours / baseline for baseline, ours in pairs)
    baseline, ours = (median(side) * scale for side in zip(*pairs, strict=True))
    what = "baseline / value" if inverse else "value / baseline"
    return Row(
        name,
        ours,
        unit,
        baseline,
        ratio.middle,
        f"ratio = {what}, median of {len(pairs)} interleaved pairs; {detail}",
        (ratio.low, ratio.high),
        goal,
    )


def single(name: str, values: Sequence[float], unit: str, *, goal: str = "", detail: str, **known: Any) -> Row:
    """The row of figures that are compared with nothing: their median and quartiles."""
    found = quartiles_of(values)
    how = f"median of {len(values)}; {detail}"
    return Row(name, found.middle, unit, detail=how, quartiles=(found.low, found.high), goal=goal, **known)
