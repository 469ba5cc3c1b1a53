"""`aac replay`: feeds a recorded day into a venue, and shows how it goes."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from aac.trading.v1 import venue_pb2 as pb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aac_grpc.backends.control import read_status
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.spec import ProcessState
from aac_grpc.backends.state import StateDirectory
from aac_grpc.cli.command import JsonOption
from aac_grpc.cli.output import console, print_facts, print_json, quiet_logs
from aac_grpc.cli.up import parse_speed
from aac_grpc.client.market_stream import DEFAULT_VENUE
from aac_grpc.feeds.lobster import LobsterDay
from aac_grpc.feeds.runner import FEED, Feeder, FeedSettings, venue_service
from aac_grpc.platform.starting import platform_of

_SAY_EVERY_S = 1.0

PathArgument = Annotated[Path, typer.Argument(help="Recorded day as LOBSTER writes it: a zip, folder or CSV.")]
SymbolOption = Annotated[str, typer.Option("--symbol", help="Which of several.", show_default="the deepest book")]
SpeedOption = Annotated[str, typer.Option("--speed", metavar="FACTOR|max", help="Times as fast as recorded.")]
VenueOption = Annotated[str, typer.Option("--venue", help="Isolated market; made where it does not exist.")]
RunOption = Annotated[str, typer.Option("--run", help="Run to go on with.", show_default="a new one")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(replay)


def replay(
    path: PathArgument,
    symbol: SymbolOption = "",
    speed: SpeedOption = "max",
    venue: VenueOption = DEFAULT_VENUE,
    run: RunOption = "",
    json: JsonOption = False,
) -> None:
    """Feed a recorded day into a venue of this installation. Its own flow must be off: `aac up --no-flow`.

    Against another installation: AAC_TRADING_ADDRESS, AAC_AUTH_ADDRESS, and AAC_SERVICE_SECRET of the feed.
    """
    settings = _settings(venue)
    day = LobsterDay.open(path, symbol or None)
    run_id = run or f"replay-{time.strftime('%Y%m%d-%H%M%S')}"
    quiet_logs()
    result = asyncio.run(_replay(settings, day, venue, run_id, parse_speed(speed), as_json=json))
    if json:
        print_json({"type": "result", "run": result})
    else:
        _print_result(result)


def _settings(venue: str) -> FeedSettings:
    """Where the engine is, and the feed's secret: as the environment says, else this installation's.

    Raises:
        BackendError: Nothing runs here, or its own flow is in the way.
    """
    if os.environ.get("AAC_SERVICE_SECRET"):
        return FeedSettings()
    state = StateDirectory.default()
    status = read_status(state)
    if status is None:
        raise BackendError(f"nothing runs on {state.path}; start it with `aac up --no-flow`")
    if venue == DEFAULT_VENUE and any(one.name == FEED and one.state is ProcessState.READY for one in status.processes):
        raise BackendError("this installation's own flow is in the venue; start it with --no-flow, or give a --venue")
    return FeedSettings(**_by_field(platform_of(state, status).mesh_environment(FEED)))


def _by_field(environment: dict[str, str]) -> dict[str, Any]:
    return {name.removeprefix("AAC_").lower(): value for name, value in environment.items()}


async def _replay(
    settings: FeedSettings, day: LobsterDay, venue: str, run_id: str, speed: float, *, as_json: bool
) -> pb.FeedRun:
    (symbol,) = day.symbols
    async with AsyncExitStack() as stack:
        venues = await stack.enter_async_context(venue_service(settings))
        if venue != DEFAULT_VENUE:
            await venues.CreateVenue(pb.CreateVenueRequest(venue=venue))
        feeder = Feeder(venues, day, symbol, venue, speed)
        teller = _Lines() if as_json else stack.enter_context(_Bar(day.title, day.total_rows(symbol), run_id))
        return await feeder.play(run_id, teller.tell)


class _Lines:
    """A JSON line each second."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def tell(self, run: pb.FeedRun) -> None:
        """Takes how far the run has come."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _SAY_EVERY_S
            print_json({"type": "progress", "run": run})


class _Bar(Progress):
    """A bar with what the venue counts."""

    def __init__(self, title: str, total: int, run_id: str) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} rows/s"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[diverged]:,} diverged, {task.fields[resets]:,} resets[/dim]"),
            console=console,
        )
        console.print(f"{title}\n[dim]run {run_id}[/dim]")
        self._task = self.add_task("rows", total=total, rate=0.0, diverged=0, resets=0)
        self._began: tuple[float, int] | None = None

    def tell(self, run: pb.FeedRun) -> None:
        """Takes how far the run has come."""
        now = time.monotonic()
        began_at, first = self._began = self._began or (now, run.rows)
        rate = (run.rows - first) / (now - began_at) if now > began_at else 0.0
        self.update(self._task, completed=run.rows, rate=rate, diverged=run.diverged, resets=run.resets)


def _print_result(run: pb.FeedRun) -> None:
    equal = f"{run.top_equal:,} of {run.compared:,}"
    share = f" ({run.top_equal / run.compared:.4%})" if run.compared else ""
    print_facts(
        [
            ("rows", run.rows),
            ("applied as recorded", run.applied),
            ("diverged, since users traded", run.diverged),
            ("level resets", run.resets),
            ("top of book equal", equal + share),
        ]
    )
