"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from aac_grpc.client.errors import AacError
from aac_grpc.client.models import Money, Side

_PIPE_WIDTH = 200


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader of our output has gone: told as such, so that streams close before the process ends."""
        raise BrokenPipeError


console = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)

Column = tuple[str, Callable[[Any], Any]]
"""Heading, and what a row shows there. Numbers and times are set to the right."""


def plain(value: Any) -> Any:
    """A value in JSON's terms: decimals as strings, times in RFC 3339, records as objects."""
    match value:
        case None | bool() | int() | float():
            return value
        case Decimal():
            return f"{value:f}"
        case str():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Message():
            return MessageToDict(value, preserving_proto_field_name=True)
        case AacError():
            return {"code": value.code.name, "reason": value.reason, "message": value.message}
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [plain(item) for item in value]


def print_json(value: Any) -> None:
    """Writes one JSON document on a line of its own, and sends it off at once."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")
    sys.stdout.flush()


def print_table(rows: Iterable[Any], columns: Sequence[Column], *, empty: str) -> None:
    """Prints a table, or a sentence where there is nothing to show."""
    shown = list(rows)
    if not shown:
        console.print(f"[dim]{empty}[/dim]")
        return
    console.print(table(shown, columns))


def table(rows: Sequence[Any], columns: Sequence[Column]) -> Table:
    """Makes a table."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[read(row) for _, read in columns] for row in rows]
    for index, (heading, _) in enumerate(columns):
        numbers = all(isinstance(line[index], Decimal | int | Money | None) for line in cells)
        made.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for line in cells:
        made.add_row(*map(text, line))
    return made


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Prints names and values, one a line; a long value is not broken, so that it can be copied."""
    shown = [(name, text(value)) for name, value in facts]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console.print(f"[dim]{name:<{width}}[/dim]  {value}", soft_wrap=True, highlight=False)


def text(value: Any) -> str:
    """A value as people read it."""
    match value:
        case None:
            return "[dim]-[/dim]"
        case Side():
            return {"buy": "[green]buy[/green]", "sell": "[red]sell[/red]"}.get(value, "[dim]-[/dim]")
        case Decimal():
            return number(value)
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return clock(value)
        case Money():
            return f"{value.amount:,.2f} {value.currency}"
    return str(value)


def number(value: Decimal) -> str:
    """A decimal with thousands separated; an average of many digits is cut to six places."""
    rounded = round(value, 6)
    return f"{rounded.normalize():,f}"


def clock(value: datetime) -> str:
    """A moment in local time: the time of today, else date and time."""
    local = value.astimezone()
    is_today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M:%S.%f}"[:12] if is_today else f"{local:%Y-%m-%d %H:%M:%S}"


def short_clock(value: datetime) -> str:
    """A moment to the second: the time of today, else day and time without the year. Tables of it fit 80 columns."""
    shown = clock(value).partition(".")[0]
    return shown if len(shown) == len("11:22:33") else shown[len("2026-") : -len(":33")]


def quiet_logs() -> None:
    """Has the mesh's own channels, where a command uses them, log errors alone, and never among what it prints."""
    import structlog

    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
