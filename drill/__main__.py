"""`python -m drill`: breaks a platform in every way that it must withstand, and prints what its clients noticed."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table

from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.state import StateDirectory
from aac_grpc.cli.output import quiet_logs
from aac_grpc.client.errors import AacError
from aac_grpc.platform.composition import SERVICES, Platform
from drill.faults import BACKENDS, FREEZE_S, FREEZING, KINDS, LOSE, Fault, all_faults
from drill.installed import find_installed, installed_platform
from drill.measure import Outcome
from drill.platform import DrillPlatform, drill_platform
from drill.running import run

ABOUT_S = 15
"""A fault takes so long, and what is asked of the platform afterwards."""


async def drill(
    faults: Sequence[Fault], where: AbstractAsyncContextManager[DrillPlatform], seed: int, progress: Console
) -> list[Outcome]:
    """Runs one fault after the other on one platform, under load, and tells each as it ends."""
    task = asyncio.current_task()
    assert task is not None
    # Told to end, it mends what it has broken first: a frozen process would stay frozen.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    outcomes: list[Outcome] = []
    with progress.status("prepare a platform") as status:
        async with where as platform:
            for number, fault in enumerate(faults, start=1):
                left = in_minutes(faults[len(outcomes) :])
                status.update(f"{number} of {len(faults)}: {fault} (about {left} left)")
                outcomes.append(await run(platform, fault, seed=f"{seed}-{number}"))
                progress.print(f"{number} of {len(faults)}: {in_short(outcomes[-1])}")
    return outcomes


def in_minutes(faults: Sequence[Fault]) -> str:
    """How long the faults take, roughly."""
    longer_s = sum(fault.frozen_s - FREEZE_S for fault in faults if fault.kind in FREEZING)
    return f"{max(1.0, (ABOUT_S * len(faults) + longer_s) / 60):.0f} min"


def in_short(outcome: Outcome) -> str:
    """An outcome for whoever waits."""
    mark = "[red]✗[/red]" if outcome.unmet else "[green]✓[/green]"
    return f"{mark} {outcome.fault} [dim]{outcome.failed} of {outcome.calls} calls failed[/dim]"


def may_break(platform: Platform, faults: Sequence[Fault], console: Console) -> bool:
    """Asks whether a running installation may be broken."""
    parts = ", ".join(dict.fromkeys(fault.part for fault in faults))
    console.print(
        f"For about {in_minutes(faults)}, processes of the installation on {platform.state.path} are killed, "
        f"frozen or restarted under load, one after the other: {parts}. Others who use it will notice.",
        markup=False,
    )
    return Confirm.ask("Break it?", console=console, default=False)


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
        prog="scripts/drill",
        description="Breaks a platform under load, part by part, and tells what clients noticed. The platform is one "
        "of its own, or with --running yours. It ends with 1 where something was not as docs/failure.md says.",
    )
    parser.add_argument(
        "--running",
        action="store_true",
        help="break the installation that runs here, started with `aac up --replicas 2`, in place of one of its own; "
        "orders go to a venue of the drill's, which is removed afterwards",
    )
    parser.add_argument("--yes", action="store_true", help="with --running: don't ask")
    parser.add_argument("--json", action="store_true", help="print a list of outcomes as JSON")
    parser.add_argument("--replicas", type=int, default=2, help="instances of each service of its own (default 2)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what clients decide")
    parser.add_argument(
        "--kind",
        action="append",
        choices=(*KINDS, LOSE),
        help=f"only such faults; repeatable ({LOSE}: all instances stand still; not done unless asked for)",
    )
    parser.add_argument(
        "--frozen-s", type=float, default=FREEZE_S, metavar="S", help="how long processes stand still (default 10)"
    )
    parser.add_argument(
        "--part", action="append", choices=(*SERVICES, *BACKENDS), help="only faults of this part; repeatable"
    )
    given = parser.parse_args(arguments)
    faults = all_faults(given.kind or KINDS, given.part or (*SERVICES, *BACKENDS), given.frozen_s)
    progress = Console(stderr=True, highlight=False)
    quiet_logs()

    try:
        where = drill_platform(given.replicas)
        if given.running:
            installed = find_installed(StateDirectory.default())
            if not given.yes and not sys.stdin.isatty():
                raise RuntimeError("nobody is there to be asked whether the installation may be broken; give --yes")
            if not given.yes and not may_break(installed, faults, progress):
                return 130
            where = installed_platform(installed)
        outcomes = asyncio.run(drill(faults, where, given.seed, progress))
    except (RuntimeError, BackendError, AacError) as error:
        if given.json:
            print(json.dumps({"error": {"reason": type(error).__name__, "message": str(error)}}), file=sys.stderr)
        else:
            progress.print(f"✗ The drill ended: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    if given.json:
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2, ensure_ascii=False))
    else:
        print_outcomes(outcomes, Console())
    return int(any(outcome.unmet for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
