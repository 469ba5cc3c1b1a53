"""The services of the mesh and their instances."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from aac_grpc.cli.command import Session, session_command
from aac_grpc.cli.output import Column, console, short_clock
from aac_grpc.client.errors import Unavailable
from aac_grpc.client.models import Breaker, Instance, InstanceState, Service

_COLOURS = {InstanceState.SERVING: "green", InstanceState.NOT_SERVING: "yellow", InstanceState.UNREACHABLE: "red"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    session_command(app, preferred="admin")(mesh)


async def mesh(session: Session) -> None:
    """Services and instances as the registry and the gateway see them: state, lease, circuit breakers not closed.

    For operators: on this installation, acts as its admin. `aac status` shows the processes of this machine.
    """
    try:
        services = await session.client.services()
    except Unavailable as error:
        if error.request_id:
            raise
        raise Unavailable(
            f"the gateway is away, and it is the gateway that is asked ({error.message}); "
            f"`aac status` shows the processes of this installation"
        ) from error
    if session.json:
        session.show(services, print)
    else:
        session.show_rows(rows(services), columns(services, datetime.now(UTC)), empty="No services")
        if troubled := breakers(services):
            console.print("\n[bold]Circuit breakers not closed[/bold]")
            session.show_rows(troubled, BREAKER_COLUMNS, empty="")


Row = tuple[str, Instance | None]


def rows(services: Sequence[Service]) -> list[Row]:
    """A row for each instance, and one for a service that has none."""
    return [(one.service, instance) for one in services for instance in one.instances or (None,)]


def columns(services: Sequence[Service], now: datetime) -> list[Column]:
    """What is shown of a row; of workers only where an instance has several."""
    has_workers = any(instance.workers > 1 for service in services for instance in service.instances)
    return [
        ("service", lambda row: row[0]),
        ("address", lambda row: row[1].address if row[1] else "[red]no instance[/red]"),
        *([("workers", lambda row: max(1, row[1].workers) if row[1] else 0)] if has_workers else []),
        ("state", lambda row: _state(row[1]) if row[1] else ""),
        ("version", lambda row: row[1].version if row[1] else ""),
        ("since", lambda row: short_clock(row[1].registered_at) if row[1] else ""),
        ("lease age", lambda row: _age(now, row[1].renewed_at) if row[1] else ""),
    ]


def breakers(services: Sequence[Service]) -> list[tuple[Instance, Breaker]]:
    """Every circuit breaker that is not closed, with the instance that has it."""
    return [(instance, one) for service in services for instance in service.instances for one in instance.breakers]


BREAKER_COLUMNS: list[Column] = [
    ("address", lambda row: row[0].address),
    ("calls to", lambda row: row[1].target),
    ("state", lambda row: f"[yellow]{row[1].state.value.replace('_', '-')}[/yellow]"),
    ("since", lambda row: short_clock(row[1].since)),
]


def _state(instance: Instance) -> str:
    name = instance.state.value.replace("_", " ")
    return f"[{_COLOURS.get(instance.state, 'dim')}]{name}[/]"


def _age(now: datetime, renewed_at: datetime) -> str:
    """Seconds since the lease was renewed; never below zero, however the clocks of two machines differ."""
    return f"{max(0.0, (now - renewed_at).total_seconds()):.1f} s"
