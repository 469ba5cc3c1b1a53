"""Candles of kept trades, page by page."""

from typing import Any

from aac.marketdata.v1.marketdata_pb2 import Candle as CandleMessage

from aac_grpc.domain.candles import MAX_INTERVAL_NS, Candle
from aac_grpc.domain.decimals import to_scaled
from aac_grpc.servicers.market_data.candle_repository import MINUTE_NS, CandlesRepository
from aac_grpc.servicers.market_data.convert import CANDLE_SCALE, candle_message

UNROLLED_SPAN_NS = MAX_INTERVAL_NS
"""Of candles that are made of trades alone, a page covers this much of the time in which there are trades, about."""


def most_of(interval_ns: int, asked: int) -> int:
    """How many candles a page has at most.

    Args:
        interval_ns: Of the candles; where it is not whole minutes, those that are rolled up are of no use.
        asked: By the caller.
    """
    return asked if interval_ns % MINUTE_NS == 0 else min(asked, max(1, UNROLLED_SPAN_NS // interval_ns))


async def candle_page(
    candles: CandlesRepository,
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
        candles: Candles of kept trades.
        venue: Isolated market.
        epoch: Its numbering in force.
        symbol: Instrument.
        interval_ns: Whole seconds, in nanoseconds.
        span: First nanosecond inside and first outside; candles are whole where the span begins at one's start.
        limit: How many at most.
        now_ns: Venue time; an interval that has ended by then is closed, as is one that others with trades follow.
    """
    # One more, which tells that the one before is closed.
    rows = await candles.page(venue, epoch, symbol, interval_ns, span, limit + 1)
    found = [_candle(row, interval_ns) for row in rows]
    for number, candle in enumerate(found, 1):
        candle.closed = number < len(found) or candle.end_ns <= now_ns
    return [candle_message(candle) for candle in found[:limit]]


def _candle(row: dict[str, Any], interval_ns: int) -> Candle:
    return Candle(
        start_ns=row["start_ns"],
        interval_ns=interval_ns,
        open=to_scaled(row["open"], CANDLE_SCALE),
        high=to_scaled(row["high"], CANDLE_SCALE),
        low=to_scaled(row["low"], CANDLE_SCALE),
        close=to_scaled(row["close"], CANDLE_SCALE),
        volume=to_scaled(row["volume"], CANDLE_SCALE),
        notional=to_scaled(row["notional"], 2 * CANDLE_SCALE),
        trades=row["trades"],
    )
