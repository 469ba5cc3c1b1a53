"""`aac restart`: one instance after the other, so that another one serves meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from aac_grpc.backends.control import read_status, request_restart
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.forked import FORK_SERVER
from aac_grpc.backends.spec import ProcessState, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.cli.command import JsonOption
from aac_grpc.cli.output import console, print_json
from aac_grpc.common.ports import GRPC_PORTS
from aac_grpc.platform.replicas import instances_of, parse_replicas

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE|PROCESS]...",
        help="Services, or processes as `aac status` names them; SERVICE-1 is the first instance alone.",
        show_default="all services",
    ),
]

_ASKER = "aac restart"
_SETTLE_S = 2.5
"""Between two instances of one service: all who call it have connected to the first again by then."""


@dataclass(frozen=True, slots=True)
class Step:
    """One process to restart."""

    process: str
    service: str
    """The process's own name where it is no service's."""
    alone: bool
    """Nobody serves in its place meanwhile."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """One process that was restarted."""

    process: str
    seconds: float
    """From the word to stop until it was ready again."""
    interrupted: bool
    """Nobody served in its place meanwhile."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(restart)


def restart(names: NamesArgument = None, json: JsonOption = False) -> None:
    """Restart services, one instance after the other: it drains, stops, starts and is ready before the next one.

    Callers go to another instance meanwhile; a service with one instance is away for that time.
    """
    state = StateDirectory.default()
    status = read_status(state)
    if status is None:
        raise BackendError(f"nothing runs on {state.path}; start it with `aac up`")
    steps = plan(status, names or ())
    if needs_fork_server(status, steps):
        with console.status("import the code anew"):
            request_restart(state, FORK_SERVER, by=_ASKER, until_ready=True)
    done = []
    for restarted in _roll(state, steps):
        done.append(restarted)
        how_far = f"{len(done)} of {len(steps)}, {restarted.seconds:.1f} s"
        if not json:
            away = " [yellow](its only instance: it was away meanwhile)[/yellow]" if restarted.interrupted else ""
            console.print(
                f"[green]✓[/green] {restarted.process} is ready again [dim]{how_far}[/dim]{away}",
                highlight=False,
            )
    if json:
        print_json({"restarted": done})


def plan(status: SupervisorStatus, names: Sequence[str]) -> list[Step]:
    """What to restart, in order; each process once.

    Args:
        status: What runs.
        names: Services and processes; none means all services.

    Raises:
        ValueError: There is nothing of that name.
    """
    replicas = parse_replicas(filter(None, status.info.get("replicas", "").split(",")))
    running = [process.name for process in status.processes]
    by_name: dict[str, list[Step]] = {name: [Step(name, name, True)] for name in running}
    services = {service: _steps(service, replicas) for service in replicas if service in running}
    for steps in services.values():
        by_name |= {step.process: [step] for step in steps}
    by_name |= {f"{service}-1": steps[:1] for service, steps in services.items()}
    by_name |= services
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"there is no service or process {unknown[0]!r}; there are {', '.join(running)}")
    # As they were started: the registry first.
    wanted = names or sorted(services, key=running.index)
    return list(dict.fromkeys(step for name in wanted for step in by_name[name]))


def needs_fork_server(status: SupervisorStatus, steps: Sequence[Step]) -> bool:
    """Whether the steps start processes from a fork server, which has imported the code as it was."""
    forks = any(one.name == FORK_SERVER and one.state is not ProcessState.FAILED for one in status.processes)
    return forks and any(step.service in GRPC_PORTS for step in steps)


def _steps(service: str, replicas: Mapping[str, int]) -> list[Step]:
    instances = instances_of(service, replicas)
    return [Step(one.name, service, len(instances) == 1) for one in instances]


def _roll(state: StateDirectory, steps: Sequence[Step]) -> Iterator[Restarted]:
    before = ""
    for number, step in enumerate(steps, start=1):
        if step.service == before:
            time.sleep(_SETTLE_S)
        before = step.service
        began = time.monotonic()
        with console.status(f"{number} of {len(steps)}: restart {step.process}"):
            found = request_restart(state, step.process, by=_ASKER, until_ready=True)
        if not found:
            raise BackendError(f"the supervisor of {state.path} has ended meanwhile")
        yield Restarted(step.process, round(time.monotonic() - began, 3), step.alone)
