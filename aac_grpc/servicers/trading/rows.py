"""Orders and executions as the database keeps them: ticks, lots, units of 1e-8, enums by the contract's numbers."""

from dataclasses import dataclass, field
from typing import Any, Self

from aac.trading.v1 import order_pb2


@dataclass(slots=True)
class OrderRow:
    """A user's order after its latest event."""

    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: int
    type: int
    time_in_force: int
    price: int
    """Limit in ticks; 0 for a market order."""
    quantity: int
    """Lots: filled, open and cancelled."""
    filled: int
    filled_value: int
    """Sum of price x quantity of the fills, ticks x lots."""
    leaves: int
    state: int
    version: int
    """The account's number of the order's latest event."""
    venue_sequence: int
    created_ns: int
    updated_ns: int
    cancel_reason: str = ""
    reject_reasons: list[dict[str, str]] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The venue's count of the order, which its id ends with."""
        return order_number(self.order_id)

    @property
    def done(self) -> bool:
        """It can't trade any more."""
        return self.state != order_pb2.ORDER_STATE_OPEN

    def record(self, venue_id: int) -> dict[str, Any]:
        """The row of `orders`."""
        record = {name: getattr(self, name) for name in self.__slots__}
        record["venue_id"] = venue_id
        record["order_number"] = self.number
        return record

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Self:
        """Reads a row of `orders`."""
        row = cls(**{name: record[name] for name in cls.__slots__})
        row.filled_value = int(row.filled_value)
        return row


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One side of a trade."""

    venue_sequence: int
    leg: int
    """0 is the order that came in, 1 the one that rested."""
    execution_id: str
    trade_id: str
    order_id: str
    client_order_id: str
    account_id: str
    symbol: str
    side: int
    price: int
    quantity: int
    liquidity: int
    position_after: int | None
    """None for an account of a feed."""
    realized_pnl: int
    sequence: int
    executed_ns: int

    def record(self, venue_id: int) -> dict[str, Any]:
        """The row of `executions`."""
        record = {name: getattr(self, name) for name in self.__slots__}
        record["venue_id"] = venue_id
        return record

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Self:
        """Reads a row of `executions`."""
        return cls(**{name: record[name] for name in cls.__slots__})


def order_number(order_id: str) -> int:
    """The venue's count of an order; 0, which no order has, for a text that is no order id."""
    count = order_id.rpartition("-")[2]
    return int(count) if count.isascii() and count.isdigit() and len(count) < 19 else 0
