"""A suite: benches that are reported together."""

import importlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from bench.options import Options
from bench.report import Row

Measuring = Callable[[Options], AsyncIterator[Row]]


@dataclass(frozen=True, slots=True)
class Bench:
    """One bench.

    Attributes:
        name: As `--only` takes it.
        measure: Yields its rows, each as soon as it is known.
    """

    name: str
    measure: Measuring


def later(where: str) -> Measuring:
    """A bench that is imported when it runs: it may need what the others do not, and only it fails where that is away.

    Args:
        where: "package.module:function".
    """
    module, _, name = where.partition(":")

    async def measure(options: Options) -> AsyncIterator[Row]:
        async for row in getattr(importlib.import_module(module), name)(options):
            yield row

    return measure


@dataclass(frozen=True, slots=True)
class Suite:
    """Benches in the order in which they run."""

    name: str
    benches: Sequence[Bench]

    def chosen(self, only: Collection[str]) -> Sequence[Bench]:
        """The benches of these names; all where none is named."""
        return [bench for bench in self.benches if not only or bench.name in only]

    async def measure(self, options: Options) -> AsyncIterator[Row]:
        """Runs benches one after the other; one that fails becomes a row without a value that says so."""
        for bench in self.chosen(options.only):
            options.begin(bench.name)
            try:
                async for row in bench.measure(options):
                    # What else the machine did: on a busy one the figures are of its leftovers.
                    yield replace(row, detail=f"{row.detail}; load average then {os.getloadavg()[0]:.1f}")
            except Exception as error:
                yield Row(f"{self.name}.{bench.name}", None, "", detail=f"failed: {error!r}")
