"""What markets show now, and what happened in them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from aac_grpc.cli.command import LimitOption, Session, VenueOption, session_command

SymbolsArgument = Annotated[list[str] | None, typer.Argument(help="Instruments; left out, all of the venue.")]
SymbolArgument = Annotated[str, typer.Argument(help="Which instrument.")]
IntervalOption = Annotated[str, typer.Option("--interval", "-i", help="Such as 30s, 5m, 1h or 1d.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (instruments, quote, trades, candles):
        session_command(app)(command)


async def instruments(session: Session, venue: VenueOption = "") -> None:
    """What can be traded or watched."""
    found = [instrument async for instrument in session.client.list_instruments(venue=venue)]
    columns = [
        ("symbol", lambda one: one.symbol),
        ("name", lambda one: one.name),
        ("kind", lambda one: one.kind),
        ("currency", lambda one: one.currency),
        ("tick", lambda one: one.tick_size),
        ("lot", lambda one: one.lot_size),
    ]
    session.show_rows(found, columns, empty="No instrument is listed yet")


async def all_symbols(session: Session, venue: str) -> list[str]:
    """Every symbol of a venue, up to the hundred that one call takes."""
    return [instrument.symbol async for instrument in session.client.list_instruments(venue=venue)][:100]


async def quote(session: Session, symbols: SymbolsArgument = None, venue: VenueOption = "") -> None:
    """Best bid and ask, and the last trade."""
    wanted = symbols or await all_symbols(session, venue)
    quotes = await session.client.quotes(wanted, venue=venue) if wanted else []
    columns = [
        ("symbol", lambda one: one.symbol),
        ("bid size", lambda one: one.bid_quantity),
        ("bid", lambda one: one.bid_price),
        ("ask", lambda one: one.ask_price),
        ("ask size", lambda one: one.ask_quantity),
        ("last", lambda one: one.last_price),
        ("last size", lambda one: one.last_quantity),
    ]
    session.show_rows(quotes, columns, empty="No instrument is listed yet")


async def trades(session: Session, symbol: SymbolArgument, limit: LimitOption = 20, venue: VenueOption = "") -> None:
    """Trades of an instrument, newest first."""
    found = [trade async for trade in session.client.list_trades(symbol, limit=limit, venue=venue)]
    columns = [
        ("time", lambda one: one.executed_at),
        ("price", lambda one: one.price),
        ("quantity", lambda one: one.quantity),
        ("aggressor", lambda one: "print" if one.is_print else one.aggressor),
    ]
    session.show_rows(found, columns, empty=f"{symbol} has not traded yet")


async def candles(
    session: Session,
    symbol: SymbolArgument,
    interval: IntervalOption = "1m",
    limit: LimitOption = 30,
    venue: VenueOption = "",
) -> None:
    """Open, high, low and close of the latest intervals, oldest first. One without a trade has no candle."""
    length = parse_interval(interval)
    found = [candle async for candle in session.client.list_candles(symbol, length, venue=venue)][-limit:]
    columns = [
        ("start", lambda one: one.start),
        ("open", lambda one: one.open),
        ("high", lambda one: one.high),
        ("low", lambda one: one.low),
        ("close", lambda one: one.close),
        ("volume", lambda one: one.volume),
        ("trades", lambda one: one.trades),
    ]
    session.show_rows(found, columns, empty=f"{symbol} has not traded yet")


def parse_interval(text: str) -> timedelta:
    """Reads a length of time such as "90s", "5m", "1h" or "1d".

    Raises:
        ValueError: It is not one.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if found is None:
        raise ValueError(f"{text!r} is not an interval; write 30s, 5m, 1h or 1d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
