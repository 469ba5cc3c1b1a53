"""Instruments, quotes, books, trades and candles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aac.type.v1 import market_pb2

from aac_grpc.client.models._record import Record, WireEnum, wire_name


class Side(WireEnum):
    """Side of an order, or of the aggressor of a trade."""

    UNSPECIFIED = "unspecified"
    BUY = "buy"
    SELL = "sell"

    @classmethod
    def wire_type(cls) -> Any:
        return market_pb2.Side


class InstrumentKind(WireEnum):
    """Where an instrument's events come from."""

    UNSPECIFIED = "unspecified"
    VENUE = "venue"
    EXTERNAL = "external"

    @classmethod
    def wire_type(cls) -> Any:
        return market_pb2.InstrumentKind


@dataclass(frozen=True, slots=True)
class Money(Record):
    """An exact amount of a currency."""

    currency: str
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"


@dataclass(frozen=True, slots=True)
class Instrument(Record):
    """What can be traded or watched: prices are multiples of `tick_size`, quantities of `lot_size`."""

    venue: str
    symbol: str
    name: str
    kind: InstrumentKind
    currency: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class BookLevel(Record):
    """Visible quantity at one price."""

    price: Decimal
    quantity: Decimal
    orders: int


@dataclass(frozen=True, slots=True)
class Book(Record):
    """A book by price level, best first."""

    venue: str
    symbol: str
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    depth_sequence: int
    venue_sequence: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class LevelChange(Record):
    """One changed level of a book: `quantity` is what is visible now, zero when the level is gone."""

    side: Side
    price: Decimal
    quantity: Decimal
    orders: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Quote(Record):
    """Best bid and ask, and the last trade; None where there is none."""

    venue: str
    symbol: str
    bid_price: Decimal | None
    bid_quantity: Decimal | None
    ask_price: Decimal | None
    ask_quantity: Decimal | None
    last_price: Decimal | None
    last_quantity: Decimal | None
    depth_sequence: int
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Trade(Record):
    """A trade; `is_print` marks one that touched no visible order and has no aggressor."""

    trade_id: str
    sequence: int
    price: Decimal
    quantity: Decimal
    aggressor: Side
    executed_at: datetime
    is_print: bool = wire_name("print")


@dataclass(frozen=True, slots=True)
class Candle(Record):
    """Open, high, low and close of an interval."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    notional: Decimal
    trades: int
    closed: bool
