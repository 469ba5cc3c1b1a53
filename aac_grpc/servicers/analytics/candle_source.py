"""Candles of market-data, as columns."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from aac.marketdata.v1.marketdata_pb2 import Candle, GetQuotesRequest, ListCandlesRequest
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.type.v1.page_pb2 import PageRequest, TimeRange

from aac_grpc.client.errors import InvalidField, InvalidFields, NotFound
from aac_grpc.common.channel import Channels
from aac_grpc.common.paging import MAX_PAGE_SIZE, each_page
from aac_grpc.common.types import from_timestamp, to_duration, to_timestamp
from aac_grpc.domain.candles import MAX_INTERVAL_NS
from aac_grpc.domain.indicators import Bars

_WIDENING = 4
_SPELL = 960
"""Intervals of a spell at most: so many whole seconds are whole minutes, of which candles come fast."""


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
        async for page in self._pages(market, time_range):
            candles.extend(page)
            if len(candles) > self._max_candles:
                raise InvalidField("range", f"holds more than {self._max_candles} candles; ask for less at a time")
        return candles

    async def latest(self, market: Market) -> list[Candle]:
        """Returns the last candles before the venue's time, oldest first.

        An interval without a trade has no candle, so it looks back further and further until there are enough: at
        spells, which are candles of many intervals each, and only where there are any at the candles themselves.

        Raises:
            NotFound: There is no such instrument.
        """
        now_ns = await self._now_ns(market)
        spell = replace(market, interval_ns=_spell_ns(market.interval_ns))
        first = await self._market_data.ListCandles(_candles_request(spell, TimeRange(), page_size=1))
        first_ns = from_timestamp(first.candles[0].start) if first.candles else None
        if first_ns is None:
            return []
        end_ns = now_ns - now_ns % spell.interval_ns + spell.interval_ns
        width_ns = -(-self._limit * market.interval_ns // spell.interval_ns) * spell.interval_ns
        candles: list[Candle] = []
        while end_ns > first_ns and len(candles) < self._limit:
            start_ns = max(first_ns, end_ns - width_ns)
            spells = await self._all(spell, start_ns, end_ns)
            candles = [*await self._last_of(market, spells, spell.interval_ns, self._limit - len(candles)), *candles]
            end_ns, width_ns = start_ns, min(width_ns * _WIDENING, self._max_candles * spell.interval_ns)
        return candles[-self._limit :]

    async def _last_of(self, market: Market, spells: list[Candle], spell_ns: int, count: int) -> list[Candle]:
        """At least the last `count` candles of some spells, or all; takes the spells that it read off their end."""
        candles: list[Candle] = []
        while spells and (missing := count - len(candles)) > 0:
            start_ns = end_ns = from_timestamp(spells[-1].start) + spell_ns
            most = 0
            # Trades may share an interval: most spells hold fewer candles than they might.
            while spells and most < 2 * missing:
                spell = spells.pop()
                start_ns = from_timestamp(spell.start)
                most += min(spell.trades, spell_ns // market.interval_ns)
            candles = [*await self._all(market, start_ns, end_ns), *candles]
        return candles

    async def _all(self, market: Market, start_ns: int, end_ns: int) -> list[Candle]:
        time_range = TimeRange(start=to_timestamp(start_ns), end=to_timestamp(end_ns))
        return [candle async for page in self._pages(market, time_range) for candle in page]

    async def _pages(self, market: Market, time_range: TimeRange) -> AsyncIterator[Sequence[Candle]]:
        async for page in each_page(self._market_data.ListCandles, _candles_request(market, time_range)):
            yield page.candles

    async def _now_ns(self, market: Market) -> int:
        """When something last happened to the instrument, in venue time; 0 before anything did."""
        request = GetQuotesRequest(venue=market.venue, symbols=[market.symbol])
        try:
            (quote,) = (await self._market_data.GetQuotes(request)).quotes
        except InvalidFields as error:
            raise NotFound("instrument", market.symbol) from error
        return from_timestamp(quote.updated_at)


def _candles_request(market: Market, time_range: TimeRange, page_size: int = MAX_PAGE_SIZE) -> ListCandlesRequest:
    return ListCandlesRequest(
        venue=market.venue,
        symbol=market.symbol,
        interval=to_duration(market.interval_ns),
        range=time_range,
        page=PageRequest(page_size=page_size),
    )


def _spell_ns(interval_ns: int) -> int:
    """A multiple of an interval that candles may have, of whole minutes where there is such a one."""
    intervals = min(_SPELL, MAX_INTERVAL_NS // interval_ns)
    return interval_ns * (intervals - intervals % 60 if intervals >= 60 else intervals)


def to_bars(candles: Sequence[Candle]) -> Bars:
    """Turns candles into columns of doubles, which indicators are computed on."""
    columns = (
        np.array([float(getattr(candle, name)) for candle in candles], dtype=np.float64)
        for name in ("high", "low", "close")
    )
    return Bars(*columns)
