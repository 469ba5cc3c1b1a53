"""Markets as they move: a ticker, and a ladder."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aac_grpc.cli.command import Session, VenueOption, session_command
from aac_grpc.cli.market import SymbolArgument, SymbolsArgument, all_symbols
from aac_grpc.cli.output import clock, console, number, print_json
from aac_grpc.client.errors import AacError
from aac_grpc.client.local_book import LocalBook
from aac_grpc.client.market_stream import DEFAULT_VENUE, MarketStream
from aac_grpc.client.models import BookLevel, Side, Topic, Trade
from aac_grpc.client.updates import DepthUpdate, Gap, MarketUpdate, QuoteUpdate, SubscriptionRefused, TradesUpdate

DepthOption = Annotated[int, typer.Option("--depth", min=1, max=100, help="Levels of each side.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Print it as it stands, and end.")]
QuotesOption = Annotated[bool, typer.Option("--quotes/--no-quotes", help="Quotes beside trades.")]

_FRAME_S = 0.125
_SAY_AGAIN_S = 10.0
_BAR = 20
_TRADES = 5
_COLOURS = {Side.BUY: "green", Side.SELL: "red"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    session_command(app)(watch)
    session_command(app)(book)


async def watch(
    session: Session, symbols: SymbolsArgument = None, quotes: QuotesOption = True, venue: VenueOption = DEFAULT_VENUE
) -> None:
    """Trades and quotes as they happen, until Ctrl-C. The stream resumes by itself; what is missed is said."""
    wanted = symbols or await all_symbols(session, venue)
    topics = (Topic.TRADES, Topic.QUOTES) if quotes else (Topic.TRADES,)
    async with session.client.stream(on_disconnect=Reconnecting()) as stream:
        for symbol in wanted:
            await stream.subscribe(symbol, *topics, venue=venue)
        tape = Tape()
        async for update in stream:
            if isinstance(update, SubscriptionRefused):
                raise update.error
            if session.json:
                print_json({"type": type(update).__name__, "update": update})
            else:
                tape.print(update)


async def book(
    session: Session,
    symbol: SymbolArgument,
    depth: DepthOption = 10,
    once: OnceOption = False,
    venue: VenueOption = DEFAULT_VENUE,
) -> None:
    """The book, live: a ladder that moves until Ctrl-C. With --json a line for each change, with --once one book."""
    if once:
        now = await session.client.book(symbol, depth=depth, venue=venue)
        session.show(now, lambda shown: console.print(_ladder(shown.bids, shown.asks, depth)))
        return
    async with session.client.stream(on_disconnect=Reconnecting()) as stream:
        await stream.subscribe(symbol, Topic.DEPTH, Topic.TRADES, venue=venue)
        ladder = Ladder(symbol, depth)
        if session.json:
            async for update in stream:
                if ladder.apply(update) and isinstance(update, DepthUpdate):
                    print_json(ladder.document())
        else:
            await _draw(stream, ladder)


async def _draw(stream: MarketStream, ladder: Ladder) -> None:
    """Draws at most eight times a second, however fast the book moves."""

    async def read() -> None:
        async for update in stream:
            ladder.apply(update)

    with Live(ladder.render(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        reading = asyncio.create_task(read())
        try:
            while not reading.done():
                live.update(ladder.render(), refresh=True)
                await asyncio.wait({reading}, timeout=_FRAME_S)
            reading.result()
        finally:
            reading.cancel()
            await asyncio.wait({reading})


class Ladder:
    """What is drawn of one instrument: its book and its latest trades."""

    def __init__(self, symbol: str, depth: int) -> None:
        """Begins empty."""
        self._symbol = symbol
        self._depth = depth
        self._book = LocalBook()
        self._trades: deque[Trade] = deque(maxlen=_TRADES)
        self._gaps = 0

    def apply(self, update: MarketUpdate) -> bool:
        """Takes an update; False where it changed nothing.

        Raises:
            AacError: The subscription was refused.
        """
        match update:
            case SubscriptionRefused():
                raise update.error
            case DepthUpdate():
                self._book.apply(update)
            case TradesUpdate():
                self._trades.extend(update.trades)
            case Gap():
                self._gaps += 1
            case _:
                return False
        return True

    def document(self) -> dict[str, object]:
        """The book for programs."""
        book = self._book
        return {
            "symbol": self._symbol,
            "sequence": book.sequence,
            "bids": book.bids(self._depth),
            "asks": book.asks(self._depth),
        }

    def render(self) -> RenderableType:
        """The picture."""
        bids, asks = self._book.bids(self._depth), self._book.asks(self._depth)
        spread = f"spread {number(asks[0].price - bids[0].price)}" if bids and asks else "waiting for the book"
        gaps = f"   {self._gaps} gaps" if self._gaps else ""
        title = Text.assemble((self._symbol, "bold"), f"   {spread}   sequence {self._book.sequence:,}{gaps}")
        return Group(title, Text(), _ladder(bids, asks, self._depth), Text(), *map(_trade_line, reversed(self._trades)))


def _ladder(bids: Sequence[BookLevel], asks: Sequence[BookLevel], depth: int) -> Table:
    largest = max((level.quantity for level in (*bids, *asks)), default=None)
    made = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "bid size", "price", "ask size"):
        made.add_column(heading, justify="right")
    made.add_column("")

    def bar(level: BookLevel) -> str:
        return "█" * max(1, round(_BAR * level.quantity / largest)) if largest else ""

    for level in reversed(asks[:depth]):
        made.add_row("", "", f"[red]{number(level.price)}[/red]", number(level.quantity), f"[red]{bar(level)}[/red]")
    for level in bids[:depth]:
        made.add_row(
            f"[green]{bar(level)}[/green]", number(level.quantity), f"[green]{number(level.price)}[/green]", "", ""
        )
    return made


def _trade_line(trade: Trade) -> Text:
    colour = _COLOURS.get(trade.aggressor, "dim")
    return Text.assemble(
        (f"{clock(trade.executed_at)}  ", "dim"),
        (f"{number(trade.quantity):>8} @ {number(trade.price)}", colour),
        ("  print" if trade.is_print else "", "dim"),
    )


class Tape:
    """Prints updates as lines; a quote only where its line is another than the instrument's last one."""

    def __init__(self) -> None:
        """Begins without quotes."""
        self._quotes: dict[str, str] = {}

    def print(self, update: MarketUpdate) -> None:
        """Prints an update."""
        match update:
            case TradesUpdate():
                for trade in update.trades:
                    console.print(Text.assemble((f"{update.symbol:<8}", "bold"), _trade_line(trade)))
            case QuoteUpdate(symbol=symbol, quote=quote):
                bid, ask = _side(quote.bid_quantity, quote.bid_price), _side(quote.ask_quantity, quote.ask_price)
                line = f"{bid:>20}  |  {ask}"
                if self._quotes.get(symbol) != line:
                    self._quotes[symbol] = line
                    console.print(Text.assemble((f"{symbol:<8}", "bold"), (line, "dim")))
            case Gap():
                console.print(f"[yellow]{update.key} {update.topic}: missed {update.first} to {update.last}[/yellow]")


def _side(quantity: object, price: object) -> str:
    return f"{quantity} @ {price}" if price is not None else "-"


class Reconnecting:
    """Tells on standard error that a stream is being opened again; for the same reason not each time."""

    def __init__(self) -> None:
        self._why, self._said_at = "", 0.0

    def __call__(self, error: AacError | None) -> None:
        why = "the service said goodbye" if error is None else error.message
        if why != self._why or time.monotonic() - self._said_at > _SAY_AGAIN_S:
            self._why, self._said_at = why, time.monotonic()
            Console(stderr=True, soft_wrap=True).print(Text(f"connecting again: {why}", style="yellow"))
