"""What events say of users' orders and of executions: rows as they are after each event."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aac.trading.v1 import journal_pb2, order_pb2
from aac.trading.v1.journal_pb2 import TradeSide, VenueEvent
from aac.type.v1 import market_pb2

from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow


class OrderChange(NamedTuple):
    """One event of a user's orders."""

    account_id: str
    sequence: int
    """Number among the account's order events."""
    row: OrderRow | None
    """The order after it; None where a request was refused and no order changed."""


def order_changes(message: VenueEvent) -> Sequence[OrderChange]:
    """Returns what an event changed of users' orders; nothing where it is about a feed's orders, or about none."""
    kind = message.WhichOneof("event")
    step = _STEPS.get(kind) if kind is not None else None
    return step(message) if step is not None else ()


def changes_in(batch: Iterable[VenueEvent]) -> list[tuple[VenueEvent, Sequence[OrderChange]]]:
    """Returns the events of a batch, each with what it changed.

    A row knows of the event by which its order's rest joined the book: that one follows within the batch, changes
    nothing else, and has no number among the account's order events.
    """
    found: list[tuple[VenueEvent, Sequence[OrderChange]]] = []
    latest: dict[str, OrderRow] = {}
    for message in batch:
        changes = order_changes(message)
        latest.update((change.row.order_id, change.row) for change in changes if change.row is not None)
        if message.HasField("order_rested") and (row := latest.get(message.order_rested.order_id)) is not None:
            row.venue_sequence = message.sequence
        found.append((message, changes))
    return found


def executions(message: VenueEvent) -> tuple[ExecutionRow, ExecutionRow]:
    """Returns both sides of a trade, the taker's first."""
    return _executed_row(message, 0), _executed_row(message, 1)


def _accepted(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.order_accepted
    if said.flow:
        return ()
    row = _entered(message, said, order_pb2.ORDER_STATE_OPEN, said.quantity)
    return (OrderChange(said.account_id, said.order_sequence, row),)


def _rejected(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.order_rejected
    row = _entered(message, said, order_pb2.ORDER_STATE_REJECTED, 0)
    row.reject_reasons = [
        {"code": each.code, "message": each.message, "limit": each.limit, "actual": each.actual}
        for each in said.reasons
    ]
    return (OrderChange(said.account_id, said.order_sequence, row),)


def _amended(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.order_amended
    if not said.HasField("terms"):
        return ()
    return (OrderChange(said.account_id, said.order_sequence, _amended_row(message)),)


def _canceled(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.order_canceled
    if not said.HasField("terms"):
        return ()
    return (OrderChange(said.account_id, said.order_sequence, _canceled_row(message)),)


def _traded(message: VenueEvent) -> Sequence[OrderChange]:
    return [
        OrderChange(side.account_id, side.order_sequence, _traded_row(message, leg))
        for leg, side in enumerate((message.trade.taker, message.trade.maker))
        if side.HasField("terms")
    ]


def _amend_rejected(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.amend_rejected
    return (OrderChange(said.account_id, said.order_sequence, None),)


def _cancel_rejected(message: VenueEvent) -> Sequence[OrderChange]:
    said = message.cancel_rejected
    return (OrderChange(said.account_id, said.order_sequence, None),)


_STEPS: dict[str, Callable[[VenueEvent], Sequence[OrderChange]]] = {
    "order_accepted": _accepted,
    "order_rejected": _rejected,
    "order_amended": _amended,
    "order_canceled": _canceled,
    "trade": _traded,
    "amend_rejected": _amend_rejected,
    "cancel_rejected": _cancel_rejected,
}


def _amended_row(event: VenueEvent) -> OrderRow:
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


def _canceled_row(event: VenueEvent) -> OrderRow:
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


def _traded_row(event: VenueEvent, leg: int) -> OrderRow:
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


def _executed_row(event: VenueEvent, leg: int) -> ExecutionRow:
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
