"""Orders and executions as the database keeps them: ticks, lots, units of 1e-8, enums by the contract's numbers."""

from dataclasses import dataclass, field
from typing import Any, Self

from aac.trading.v1 import journal_pb2, order_pb2
from aac.trading.v1.journal_pb2 import TradeSide, VenueEvent
from aac.type.v1 import market_pb2


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
    def is_open(self) -> bool:
        """It may still trade."""
        return self.state == order_pb2.ORDER_STATE_OPEN

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
    """The venue's count of an order.

    Raises:
        ValueError: It is no order id.
    """
    return int(order_id.rpartition("-")[2])


def accepted(event: VenueEvent) -> OrderRow:
    """The order that an OrderAccepted tells of."""
    said = event.order_accepted
    return _entered(event, said, order_pb2.ORDER_STATE_OPEN, said.quantity)


def rejected(event: VenueEvent) -> OrderRow:
    """The order that an OrderRejected tells of."""
    said = event.order_rejected
    row = _entered(event, said, order_pb2.ORDER_STATE_REJECTED, 0)
    row.reject_reasons = [
        {"code": each.code, "message": each.message, "limit": each.limit, "actual": each.actual}
        for each in said.reasons
    ]
    return row


def amended(event: VenueEvent) -> OrderRow:
    """A user's order after an OrderAmended."""
    said = event.order_amended
    return OrderRow(
        order_id=said.order_id,
        client_order_id=said.client_order_id,
        account_id=said.account_id,
        symbol=said.symbol,
        side=said.side,
        type=said.terms.type,
        time_in_force=said.terms.time_in_force,
        price=said.price,
        quantity=said.quantity,
        filled=said.quantity - said.leaves,
        filled_value=said.filled_value,
        leaves=said.leaves,
        state=order_pb2.ORDER_STATE_OPEN,
        version=said.order_sequence,
        venue_sequence=event.sequence,
        created_ns=said.terms.entered_ns,
        updated_ns=event.time_ns,
    )


def canceled(event: VenueEvent) -> OrderRow:
    """A user's order after an OrderCanceled."""
    said = event.order_canceled
    return OrderRow(
        order_id=said.order_id,
        client_order_id=said.client_order_id,
        account_id=said.account_id,
        symbol=said.symbol,
        side=said.side,
        type=said.terms.type,
        time_in_force=said.terms.time_in_force,
        price=said.price,
        quantity=said.quantity,
        filled=said.filled,
        filled_value=said.filled_value,
        leaves=0,
        state=order_pb2.ORDER_STATE_CANCELED,
        version=said.order_sequence,
        venue_sequence=event.sequence,
        created_ns=said.terms.entered_ns,
        updated_ns=event.time_ns,
        cancel_reason=said.reason,
    )


def traded(event: VenueEvent, leg: int) -> OrderRow:
    """A user's order after its side of a trade."""
    trade = event.trade
    said = trade.maker if leg else trade.taker
    return OrderRow(
        order_id=said.order_id,
        client_order_id=said.client_order_id,
        account_id=said.account_id,
        symbol=trade.symbol,
        side=_side(trade, leg),
        type=said.terms.type,
        time_in_force=said.terms.time_in_force,
        price=said.order_price,
        quantity=said.quantity,
        filled=said.filled,
        filled_value=said.filled_value,
        leaves=said.leaves,
        state=order_pb2.ORDER_STATE_OPEN if said.leaves else order_pb2.ORDER_STATE_FILLED,
        version=said.order_sequence,
        venue_sequence=event.sequence,
        created_ns=said.terms.entered_ns,
        updated_ns=event.time_ns,
    )


def executed(event: VenueEvent, leg: int) -> ExecutionRow:
    """One side of a trade as an execution."""
    trade = event.trade
    said: TradeSide = trade.maker if leg else trade.taker
    return ExecutionRow(
        venue_sequence=event.sequence,
        leg=leg,
        execution_id=f"{trade.trade_id}-{'m' if leg else 't'}",
        trade_id=trade.trade_id,
        order_id=said.order_id,
        client_order_id=said.client_order_id,
        account_id=said.account_id,
        symbol=trade.symbol,
        side=_side(trade, leg),
        price=trade.price,
        quantity=trade.quantity,
        liquidity=order_pb2.LIQUIDITY_MAKER if leg else order_pb2.LIQUIDITY_TAKER,
        position_after=said.position if said.HasField("terms") else None,
        realized_pnl=said.realized_pnl,
        sequence=said.execution_sequence,
        executed_ns=event.time_ns,
    )


def _side(trade: journal_pb2.TradeExecuted, leg: int) -> int:
    """The maker stands on the other side of the aggressor."""
    if not leg:
        return trade.aggressor
    return market_pb2.SIDE_SELL if trade.aggressor == market_pb2.SIDE_BUY else market_pb2.SIDE_BUY


def _entered(
    event: VenueEvent, said: journal_pb2.OrderAccepted | journal_pb2.OrderRejected, state: int, leaves: int
) -> OrderRow:
    return OrderRow(
        order_id=said.order_id,
        client_order_id=said.client_order_id,
        account_id=said.account_id,
        symbol=said.symbol,
        side=said.side,
        type=said.type,
        time_in_force=said.time_in_force,
        price=said.price,
        quantity=said.quantity,
        filled=0,
        filled_value=0,
        leaves=leaves,
        state=state,
        version=said.order_sequence,
        venue_sequence=event.sequence,
        created_ns=event.time_ns,
        updated_ns=event.time_ns,
    )
