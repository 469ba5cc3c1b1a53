"""Domain events as the journal keeps them. This is on the path of every event: fields are set one by one."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aac.trading.v1 import order_pb2
from aac.trading.v1.journal_pb2 import LevelAfter, OrderTerms, TradeSide, VenueEvent
from aac.type.v1 import market_pb2

from aac_grpc.domain import events
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.servicers.trading.vocabulary import instrument_message, reason_message

_SIDE: "dict[Side | None, market_pb2.Side.ValueType]" = {
    None: market_pb2.SIDE_UNSPECIFIED,
    Side.BUY: market_pb2.SIDE_BUY,
    Side.SELL: market_pb2.SIDE_SELL,
}
_TYPE: "dict[OrderType, order_pb2.OrderType.ValueType]" = {
    OrderType.LIMIT: order_pb2.ORDER_TYPE_LIMIT,
    OrderType.MARKET: order_pb2.ORDER_TYPE_MARKET,
}
_TIME_IN_FORCE: "dict[TimeInForce, order_pb2.TimeInForce.ValueType]" = {
    TimeInForce.GTC: order_pb2.TIME_IN_FORCE_GTC,
    TimeInForce.IOC: order_pb2.TIME_IN_FORCE_IOC,
    TimeInForce.FOK: order_pb2.TIME_IN_FORCE_FOK,
}


class Terms(Protocol):
    """What is known of a user's order beside what its events say."""

    type: int
    time_in_force: int
    created_ns: int
    filled_value: int


class KnownTerms(Protocol):
    """Where terms are looked up."""

    def get(self, order_id: str, /) -> Terms | None:
        """Returns what is known of a user's order; None for an order of a feed."""


class EventEncoder:
    """Writes a venue's events as messages.

    Attributes:
        accounts: Account ids, and whether they are FLOW accounts.
        terms: What is known of users' orders, by order id; orders of feeds are absent.
    """

    def __init__(self, accounts: Mapping[str, bool], terms: KnownTerms) -> None:
        self.accounts = accounts
        self.terms = terms
        self._steps: dict[type, Callable[[Any, VenueEvent], None]] = {
            events.OrderAccepted: self._accepted,
            events.OrderCanceled: self._canceled,
            events.Trade: self._trade,
            events.OrderRested: self._rested,
            events.OrderAmended: self._amended,
            events.OrderRejected: self._rejected,
            events.AmendRejected: self._amend_rejected,
            events.CancelRejected: self._cancel_rejected,
            events.Printed: self._printed,
            events.FeedAdvanced: self._feed_advanced,
            events.FeedStarted: self._feed_started,
            events.CashAdjusted: self._cash_adjusted,
            events.AccountCreated: self._account_created,
            events.InstrumentAdded: self._instrument_added,
        }

    def encode(self, event: events.Event) -> VenueEvent:
        """Writes an event."""
        message = VenueEvent()
        message.sequence = event.sequence
        message.time_ns = event.time_ns
        self._steps[type(event)](event, message)
        return message

    def _accepted(self, event: events.OrderAccepted, message: VenueEvent) -> None:
        out = message.order_accepted
        out.order_id = event.order_id
        out.client_order_id = event.client_order_id
        out.account_id = event.account_id
        out.symbol = event.symbol
        out.side = _SIDE[event.side]
        out.type = _TYPE[event.order_type]
        out.time_in_force = _TIME_IN_FORCE[event.time_in_force]
        out.price = event.price
        out.quantity = event.quantity
        out.order_sequence = event.order_sequence
        if event.level is not None:
            _level(event.level, out.level)
        if self.accounts[event.account_id]:
            out.flow = True

    def _rejected(self, event: events.OrderRejected, message: VenueEvent) -> None:
        out = message.order_rejected
        out.order_id = event.order_id
        out.client_order_id = event.client_order_id
        out.account_id = event.account_id
        out.symbol = event.symbol
        out.side = _SIDE[event.side]
        out.type = _TYPE[event.order_type]
        out.time_in_force = _TIME_IN_FORCE[event.time_in_force]
        out.price = event.price
        out.quantity = event.quantity
        out.order_sequence = event.order_sequence
        out.reasons.extend(map(reason_message, event.reasons))

    def _rested(self, event: events.OrderRested, message: VenueEvent) -> None:
        out = message.order_rested
        out.order_id = event.order_id
        out.account_id = event.account_id
        out.symbol = event.symbol
        out.leaves = event.leaves
        _level(event.level, out.level)

    def _amended(self, event: events.OrderAmended, message: VenueEvent) -> None:
        out = message.order_amended
        out.order_id = event.order_id
        out.client_order_id = event.client_order_id
        out.account_id = event.account_id
        out.symbol = event.symbol
        out.side = _SIDE[event.side]
        out.price = event.price
        out.quantity = event.quantity
        out.leaves = event.leaves
        out.previous_price = event.previous_price
        out.previous_leaves = event.previous_leaves
        out.requeued = event.requeued
        out.order_sequence = event.order_sequence
        if event.level is not None:
            _level(event.level, out.level)
        terms = self.terms.get(event.order_id)
        if terms is not None:
            _terms(terms, out.terms)
            out.filled_value = terms.filled_value

    def _amend_rejected(self, event: events.AmendRejected, message: VenueEvent) -> None:
        out = message.amend_rejected
        out.order_id = event.order_id
        out.account_id = event.account_id
        out.price = event.price or 0
        out.quantity = event.quantity or 0
        out.order_sequence = event.order_sequence
        out.reasons.extend(map(reason_message, event.reasons))

    def _canceled(self, event: events.OrderCanceled, message: VenueEvent) -> None:
        out = message.order_canceled
        out.order_id = event.order_id
        out.client_order_id = event.client_order_id
        out.account_id = event.account_id
        out.symbol = event.symbol
        out.side = _SIDE[event.side]
        out.price = event.price
        out.quantity = event.quantity
        out.canceled = event.canceled
        out.filled = event.filled
        out.filled_value = event.filled_value
        out.reason = event.reason
        out.order_sequence = event.order_sequence
        if event.level is not None:
            _level(event.level, out.level)
        terms = self.terms.get(event.order_id)
        if terms is not None:
            _terms(terms, out.terms)

    def _cancel_rejected(self, event: events.CancelRejected, message: VenueEvent) -> None:
        out = message.cancel_rejected
        out.order_id = event.order_id
        out.account_id = event.account_id
        out.order_sequence = event.order_sequence
        out.reasons.extend(map(reason_message, event.reasons))

    def _trade(self, event: events.Trade, message: VenueEvent) -> None:
        out = message.trade
        out.trade_id = event.trade_id
        out.symbol = event.symbol
        out.price = event.price
        out.quantity = event.quantity
        out.aggressor = _SIDE[event.aggressor]
        out.notional = event.notional
        self._trade_side(event.taker, out.taker)
        self._trade_side(event.maker, out.maker)
        out.trade_sequence = event.trade_sequence
        _level(event.level, out.level)

    def _trade_side(self, side: events.Execution, out: TradeSide) -> None:
        out.order_id = side.order_id
        out.client_order_id = side.client_order_id
        out.account_id = side.account_id
        out.order_price = side.order_price
        out.quantity = side.quantity
        out.leaves = side.leaves
        out.filled = side.filled
        out.filled_value = side.filled_value
        out.order_sequence = side.order_sequence
        out.execution_sequence = side.execution_sequence
        terms = self.terms.get(side.order_id)
        if terms is None:
            return
        out.cash_delta = side.cash_delta
        out.hold_released = side.hold_released
        out.cash = side.cash
        out.position = side.position
        out.position_cost = side.position_cost
        out.realized_pnl = side.realized_pnl
        _terms(terms, out.terms)

    def _printed(self, event: events.Printed, message: VenueEvent) -> None:
        out = message.printed
        out.trade_id = event.trade_id
        out.symbol = event.symbol
        out.price = event.price
        out.quantity = event.quantity
        out.aggressor = _SIDE[event.aggressor]
        out.trade_sequence = event.trade_sequence

    def _feed_started(self, event: events.FeedStarted, message: VenueEvent) -> None:
        out = message.feed_started
        out.run_id, out.symbol, out.account_id = event.run_id, event.symbol, event.account_id

    def _feed_advanced(self, event: events.FeedAdvanced, message: VenueEvent) -> None:
        out = message.feed_advanced
        out.run_id = event.run_id
        out.last_row = event.last_row
        out.rows = event.rows
        out.applied = event.applied
        out.diverged = event.diverged
        out.resets = event.resets
        out.compared = event.compared
        out.top_equal = event.top_equal
        for fill in event.awaited:
            bid_price, bid_quantity, ask_price, ask_quantity = fill.top
            out.awaited.add(
                row=fill.row,
                bid_price=bid_price,
                bid_quantity=bid_quantity,
                ask_price=ask_price,
                ask_quantity=ask_quantity,
                as_recorded=fill.as_recorded,
            )
        out.diverged_rows.extend(event.diverged_rows)
        out.unequal_rows.extend(event.unequal_rows)

    def _cash_adjusted(self, event: events.CashAdjusted, message: VenueEvent) -> None:
        out = message.cash_adjusted
        out.entry_id = event.entry_id
        out.account_id = event.account_id
        out.currency = event.currency
        out.amount = event.amount
        out.cash = event.cash
        out.reference = event.reference

    def _account_created(self, event: events.AccountCreated, message: VenueEvent) -> None:
        out = message.account_created
        out.account_id = event.account_id
        out.flow = event.kind is AccountKind.FLOW
        out.currency = event.currency
        out.allow_short = event.allow_short

    def _instrument_added(self, event: events.InstrumentAdded, message: VenueEvent) -> None:
        message.instrument_added.instrument.CopyFrom(instrument_message(event.instrument))


def _level(level: events.LevelChange, out: LevelAfter) -> None:
    out.side = _SIDE[level.side]
    out.price = level.price
    out.quantity = level.quantity
    out.orders = level.orders
    out.depth_sequence = level.depth_sequence


def _terms(terms: Terms, out: OrderTerms) -> None:
    out.type = terms.type  # type: ignore[assignment]  # rows keep enums by number
    out.time_in_force = terms.time_in_force  # type: ignore[assignment]
    out.entered_ns = terms.created_ns
