"""Candles of market-data, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aac.marketdata.v1.marketdata_pb2 import Candle, GetQuotesRequest, ListCandlesRequest
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.type.v1.page_pb2 import PageRequest, TimeRange

from aac_grpc.client.errors import InvalidField, InvalidFields, NotFound
from aac_grpc.common.channel import Channels
from aac_grpc.common.paging import MAX_PAGE_SIZE, each_page
from aac_grpc.common.types import from_timestamp, to_duration, to_timestamp
from aac_grpc.domain.indicators import Bars

_WIDENING = 4


@dataclass(frozen=True, slots=True)
class Market:
    """Whose candles, and how long each is."""

    venue: str
    symbol: str
    interval_ns: int


class CandleSource:
    """Reads candles page by page."""

    def __init__(self, channels: Channels, *, limit: int, max_candles: int) -> None:
        """Takes the bounds: `limit` candles without a range, `max_candles` with one."""
        self._market_data = channels.stub(MarketDataServiceStub, "market-data")
        self._limit = limit
        self._max_candles = max_candles

    async def within(self, market: Market, time_range: TimeRange) -> list[Candle]:
        """Returns the candles of a range, oldest first.

        Raises:
            InvalidField: There are too many.
            NotFound: There is no such instrument.
        """
        candles: list[Candle] = []
        request = ListCandlesRequest(
            venue=market.venue,
            symbol=market.symbol,
            interval=to_duration(market.interval_ns),
            range=time_range,
            page=PageRequest(page_size=MAX_PAGE_SIZE),
        )
        async for page in each_page(self._market_data.ListCandles, request):
            candles.extend(page.candles)
            if len(candles) > self._max_candles:
                raise InvalidField("range", f"holds more than {self._max_candles} candles; ask for less at a time")
        return candles

    async def latest(self, market: Market) -> list[Candle]:
        """Returns the last candles before the venue's time, oldest first.

        An interval without a trade has no candle, so it looks back further and further until there are enough.

        Raises:
            NotFound: There is no such instrument.
        """
        now_ns = await self._now_ns(market)
        end_ns = now_ns - now_ns % market.interval_ns + market.interval_ns
        width_ns = self._limit * market.interval_ns
        candles: list[Candle] = []
        while end_ns > 0 and len(candles) < self._limit:
            start_ns = max(0, end_ns - width_ns)
            part = TimeRange(start=to_timestamp(start_ns), end=to_timestamp(end_ns))
            candles = [*await self.within(market, part), *candles]
            end_ns, width_ns = start_ns, width_ns * _WIDENING
        return candles[-self._limit :]

    async def _now_ns(self, market: Market) -> int:
        """When something last happened to the instrument, in venue time; 0 before anything did."""
        request = GetQuotesRequest(venue=market.venue, symbols=[market.symbol])
        try:
            (quote,) = (await self._market_data.GetQuotes(request)).quotes
        except InvalidFields as error:
            raise NotFound("instrument", market.symbol) from error
        return from_timestamp(quote.updated_at)


def to_bars(candles: Sequence[Candle]) -> Bars:
    """Turns candles into columns of doubles, which indicators are computed on."""
    columns = (
        np.array([float(getattr(candle, name)) for candle in candles], dtype=np.float64)
        for name in ("high", "low", "close")
    )
    return Bars(*columns)
