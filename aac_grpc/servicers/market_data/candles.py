"""Candles of kept trades, page by page."""

from collections.abc import AsyncIterator
from typing import Any

from aac.marketdata.v1.marketdata_pb2 import Candle as CandleMessage

from aac_grpc.domain.candles import Candle, CandleBuilder
from aac_grpc.servicers.market_data.convert import candle_message, candle_units
from aac_grpc.servicers.market_data.repository import TradesRepository

CHUNK = 2_000
"""Trades that are read at once; building candles of them must not hold up streams."""


async def candle_page(
    trades: TradesRepository,
    venue: str,
    epoch: int,
    symbol: str,
    interval_ns: int,
    span: tuple[int, int],
    limit: int,
    now_ns: int,
) -> list[CandleMessage]:
    """The first candles of a span, oldest first.

    Args:
        trades: Kept trades.
        venue: Isolated market.
        epoch: Its numbering in force.
        symbol: Instrument.
        interval_ns: Whole seconds, in nanoseconds.
        span: First nanosecond inside and first outside; candles are whole where the span begins at one's start.
        limit: How many at most.
        now_ns: Venue time; an interval that has ended by then is closed.
    """
    builder = CandleBuilder(interval_ns)
    candles: list[CandleMessage] = []

    def add(candle: Candle | None) -> None:
        if candle is not None and len(candles) < limit:
            candles.append(candle_message(candle))

    async for row in _ticks(trades, venue, epoch, symbol, span):
        add(builder.add(row["executed_ns"], candle_units(row["price"]), candle_units(row["quantity"])))
        if len(candles) == limit:
            return candles
    add(builder.close_until(now_ns))
    add(builder.current)
    return candles


async def _ticks(
    trades: TradesRepository, venue: str, epoch: int, symbol: str, span: tuple[int, int]
) -> AsyncIterator[dict[str, Any]]:
    start, end = span
    sequence = 0
    while True:
        rows = await trades.ticks(venue, epoch, symbol, start, end, sequence, CHUNK)
        for row in rows:
            yield row
        if len(rows) < CHUNK:
            return
        start, sequence = rows[-1]["executed_ns"], rows[-1]["sequence"]
