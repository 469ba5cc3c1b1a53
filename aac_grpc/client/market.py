"""Calls about instruments and their markets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from functools import cached_property

from aac.marketdata.v1 import marketdata_pb2, marketdata_pb2_grpc

from aac_grpc.client._calls import Calls
from aac_grpc.client.errors import AacError
from aac_grpc.client.market_stream import MarketStream
from aac_grpc.client.models._record import time_range, to_duration
from aac_grpc.client.models.market import Book, Candle, Instrument, Quote, Trade


class MarketCalls(Calls):
    """Market data. `venue` may be left out: it means "main"."""

    @cached_property
    def _market(self) -> marketdata_pb2_grpc.MarketDataServiceStub:
        return marketdata_pb2_grpc.MarketDataServiceStub(self._connection.channel)

    def list_instruments(self, *, venue: str = "") -> AsyncIterator[Instrument]:
        """Yields the instruments of a venue by symbol."""
        request = marketdata_pb2.ListInstrumentsRequest(venue=venue)
        return self._connection.pages(
            self._market.ListInstruments, request, lambda page: map(Instrument.from_wire, page.instruments), None
        )

    async def instrument(self, symbol: str, *, venue: str = "") -> Instrument:
        """Returns one instrument.

        Raises:
            NotFound: There is none of that symbol.
        """
        request = marketdata_pb2.GetInstrumentRequest(venue=venue, symbol=symbol)
        return Instrument.from_wire((await self._connection.unary(self._market.GetInstrument, request)).instrument)

    async def quotes(self, symbols: Iterable[str], *, venue: str = "") -> list[Quote]:
        """Returns best bid and ask, and the last trade, of up to 100 instruments, in the order asked for."""
        request = marketdata_pb2.GetQuotesRequest(venue=venue, symbols=symbols)
        response = await self._connection.unary(self._market.GetQuotes, request)
        return [Quote.from_wire(quote) for quote in response.quotes]

    async def quote(self, symbol: str, *, venue: str = "") -> Quote:
        """Returns best bid and ask, and the last trade, of one instrument."""
        (quote,) = await self.quotes([symbol], venue=venue)
        return quote

    async def book(self, symbol: str, *, depth: int = 10, min_sequence: int = 0, venue: str = "") -> Book:
        """Returns the book by price level.

        Args:
            symbol: Which instrument.
            depth: Levels of each side, at most 1000.
            min_sequence: Wait until the venue's events up to this one are included: give an order's `venue_sequence`
                to read one's own writes.
            venue: Isolated market.
        """
        request = marketdata_pb2.GetBookRequest(venue=venue, symbol=symbol, depth=depth, min_sequence=min_sequence)
        return Book.from_wire(await self._connection.unary(self._market.GetBook, request))

    def list_trades(
        self,
        symbol: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        venue: str = "",
    ) -> AsyncIterator[Trade]:
        """Yields trades, newest first, that happened from `start` on and before `end`."""
        request = marketdata_pb2.ListTradesRequest(venue=venue, symbol=symbol, range=time_range(start, end))
        return self._connection.pages(
            self._market.ListTrades, request, lambda page: map(Trade.from_wire, page.trades), limit
        )

    def list_candles(
        self,
        symbol: str,
        interval: timedelta,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        venue: str = "",
    ) -> AsyncIterator[Candle]:
        """Yields candles, oldest first, of whole seconds from one to a day; the last one may be open."""
        request = marketdata_pb2.ListCandlesRequest(
            venue=venue, symbol=symbol, interval=to_duration(interval), range=time_range(start, end)
        )
        return self._connection.pages(
            self._market.ListCandles, request, lambda page: map(Candle.from_wire, page.candles), limit
        )

    def stream(self, *, on_disconnect: Callable[[AacError | None], None] | None = None) -> MarketStream:
        """Opens a market data stream; use it in `async with`.

        Args:
            on_disconnect: Told each time that a connection ended: why, or None when the service said goodbye.
        """
        return MarketStream(self._connection, policy=self._reconnect, on_disconnect=on_disconnect)
