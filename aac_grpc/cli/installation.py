"""The installation of this checkout: stop it, see how it is, and what is wrong with the machine."""

from __future__ import annotations

import time

import typer

from aac_grpc.backends.control import read_status, request_stop
from aac_grpc.backends.spec import ProcessState, ProcessStatus, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.cli.command import JsonOption, OffsetOption
from aac_grpc.cli.output import Column, console, print_facts, print_json, print_table

_COLOURS = {ProcessState.READY: "green", ProcessState.FAILED: "red", ProcessState.STOPPED: "dim"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (down, status, doctor):
        app.command()(command)


def down(json: JsonOption = False) -> None:
    """Stop what `aac up` started: services first, then backends. Data stay."""
    state = StateDirectory.default()
    began = time.monotonic()
    with console.status("stopping"):
        stopped = request_stop(state)
    if json:
        print_json({"stopped": stopped})
    elif stopped:
        console.print(f"[green]✓[/green] stopped [dim]{time.monotonic() - began:.1f} s[/dim]")
    else:
        console.print(f"[dim]Nothing runs on {state.path}[/dim]")


def status(json: JsonOption = False) -> None:
    """What runs, and since when. The exit code is 1 where nothing runs, or not everything is ready."""
    state = StateDirectory.default()
    found = read_status(state)
    if json:
        print_json({"running": found is not None, "status": found})
    elif found is None:
        console.print(f"[dim]Nothing runs on {state.path}; start it with `aac up`[/dim]")
    else:
        _print_status(found)
    if found is None or any(process.state is not ProcessState.READY for process in found.processes):
        raise typer.Exit(1)


def doctor(port_offset: OffsetOption = 0, json: JsonOption = False) -> None:
    """What is wrong with this machine, and how to mend it. The exit code is 1 where something is."""
    from aac_grpc.backends.doctor import check

    checks = check(StateDirectory.default(), port_offset)
    if json:
        print_json(checks)
    else:
        for one in checks:
            mark = "[green]✓[/green]" if one.ok else "[red]✗[/red]"
            console.print(f"{mark} [bold]{one.name}[/bold]  {one.detail}", soft_wrap=True)
            if one.remedy:
                console.print(f"  [yellow]{one.remedy}[/yellow]", soft_wrap=True)
    if not all(one.ok for one in checks):
        raise typer.Exit(1)


def _print_status(found: SupervisorStatus) -> None:
    now = time.time()

    def age(process: ProcessStatus) -> str:
        return "-" if process.started_at is None else _duration(now - process.started_at)

    workers = dict(one.split("=") for one in found.info.get("workers", "").split(",") if one)
    columns: list[Column] = [
        ("process", lambda one: one.name),
        *([("workers", lambda one: int(workers.get(one.name, 1)))] if workers else []),
        ("state", lambda one: f"[{_COLOURS.get(one.state, 'yellow')}]{one.state}[/]"),
        ("pid", lambda one: str(one.pid or "-")),
        ("up", age),
        ("restarts", lambda one: one.restarts),
        ("last exit", lambda one: one.last_exit or ""),
    ]
    print_table(found.processes, columns, empty="No processes")
    console.print()
    print_facts((name, found.info[name]) for name in ("gateways", "flow", "logs", "credentials") if name in found.info)
    console.print(f"[dim]supervisor {found.pid}, up {_duration(now - found.started_at)}, state {found.state_dir}[/dim]")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
