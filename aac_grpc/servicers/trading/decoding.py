"""Domain events from the journal: what recovery applies. The inverse of `encoding`."""

from collections.abc import Callable
from typing import Any

from aac.trading.v1 import journal_pb2, order_pb2
from aac.trading.v1.journal_pb2 import LevelAfter, TradeSide, VenueEvent
from aac.type.v1 import market_pb2

from aac_grpc.domain import events
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.feed import AwaitedRow, TopOfBook
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.servicers.trading.vocabulary import instrument_of, reasons_of

_SIDE = {market_pb2.SIDE_BUY: Side.BUY, market_pb2.SIDE_SELL: Side.SELL}
_TYPE = {order_pb2.ORDER_TYPE_LIMIT: OrderType.LIMIT, order_pb2.ORDER_TYPE_MARKET: OrderType.MARKET}
_TIME_IN_FORCE = {
    order_pb2.TIME_IN_FORCE_GTC: TimeInForce.GTC,
    order_pb2.TIME_IN_FORCE_IOC: TimeInForce.IOC,
    order_pb2.TIME_IN_FORCE_FOK: TimeInForce.FOK,
}
_CANCEL_REASON = {reason.value: reason for reason in events.CancelReason}


def decode(message: VenueEvent, venue: str) -> events.Event:
    """Reads an event.

    Raises:
        ValueError: The message holds no event that this code knows.
    """
    kind = message.WhichOneof("event")
    if kind is None:
        raise ValueError(f"event {message.sequence} is of an unknown kind")
    if kind == "instrument_added":
        instrument = instrument_of(message.instrument_added.instrument, venue)
        return events.InstrumentAdded(message.sequence, message.time_ns, instrument)
    return _STEPS[kind](message.sequence, message.time_ns, getattr(message, kind))


def _accepted(sequence: int, time_ns: int, said: journal_pb2.OrderAccepted) -> events.OrderAccepted:
    return events.OrderAccepted(
        sequence,
        time_ns,
        said.order_id,
        said.client_order_id,
        said.account_id,
        said.symbol,
        _SIDE[said.side],
        _TYPE[said.type],
        _TIME_IN_FORCE[said.time_in_force],
        said.price,
        said.quantity,
        said.order_sequence,
        _level(said.level) if said.HasField("level") else None,
    )


def _rejected(sequence: int, time_ns: int, said: journal_pb2.OrderRejected) -> events.OrderRejected:
    return events.OrderRejected(
        sequence,
        time_ns,
        said.order_id,
        said.client_order_id,
        said.account_id,
        said.symbol,
        _SIDE[said.side],
        _TYPE[said.type],
        _TIME_IN_FORCE[said.time_in_force],
        said.price,
        said.quantity,
        said.order_sequence,
        reasons_of(said.reasons),
    )


def _rested(sequence: int, time_ns: int, said: journal_pb2.OrderRested) -> events.OrderRested:
    level = _level(said.level)
    return events.OrderRested(
        sequence,
        time_ns,
        said.order_id,
        said.account_id,
        said.symbol,
        level.side,
        level.price,
        said.leaves,
        level,
    )


def _amended(sequence: int, time_ns: int, said: journal_pb2.OrderAmended) -> events.OrderAmended:
    return events.OrderAmended(
        sequence,
        time_ns,
        said.order_id,
        said.client_order_id,
        said.account_id,
        said.symbol,
        _SIDE[said.side],
        said.price,
        said.quantity,
        said.leaves,
        said.previous_price,
        said.previous_leaves,
        said.requeued,
        said.order_sequence,
        _level(said.level) if said.HasField("level") else None,
    )


def _amend_rejected(sequence: int, time_ns: int, said: journal_pb2.AmendRejected) -> events.AmendRejected:
    return events.AmendRejected(
        sequence,
        time_ns,
        said.order_id,
        said.account_id,
        said.price or None,
        said.quantity or None,
        said.order_sequence,
        reasons_of(said.reasons),
    )


def _canceled(sequence: int, time_ns: int, said: journal_pb2.OrderCanceled) -> events.OrderCanceled:
    return events.OrderCanceled(
        sequence,
        time_ns,
        said.order_id,
        said.client_order_id,
        said.account_id,
        said.symbol,
        _SIDE[said.side],
        said.price,
        said.quantity,
        said.canceled,
        said.filled,
        said.filled_value,
        _CANCEL_REASON[said.reason],
        said.order_sequence,
        _level(said.level) if said.HasField("level") else None,
    )


def _cancel_rejected(sequence: int, time_ns: int, said: journal_pb2.CancelRejected) -> events.CancelRejected:
    return events.CancelRejected(
        sequence, time_ns, said.order_id, said.account_id, said.order_sequence, reasons_of(said.reasons)
    )


def _trade(sequence: int, time_ns: int, said: journal_pb2.TradeExecuted) -> events.Trade:
    return events.Trade(
        sequence,
        time_ns,
        said.trade_id,
        said.symbol,
        said.price,
        said.quantity,
        _SIDE[said.aggressor],
        said.notional,
        _execution(said.taker),
        _execution(said.maker),
        said.trade_sequence,
        _level(said.level),
    )


def _printed(sequence: int, time_ns: int, said: journal_pb2.Printed) -> events.Printed:
    return events.Printed(
        sequence,
        time_ns,
        said.trade_id,
        said.symbol,
        said.price,
        said.quantity,
        _SIDE.get(said.aggressor),
        said.trade_sequence,
    )


def _feed_started(sequence: int, time_ns: int, said: journal_pb2.FeedStarted) -> events.FeedStarted:
    return events.FeedStarted(sequence, time_ns, said.run_id, said.symbol, said.account_id)


def _feed_advanced(sequence: int, time_ns: int, said: journal_pb2.FeedAdvanced) -> events.FeedAdvanced:
    awaited = tuple(
        AwaitedRow(
            fill.row,
            TopOfBook(fill.bid_price, fill.bid_quantity, fill.ask_price, fill.ask_quantity),
            fill.as_recorded,
        )
        for fill in said.awaited
    )
    return events.FeedAdvanced(
        sequence,
        time_ns,
        said.run_id,
        said.last_row,
        said.rows,
        said.applied,
        said.diverged,
        said.resets,
        said.compared,
        said.top_equal,
        awaited,
        tuple(said.diverged_rows),
        tuple(said.unequal_rows),
    )


def _cash_adjusted(sequence: int, time_ns: int, said: journal_pb2.CashAdjusted) -> events.CashAdjusted:
    return events.CashAdjusted(
        sequence,
        time_ns,
        said.entry_id,
        said.account_id,
        said.currency,
        said.amount,
        said.cash,
        said.reference,
    )


def _account_created(sequence: int, time_ns: int, said: journal_pb2.AccountCreated) -> events.AccountCreated:
    kind = AccountKind.FLOW if said.flow else AccountKind.USER
    return events.AccountCreated(sequence, time_ns, said.account_id, kind, said.currency, said.allow_short)


_STEPS: dict[str, Callable[[int, int, Any], events.Event]] = {
    "order_accepted": _accepted,
    "order_canceled": _canceled,
    "trade": _trade,
    "order_rested": _rested,
    "order_amended": _amended,
    "order_rejected": _rejected,
    "amend_rejected": _amend_rejected,
    "cancel_rejected": _cancel_rejected,
    "printed": _printed,
    "feed_started": _feed_started,
    "feed_advanced": _feed_advanced,
    "cash_adjusted": _cash_adjusted,
    "account_created": _account_created,
}


def _level(said: LevelAfter) -> events.LevelChange:
    return events.LevelChange(_SIDE[said.side], said.price, said.quantity, said.orders, said.depth_sequence)


def _execution(said: TradeSide) -> events.Execution:
    return events.Execution(
        said.order_id,
        said.client_order_id,
        said.account_id,
        said.order_price,
        said.quantity,
        said.leaves,
        said.filled,
        said.filled_value,
        said.order_sequence,
        said.execution_sequence,
        said.cash_delta,
        said.hold_released,
        said.cash,
        said.position,
        said.position_cost,
        said.realized_pnl,
    )
