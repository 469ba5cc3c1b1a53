"""Orders and their executions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aac.trading.v1 import order_pb2

from aac_grpc.client.models._record import Record, WireEnum
from aac_grpc.client.models.market import Money, Side


class OrderType(WireEnum):
    """How an order is priced."""

    UNSPECIFIED = "unspecified"
    LIMIT = "limit"
    MARKET = "market"

    @classmethod
    def wire_type(cls) -> Any:
        return order_pb2.OrderType


class TimeInForce(WireEnum):
    """How long an order lives."""

    UNSPECIFIED = "unspecified"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"

    @classmethod
    def wire_type(cls) -> Any:
        return order_pb2.TimeInForce


class OrderState(WireEnum):
    """Where an order stands."""

    UNSPECIFIED = "unspecified"
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"

    @classmethod
    def wire_type(cls) -> Any:
        return order_pb2.OrderState


class Liquidity(WireEnum):
    """Whether an execution took liquidity or gave it."""

    UNSPECIFIED = "unspecified"
    MAKER = "maker"
    TAKER = "taker"

    @classmethod
    def wire_type(cls) -> Any:
        return order_pb2.Liquidity


@dataclass(frozen=True, slots=True)
class RejectReason(Record):
    """Why an order was refused: one broken rule, with its number where it has one."""

    code: str
    message: str
    limit: Decimal | None
    actual: Decimal | None


@dataclass(frozen=True, slots=True)
class Order(Record):
    """An order as it stood at `version`."""

    venue: str
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: Decimal | None
    quantity: Decimal
    filled_quantity: Decimal
    open_quantity: Decimal
    average_price: Decimal | None
    state: OrderState
    reject_reasons: tuple[RejectReason, ...]
    cancel_reason: str
    version: int
    venue_sequence: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Execution(Record):
    """One side of a trade."""

    venue: str
    execution_id: str
    trade_id: str
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    liquidity: Liquidity
    position_after: Decimal | None
    realized_pnl: Money
    sequence: int
    venue_sequence: int
    executed_at: datetime


@dataclass(frozen=True, slots=True)
class PlacedOrder(Record):
    """An order as it stood once its entry was committed, and what it filled at once."""

    order: Order
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class AmendedOrder(Record):
    """An order once its change was committed; where it was refused, the order is as it was."""

    order: Order
    executions: tuple[Execution, ...]
    accepted: bool
    reject_reasons: tuple[RejectReason, ...]


@dataclass(frozen=True, slots=True)
class CanceledOrder(Record):
    """An order once its cancel was committed; `canceled` is False where there was nothing open."""

    order: Order
    canceled: bool
