"""The platform's domain events."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer
from aac.event.v1.event_pb2 import Event
from rich.text import Text

from aac_grpc.cli.command import Session, session_command
from aac_grpc.cli.live import Reconnecting
from aac_grpc.cli.output import clock, console, print_json
from aac_grpc.client.models._record import moment
from aac_grpc.client.updates import Gap

TypesOption = Annotated[list[str] | None, typer.Option("--type", help="Only these, such as aac.order.accepted.")]
VenueFilter = Annotated[str, typer.Option("--venue", help="Only this venue's.", show_default="all")]
BeginningOption = Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest event that is kept.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="The platform's domain events, as they are on Kafka.")
    group.callback()(_group)
    session_command(group, preferred="admin")(tail)
    app.add_typer(group, name="events")


def _group() -> None:
    """Keeps `tail` a command of its own although it is the only one."""


async def tail(
    session: Session,
    types: TypesOption = None,
    venue: VenueFilter = "",
    from_beginning: BeginningOption = False,
) -> None:
    """Domain events as they happen, until Ctrl-C. For operators: on this installation, acts as its admin."""
    watching = session.client.watch_events(
        types=types or (), venue=venue, from_beginning=from_beginning, on_disconnect=Reconnecting()
    )
    async with contextlib.aclosing(watching):
        async for update in watching:
            if isinstance(update, Gap):
                _say_gap(session, update)
                continue
            for event in update.events:
                if session.json:
                    print_json(event)
                else:
                    _print_event(event)


def _say_gap(session: Session, gap: Gap) -> None:
    if session.json:
        print_json({"type": "Gap", "update": gap})
    else:
        console.print(f"[yellow]{gap.key}: events {gap.first} to {gap.last} are no longer kept[/yellow]")


def _print_event(event: Event) -> None:
    """Prints a line: on a terminal as much as one takes, elsewhere all of it."""
    line = event_line(event)
    if console.is_terminal:
        line.truncate(console.width, overflow="ellipsis")
    console.print(line, soft_wrap=True)


def event_line(event: Event) -> Text:
    """What people see of an event; of most, 80 columns hold all."""
    return Text.assemble(
        (f"{clock(moment(event.occurred_at))}  ", "dim"),
        (f"{event.type:<20}", "bold"),
        f" {event.key:<13} {_essence(event)}",
    )


def _essence(event: Event) -> str:
    match event.WhichOneof("payload"):
        case "order":
            order = event.order.order
            return f"{order.order_id} {order.filled_quantity}/{order.quantity} {order.symbol} {order.price or 'market'}"
        case "trade":
            return f"{event.trade.quantity} {event.trade.symbol} @ {event.trade.price}"
        case "execution":
            execution = event.execution.execution
            return f"{execution.order_id} {execution.quantity} {execution.symbol} @ {execution.price}"
        case "account":
            return f"{event.account.account_id} {event.account.cash_after.amount} {event.account.cash_after.currency}"
        case "limits":
            return f"{event.limits.account_id} version {event.limits.version} by {event.limits.actor}"
        case "identity":
            return f"{event.identity.subject} by {event.identity.actor or 'the platform'}"
    return ""
