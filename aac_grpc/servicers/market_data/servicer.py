"""MarketDataService: RPC to markets and back."""

from collections.abc import AsyncIterator
from dataclasses import replace

from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceServicer

from aac_grpc.client.errors import FieldViolation, InvalidField, InvalidFields
from aac_grpc.common.call import current_call
from aac_grpc.common.clock import Clock
from aac_grpc.common.paging import Page
from aac_grpc.common.servicer import Context, Servicer, Stream
from aac_grpc.common.streams import StreamSession
from aac_grpc.common.types import from_duration, from_timestamp, time_range, venue_of
from aac_grpc.domain.candles import check_interval
from aac_grpc.servicers.market_data.candles import candle_page, most_of
from aac_grpc.servicers.market_data.convert import trade_of_row
from aac_grpc.servicers.market_data.repository import TradesRepository
from aac_grpc.servicers.market_data.streaming import MarketStream
from aac_grpc.servicers.market_data.venues import Venues

DEFAULT_DEPTH = 10


class MarketDataServicer(Servicer, MarketDataServiceServicer):
    """Instruments, books, trades, candles, and the stream of them."""

    def __init__(self, venues: Venues, trades: TradesRepository, clock: Clock, max_subscriptions: int) -> None:
        self._venues = venues
        self._trades = trades
        self._clock = clock
        self._max_subscriptions = max_subscriptions

    async def start(self) -> None:
        self._venues.start()

    async def ListInstruments(self, request: pb.ListInstrumentsRequest, context: Context) -> pb.ListInstrumentsResponse:
        page = Page.read(request.page, (str,), query=("instruments", venue_of(request)))
        markets = await (await self._venues.follower(venue_of(request))).markets()
        (after,) = page.after or ("",)
        found = [
            markets.instruments[symbol].market.message
            for symbol in sorted(symbol for symbol in markets.instruments if symbol > str(after))[: page.limit]
        ]
        shown, next_page = page.cut(found, lambda instrument: (instrument.symbol,))
        return pb.ListInstrumentsResponse(instruments=shown, page=next_page)

    async def GetInstrument(self, request: pb.GetInstrumentRequest, context: Context) -> pb.GetInstrumentResponse:
        follower = await self._venues.follower(venue_of(request))
        return pb.GetInstrumentResponse(instrument=(await follower.instrument(request.symbol)).market.message)

    async def GetQuotes(self, request: pb.GetQuotesRequest, context: Context) -> pb.GetQuotesResponse:
        markets = await (await self._venues.follower(venue_of(request))).markets()
        unknown = [
            FieldViolation(f"symbols[{index}]", f"there is no instrument {symbol!r} in venue {venue_of(request)!r}")
            for index, symbol in enumerate(request.symbols)
            if symbol not in markets.instruments
        ]
        if unknown:
            raise InvalidFields(unknown)
        return pb.GetQuotesResponse(quotes=[markets.instruments[symbol].market.quote() for symbol in request.symbols])

    async def GetBook(self, request: pb.GetBookRequest, context: Context) -> pb.GetBookResponse:
        follower = await self._venues.follower(venue_of(request))
        await follower.instrument(request.symbol)
        await follower.reached(request.min_sequence)
        markets = await follower.markets()
        return markets.instrument(request.symbol).market.book(request.depth or DEFAULT_DEPTH, markets.sequence)

    async def ListTrades(self, request: pb.ListTradesRequest, context: Context) -> pb.ListTradesResponse:
        venue, span = venue_of(request), time_range(request.range)
        page = Page.read(request.page, (int, int), query=("trades", venue, request.symbol, span))
        follower = await self._venues.follower(venue)
        await follower.instrument(request.symbol)
        epoch = await follower.keep()
        rows = await self._trades.page(venue, epoch, request.symbol, span, page.after, page.limit)
        shown, next_page = page.cut(rows, lambda row: (row["executed_ns"], row["sequence"]))
        return pb.ListTradesResponse(trades=map(trade_of_row, shown), page=next_page)

    async def ListCandles(self, request: pb.ListCandlesRequest, context: Context) -> pb.ListCandlesResponse:
        venue, (start, end) = venue_of(request), time_range(request.range)
        interval = from_duration(request.interval)
        try:
            check_interval(interval)
        except ValueError as error:
            raise InvalidField("interval", str(error)) from error
        page = Page.read(request.page, (int,), query=("candles", venue, request.symbol, interval, start, end))
        page = replace(page, size=most_of(interval, page.size))
        follower = await self._venues.follower(venue)
        await follower.instrument(request.symbol)
        epoch = await follower.keep()
        begin = int(page.after[0]) + interval if page.after else (start or 0)
        candles = await candle_page(
            self._trades.candles,
            venue,
            epoch,
            request.symbol,
            interval,
            (begin, end if end is not None else 2**63 - 1),
            page.limit,
            self._clock.nanoseconds(),
        )
        shown, next_page = page.cut(candles, lambda candle: (from_timestamp(candle.start),))
        return pb.ListCandlesResponse(candles=shown, page=next_page)

    async def Stream(self, request_iterator: AsyncIterator[pb.StreamRequest], context: Context) -> Stream:
        session = StreamSession()
        current_call().on_drain(session.drain)
        async with MarketStream(session, self._venues, self._max_subscriptions) as stream:
            stream.begin(request_iterator)
            async for encoded in session.frames():
                yield encoded
            stream.check()
