"""`aac up`: backends, registry, services and flow, until Ctrl-C or `aac down`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from aac_grpc.backends.control import read_status
from aac_grpc.backends.errors import BackendError, StateLocked, SupervisorUnresponsive
from aac_grpc.backends.logs import tail
from aac_grpc.backends.spec import ProcessState, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from aac_grpc.cli.command import JsonOption, OffsetOption
from aac_grpc.cli.failures import WrongUsage
from aac_grpc.cli.output import console, print_facts, print_json, quiet_logs
from aac_grpc.cli.serve import settings_classes
from aac_grpc.cli.steps import Steps
from aac_grpc.platform.environment import require_sound
from aac_grpc.platform.flow import Flow, choose_flow
from aac_grpc.platform.reachability import require_usable
from aac_grpc.platform.replicas import parse_replicas
from aac_grpc.platform.starting import describe, prepare, start

DayOption = Annotated[
    Path | None,
    typer.Option(
        "--day",
        help="Recorded day as LOBSTER writes it: a zip, folder or CSV.",
        show_default="the shared data's, else a simulator",
    ),
]
SpeedOption = Annotated[str, typer.Option("--speed", metavar="FACTOR|max", help="Times as fast as recorded.")]
NoFlowOption = Annotated[bool, typer.Option("--no-flow", help="Put no flow into the venue.")]
ReplicasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--replicas",
        metavar="N|SERVICE=N",
        help="Instances of each service, or of one; may be given again.",
        show_default="1",
    ),
]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready; `aac down` ends it.")]

_DETACHED_PATIENCE_S = 300.0
_POLL_S = 0.2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(up)


def up(
    day: DayOption = None,
    speed: SpeedOption = "10",
    no_flow: NoFlowOption = False,
    replicas: ReplicasOption = None,
    port_offset: OffsetOption = 0,
    detach: DetachOption = False,
    json: JsonOption = False,
) -> None:
    """Start the platform: PostgreSQL, Valkey, Kafka, the registry, six services, and flow into the venue.

    With DATABASE_URL, REDIS_URL or KAFKA_BOOTSTRAP_SERVERS in the environment, that backend is used instead of an
    embedded one. Ctrl-C or `aac down` ends everything; a second `aac up` finds its data.

    A recorded day begins again when it is over, and all that happens is kept: some 6 MB of disk a minute at --speed 10.
    With --speed max, 10 MB a second, a day is played once, and then the flow idles; the simulator never ends.
    """
    quiet_logs()
    counts = parse_replicas(replicas or ())
    require_sound(os.environ, settings_classes)
    flow = None if no_flow else _flow(day, speed)
    state = StateDirectory.default()
    state.create()
    if (holder := state.holder()) is not None:
        raise StateLocked(state.path, holder)
    require_usable(os.environ)
    if json:
        console.stderr = True
    if detach:
        _detach(state, as_json=json)
    else:
        asyncio.run(_run(state, port_offset, flow, counts, as_json=json))


def _flow(day: Path | None, speed: str) -> Flow:
    try:
        return choose_flow(day, parse_speed(speed))
    except FileNotFoundError as error:
        raise WrongUsage(
            "invalid --day",
            fields={"--day": str(error)},
            remedy="give a zip, a folder or a CSV of a day as LOBSTER delivers it, or leave --day out",
        ) from error


def parse_speed(text: str) -> float:
    """Reads a speed: a factor above zero, or "max", which is 0.

    Raises:
        ValueError: It is neither.
    """
    if text == "max":
        return 0.0
    with contextlib.suppress(ValueError):
        if (speed := float(text)) > 0:
            return speed
    raise ValueError(f"{text!r} is not a speed; write a factor such as 10, or max")


async def _run(
    state: StateDirectory, port_offset: int, flow: Flow | None, replicas: Mapping[str, int], *, as_json: bool
) -> None:
    steps = Steps(console)
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(Supervisor(state, handle_signals=True, progress=steps.progress))
        stack.enter_context(steps)
        platform = await start(stack, supervisor, state, port_offset, flow, replicas, steps.progress)
        symbol = await prepare(supervisor, platform, steps.progress)
        supervisor.info.update(describe(platform, symbol), ready_after_s=f"{steps.elapsed_s:.1f}")
        steps.finish()
        _print_ready(supervisor.info, as_json=as_json)
        await supervisor.until_stop_requested()
        console.print("\nstopping (Ctrl-C again to hurry)")
    console.print("[green]✓[/green] stopped")


def _detach(state: StateDirectory, *, as_json: bool) -> None:
    """Starts the same command in the background and watches it until it is ready.

    Raises:
        BackendError: It ended before that, or took too long.
    """
    log = state.log_path("supervisor")
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d", "--json")]
    # Its output goes to a file, whatever the terminal that it was started from can show.
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    with log.open("ab") as output:
        before = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "aac_grpc.cli", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with Steps(console) as steps:
        info = _await_ready(state, child, steps, log, before)
    _print_ready(info, as_json=as_json)


def _await_ready(
    state: StateDirectory, child: subprocess.Popen[bytes], steps: Steps, log: Path, log_before: int
) -> Mapping[str, str]:
    ready: set[str] = set()
    deadline = time.monotonic() + _DETACHED_PATIENCE_S
    while time.monotonic() < deadline:
        if (code := child.poll()) is not None:
            end = tail(log, since=log_before)
            raise BackendError(f"it ended with exit code {code} before it was ready. The end of {log}:\n{end}")
        status = _status_of(state, child.pid)
        if status is not None:
            for process in status.processes:
                if process.state is ProcessState.READY and process.name not in ready:
                    ready.add(process.name)
                    steps.done(f"{process.name} is ready")
            if "ready_after_s" in status.info:
                return status.info
        time.sleep(_POLL_S)
    raise BackendError(f"it is not ready after {_DETACHED_PATIENCE_S:g} s; see {log}, and end it with `aac down`")


def _status_of(state: StateDirectory, supervisor: int) -> SupervisorStatus | None:
    """What the supervisor tells; None while it does not answer yet: it takes the directory before it does."""
    try:
        return read_status(state) if state.holder() == supervisor else None
    except SupervisorUnresponsive:
        return None


def _print_ready(info: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(info)
        return
    console.print(f"\n[bold green]ready[/bold green] after {info['ready_after_s']} s: {escape(info['flow'])}\n")
    admin = info["admin api-gateway"]
    facts = [
        ("gateway", f"{info['gateways'].replace(',', ', ')} (gRPC, plaintext)"),
        ("metrics", f"{admin}/metrics; the other services on the ports after it"),
        ("PostgreSQL", info["DATABASE_URL"]),
        ("Valkey", info["REDIS_URL"]),
        ("Kafka", info["KAFKA_BOOTSTRAP_SERVERS"]),
        ("logs", info["logs"]),
        (
            "passwords",
            f"{info['credentials']}; PostgreSQL's and Valkey's {Path(info['credentials']).parent / 'secrets.json'}",
        ),
    ]
    print_facts((name, escape(value)) for name, value in facts)
    if info["symbol"]:
        console.print("\nTry, from another terminal:\n")
        for line in lines_to_try(info["gateway"], info["symbol"]):
            console.print(f"  {line}", style="cyan", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("\nNo instrument is listed yet: without --no-flow, or with `aac replay PATH`, there are some.")
    console.print("\nCtrl-C or `aac down` ends it.")


def lines_to_try(gateway: str, symbol: str) -> list[str]:
    """A call each by grpcurl, Python and the command line, which work as they are."""
    aac = _command()
    bearer = f"$({aac} token)"
    return [
        f'grpcurl -plaintext -H "authorization: Bearer {bearer}" -d \'{{"symbols": ["{symbol}"]}}\''
        f" {gateway} aac.marketdata.v1.MarketDataService/GetQuotes",
        f'{shlex.quote(sys.executable)} -c "from aac_grpc.client import Client; '
        f"print(Client('{gateway}', token='{bearer}').quote('{symbol}'))\"",
        f"{aac} order place buy 10 {symbol}",
    ]


def _command() -> str:
    """How this command is called for this installation, from any directory and in any shell."""
    installed = Path(sys.executable).with_name("aac")
    command = shlex.quote(str(installed)) if installed.exists() else f"{shlex.quote(sys.executable)} -m aac_grpc.cli"
    given = os.environ.get("AAC_STATE_DIR")
    return f"AAC_STATE_DIR={shlex.quote(str(Path(given).absolute()))} {command}" if given else command
