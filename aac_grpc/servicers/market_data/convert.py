"""Between the venue's messages and what market-data keeps and shows."""

from decimal import Decimal
from typing import Any

from aac.marketdata.v1.marketdata_pb2 import Candle as CandleMessage
from aac.marketdata.v1.marketdata_pb2 import Trade
from aac.type.v1 import market_pb2

from aac_grpc.common.types import to_timestamp
from aac_grpc.domain.candles import Candle
from aac_grpc.domain.decimals import format_decimal, format_scaled
from aac_grpc.domain.instruments import Instrument, InstrumentKind

CANDLE_SCALE = 9
"""Prices and quantities of candles are integers of 1e-9, since prints may be off tick."""


def to_domain(message: market_pb2.Instrument) -> Instrument:
    """The instrument as the domain converts with it."""
    external = message.kind == market_pb2.INSTRUMENT_KIND_EXTERNAL
    return Instrument(
        symbol=message.symbol,
        venue=message.venue,
        kind=InstrumentKind.EXTERNAL if external else InstrumentKind.VENUE,
        name=message.name,
        currency=message.currency,
        tick_size=Decimal(message.tick_size),
        lot_size=Decimal(message.lot_size),
    )


def trade_of_row(row: dict[str, Any]) -> Trade:
    """A kept trade as callers see it."""
    return Trade(
        trade_id=row["trade_id"],
        sequence=row["sequence"],
        price=format_decimal(row["price"]),
        quantity=format_decimal(row["quantity"]),
        aggressor=row["aggressor"],
        executed_at=to_timestamp(row["executed_ns"]),
        print=row["print"],
    )


def candle_message(candle: Candle) -> CandleMessage:
    """A candle in units of 1e-9 as callers see it."""
    return CandleMessage(
        start=to_timestamp(candle.start_ns),
        open=format_scaled(candle.open, CANDLE_SCALE),
        high=format_scaled(candle.high, CANDLE_SCALE),
        low=format_scaled(candle.low, CANDLE_SCALE),
        close=format_scaled(candle.close, CANDLE_SCALE),
        volume=format_scaled(candle.volume, CANDLE_SCALE),
        notional=format_scaled(candle.notional, 2 * CANDLE_SCALE),
        trades=candle.trades,
        closed=candle.closed,
    )
