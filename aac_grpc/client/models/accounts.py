"""Accounts, positions, exposure, limits and performance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aac_grpc.client.models._record import Record
from aac_grpc.client.models.market import Money


@dataclass(frozen=True, slots=True)
class AccountSummary(Record):
    """Cash of an account in one venue."""

    venue: str
    account_id: str
    cash: Money
    cash_held: Money
    cash_available: Money
    realized_pnl: Money
    open_orders: int
    version: int
    venue_sequence: int
    allow_short: bool


@dataclass(frozen=True, slots=True)
class Position(Record):
    """Holding of an account in one instrument; quantity and cost are signed."""

    venue: str
    account_id: str
    symbol: str
    quantity: Decimal
    quantity_held: Decimal
    cost: Money
    average_price: Decimal | None
    realized_pnl: Money


@dataclass(frozen=True, slots=True)
class InstrumentExposure(Record):
    """What is at stake in one instrument."""

    symbol: str
    position: Decimal
    price: Decimal | None
    market_value: Money
    open_buy_notional: Money
    open_sell_notional: Money
    unrealized_pnl: Money


@dataclass(frozen=True, slots=True)
class Exposure(Record):
    """What an account has at stake at the latest prices; no leverage where equity is not above zero."""

    account_id: str
    gross: Money
    net: Money
    equity: Money
    leverage: Decimal | None
    instruments: tuple[InstrumentExposure, ...]


@dataclass(frozen=True, slots=True)
class Limits(Record):
    """Risk limits of an account; None and 0 are no limit of its own."""

    max_order_quantity: Decimal | None = None
    max_order_notional: Decimal | None = None
    price_band: Decimal | None = None
    max_position: Decimal | None = None
    max_open_orders: int = 0


@dataclass(frozen=True, slots=True)
class AccountLimits(Record):
    """The limits in force for an account, and those set for it alone."""

    account_id: str
    effective: Limits
    own: Limits
    version: int


@dataclass(frozen=True, slots=True)
class Performance(Record):
    """Performance in one instrument; in all where the symbol is empty. Ratios are statistics, not money."""

    symbol: str
    realized_pnl: Money
    turnover: Money
    executions: int
    wins: int
    losses: int
    win_rate: float
    profit_factor: float
    gross_profit: Money
    gross_loss: Money
    max_drawdown: Money
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountPerformance(Record):
    """How an account has done, from its executions."""

    account_id: str
    total: Performance
    instruments: tuple[Performance, ...]
