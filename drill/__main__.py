"""`python -m drill`: breaks a platform in every way that it must withstand, and prints what its clients noticed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from rich.console import Console
from rich.table import Table

from aac_grpc.platform.composition import SERVICES
from drill.faults import BACKENDS, KINDS, Fault, all_faults
from drill.load import Load
from drill.measure import Outcome, judge
from drill.platform import SYMBOL, drill_platform
from drill.streams import Follower

TRADERS = 3
RATE = 8.0
"""Orders a second of each trader, and as many reads."""
TIMEOUT_S = 15.0
WARM_S = 2.0
SETTLE_S = 3.0


async def drill(faults: Sequence[Fault], replicas: int, seed: int, progress: Console) -> AsyncIterator[Outcome]:
    """Runs one fault after the other on one platform, under load."""
    with progress.status(f"start a platform with {replicas} instances of each service") as status:
        async with drill_platform(replicas) as platform:
            for number, fault in enumerate(faults, start=1):
                status.update(f"{number} of {len(faults)}: {fault}")
                async with AsyncExitStack() as stack:
                    traders = await platform.traders(stack, TRADERS, TIMEOUT_S)
                    load = Load(traders, venue=platform.venue, symbol=SYMBOL, rate=RATE, seed=f"{seed}-{number}")
                    followers = [
                        await stack.enter_async_context(Follower(trader.client, trader.account, platform.venue, SYMBOL))
                        for trader in traders
                    ]
                    async with load.running():
                        await asyncio.sleep(WARM_S)
                        began = time.monotonic()
                        back = await fault.happen(platform)
                        await asyncio.sleep(max(SETTLE_S, fault.recovery_s))
                        ended = time.monotonic()
                    yield await judge(fault, load, followers, began, back, ended)


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """Prints a table, and below it what was not as it is wanted."""
    table = Table("fault", "calls", "failed", "lost writes", "silent gaps", "worst stall s", "recovered s", "")
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
    for one in outcomes:
        for line in (*one.unmet, *one.errors):
            console.print(f"{one.fault}: {line}", style="dim", markup=False)


def main(arguments: Sequence[str]) -> int:
    """Drills and prints; 1 where something was not as it is wanted."""
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

    async def run() -> list[Outcome]:
        return [outcome async for outcome in drill(faults, given.replicas, given.seed, progress)]

    outcomes = asyncio.run(run())
    if given.json:
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2, ensure_ascii=False))
    else:
        print_outcomes(outcomes, Console())
    return int(any(outcome.unmet for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
