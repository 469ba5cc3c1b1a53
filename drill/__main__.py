"""`python -m drill`: breaks a platform in every way that it must withstand, and prints what its clients noticed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence

from rich.console import Console
from rich.table import Table

from aac_grpc.cli.output import quiet_logs
from aac_grpc.platform.composition import SERVICES
from drill.faults import BACKENDS, KINDS, Fault, all_faults
from drill.measure import Outcome
from drill.platform import drill_platform
from drill.running import run


async def drill(faults: Sequence[Fault], replicas: int, seed: int, progress: Console) -> AsyncIterator[Outcome]:
    """Runs one fault after the other on one platform, under load."""
    with progress.status(f"start a platform with {replicas} instances of each service") as status:
        async with drill_platform(replicas) as platform:
            for number, fault in enumerate(faults, start=1):
                status.update(f"{number} of {len(faults)}: {fault}")
                yield await run(platform, fault, seed=f"{seed}-{number}")


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """Prints a table, and below it what was not as it is wanted."""
    table = Table("fault", "calls", "failed", "lost", "silent", "stall s", "back s", "")
    table.columns[0].no_wrap = True
    for column in range(1, 7):
        table.columns[column].justify = "right"
    for one in outcomes:
        figures = (one.calls, one.failed, one.lost_writes, one.stream_gaps_silent)
        table.add_row(
            one.fault,
            *map(str, figures),
            f"{one.worst_stall_s:.1f}",
            f"{one.recovered_s:.1f}",
            "[red]✗[/red]" if one.unmet else "[green]✓[/green]",
        )
    console.print(table)
    console.print(
        "lost: acknowledged writes; silent: updates that a stream left out without a word; stall: longest time without "
        "a success; back: from the end of the fault until everything went on",
        style="dim",
    )
    for one in outcomes:
        for line in (*one.unmet, *one.errors):
            console.print(f"{one.fault}: {line}", style="dim", markup=False)


def main(arguments: Sequence[str]) -> int:
    """Drills and prints; 1 where something was not as it is wanted, 2 where the platform did not start or ended."""
    parser = argparse.ArgumentParser(
        prog="scripts/drill", description="Breaks a platform of its own under load, and tells what clients noticed."
    )
    parser.add_argument("--json", action="store_true", help="print a list of outcomes as JSON")
    parser.add_argument("--replicas", type=int, default=2, help="instances of each service (default 2)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what clients decide")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only such faults; repeatable")
    parser.add_argument(
        "--part", action="append", choices=(*SERVICES, *BACKENDS), help="only faults of this part; repeatable"
    )
    given = parser.parse_args(arguments)
    faults = all_faults(given.kind or KINDS, given.part or (*SERVICES, *BACKENDS))
    progress = Console(stderr=True, highlight=False)
    quiet_logs()

    async def drills() -> list[Outcome]:
        return [outcome async for outcome in drill(faults, given.replicas, given.seed, progress)]

    try:
        outcomes = asyncio.run(drills())
    except RuntimeError as error:
        progress.print(f"the drill ended: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2, ensure_ascii=False))
    else:
        print_outcomes(outcomes, Console())
    return int(any(outcome.unmet for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
