"""What an account has and did."""

from __future__ import annotations

import typer

from aac_grpc.cli.command import AccountOption, LimitOption, Session, VenueOption, session_command
from aac_grpc.cli.orders import EXECUTION_COLUMNS, ORDER_COLUMNS
from aac_grpc.cli.output import Column, console, print_facts, print_table
from aac_grpc.client.models import AccountSummary, Exposure, Overview

POSITION_COLUMNS: list[Column] = [
    ("symbol", lambda one: one.symbol),
    ("quantity", lambda one: one.quantity),
    ("held", lambda one: one.quantity_held),
    ("average price", lambda one: one.average_price),
    ("cost", lambda one: one.cost),
    ("realized", lambda one: one.realized_pnl),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (account, positions, executions, overview):
        session_command(app)(command)


async def account(session: Session, account: AccountOption = "", venue: VenueOption = "") -> None:
    """Cash of an account."""
    summary = await session.client.account(account, venue=venue)
    session.show(summary, lambda shown: print_facts(_cash(shown)))


async def positions(session: Session, account: AccountOption = "", venue: VenueOption = "") -> None:
    """Holdings by instrument."""
    found = [position async for position in session.client.list_positions(account, venue=venue)]
    session.show_rows(found, POSITION_COLUMNS, empty="No positions")


async def executions(
    session: Session,
    account: AccountOption = "",
    limit: LimitOption = 20,
    venue: VenueOption = "",
) -> None:
    """Executions, newest first."""
    found = [one async for one in session.client.list_executions(account=account, limit=limit, venue=venue)]
    session.show_rows(found, EXECUTION_COLUMNS, empty="No executions")


async def overview(session: Session, account: AccountOption = "", venue: VenueOption = "") -> None:
    """An account at a glance: cash, positions, open orders, executions, exposure."""
    session.show(await session.client.overview(account, venue=venue), _print_overview)


def _print_overview(overview: Overview) -> None:
    if overview.account is not None:
        print_facts([*_cash(overview.account), *(_exposure(overview.exposure) if overview.exposure else ())])
    for title, rows, columns, empty in (
        ("Positions", overview.positions, POSITION_COLUMNS, "No positions"),
        ("Open orders", overview.open_orders, ORDER_COLUMNS, "No open orders"),
        ("Executions", overview.executions, EXECUTION_COLUMNS, "No executions"),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        print_table(rows, columns, empty=empty)
    for field, error in overview.missing.items():
        console.print(f"[yellow]{field} is missing: {error.message}[/yellow]")


def _cash(summary: AccountSummary) -> list[tuple[str, object]]:
    return [
        ("account", f"{summary.account_id} at {summary.venue}"),
        ("cash", summary.cash),
        ("held for orders", summary.cash_held),
        ("available", summary.cash_available),
        ("realized", summary.realized_pnl),
        ("open orders", summary.open_orders),
    ]


def _exposure(exposure: Exposure) -> list[tuple[str, object]]:
    unrealized = [one.unrealized_pnl for one in exposure.instruments]
    total = sum((one.amount for one in unrealized), start=exposure.net.amount * 0)
    return [
        ("market value", exposure.net),
        ("unrealized", f"{total:,.2f} {exposure.net.currency}"),
        ("equity", exposure.equity),
        ("leverage", exposure.leverage),
    ]
