"""Rebuilding a state from its events, without matching."""

from collections.abc import Callable
from typing import Any

from aac_grpc.domain.accounts import Account
from aac_grpc.domain.events import (
    AccountCreated,
    AmendRejected,
    CancelRejected,
    CashAdjusted,
    Event,
    Execution,
    FeedAdvanced,
    FeedStarted,
    InstrumentAdded,
    LevelChange,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderRejected,
    OrderRested,
    Printed,
    Trade,
)
from aac_grpc.domain.feed import FeedRun
from aac_grpc.domain.matching import Level
from aac_grpc.domain.orders import Order
from aac_grpc.domain.state import Market, VenueState, leave, rest, settle_maker, settle_taker, shrink


class ReplayMismatch(ValueError):
    """An event does not follow from the state it is applied to; the journal or the snapshot is not whole."""


def apply(state: VenueState, event: Event) -> None:
    """Applies the next event.

    Raises:
        ReplayMismatch: It is not the next one, or it leads elsewhere than it says. The state is then undefined.
    """
    if event.sequence != state.sequence + 1:
        raise ReplayMismatch(f"event {event.sequence} came after {state.sequence}")
    try:
        _STEPS[type(event)](state, event)
    except KeyError as error:
        raise ReplayMismatch(f"event {event.sequence} names {error}, which is not there") from error
    state.sequence = event.sequence
    state.time_ns = event.time_ns


def _accepted(state: VenueState, event: OrderAccepted) -> None:
    market, account = state.markets[event.symbol], state.accounts[event.account_id]
    order = Order(
        state.next_order_id(),
        event.client_order_id,
        event.account_id,
        event.symbol,
        event.side,
        event.order_type,
        event.time_in_force,
        event.price,
        event.quantity,
        event.time_ns,
    )
    _agree(event, "order id", order.order_id, event.order_id)
    state.enter(order, account)
    account.order_sequence = event.order_sequence
    if event.level is not None:
        _check_level(event, market, rest(market, order, account), event.level)


def _rested(state: VenueState, event: OrderRested) -> None:
    order, market, account = _live(state, event.order_id)
    _agree(event, "leaves", order.leaves, event.leaves)
    _check_level(event, market, rest(market, order, account), event.level)


def _amended(state: VenueState, event: OrderAmended) -> None:
    order, market, account = _live(state, event.order_id)
    level: Level[Order] | None = None
    if event.requeued:
        level = leave(market, order, account)
        order.reprice(event.price, event.leaves)
    elif event.level is not None:
        level = shrink(market, order, account, order.leaves - event.leaves)
    account.order_sequence = event.order_sequence
    _agree(event, "quantity", order.quantity, event.quantity)
    if level is not None and event.level is not None:
        _check_level(event, market, level, event.level)


def _canceled(state: VenueState, event: OrderCanceled) -> None:
    order, market, account = _live(state, event.order_id)
    _agree(event, "leaves", order.leaves, event.canceled)
    if event.level is not None:
        _check_level(event, market, leave(market, order, account), event.level)
    state.forget(order, account)
    account.order_sequence = event.order_sequence


def _traded(state: VenueState, event: Trade) -> None:
    market = state.markets[event.symbol]
    taker, _, taker_account = _live(state, event.taker.order_id)
    maker, _, maker_account = _live(state, event.maker.order_id)
    _agree(event, "trade id", state.next_trade_id(), event.trade_id)
    profit = settle_taker(market, taker, taker_account, event.price, event.quantity)
    _check_execution(event, taker, taker_account, event.taker, profit)
    level: Level[Order] = maker.level
    market.book.reduce(maker, event.quantity)
    profit = settle_maker(market, maker, maker_account, event.price, event.quantity)
    _check_execution(event, maker, maker_account, event.maker, profit)
    _check_level(event, market, level, event.level)
    market.trade_sequence = event.trade_sequence
    market.last_price, market.last_quantity = event.price, event.quantity
    for order, account in ((taker, taker_account), (maker, maker_account)):
        if not order.leaves:
            state.forget(order, account)


def _rejected(state: VenueState, event: OrderRejected) -> None:
    _agree(event, "order id", state.next_order_id(), event.order_id)
    _count_refusal(state, event.account_id, event.order_sequence)


def _amend_rejected(state: VenueState, event: AmendRejected | CancelRejected) -> None:
    _count_refusal(state, event.account_id, event.order_sequence)


def _printed(state: VenueState, event: Printed) -> None:
    _agree(event, "trade id", state.next_trade_id(), event.trade_id)
    state.markets[event.symbol].trade_sequence = event.trade_sequence


def _feed_started(state: VenueState, event: FeedStarted) -> None:
    state.feeds[event.run_id] = FeedRun(event.run_id, event.symbol, event.account_id)


def _feed_advanced(state: VenueState, event: FeedAdvanced) -> None:
    run = state.feeds[event.run_id]
    run.last_row, run.rows = event.last_row, event.rows
    run.applied, run.diverged, run.resets = event.applied, event.diverged, event.resets
    run.compared, run.top_equal, run.awaited = event.compared, event.top_equal, event.awaited


def _cash_adjusted(state: VenueState, event: CashAdjusted) -> None:
    account = state.accounts[event.account_id]
    _agree(event, "entry id", state.next_entry_id(), event.entry_id)
    account.adjust(event.amount)
    _agree(event, "cash", account.cash, event.cash)


def _account_created(state: VenueState, event: AccountCreated) -> None:
    account = Account(event.account_id, event.kind, event.currency, event.allow_short)
    state.accounts[event.account_id] = account


def _instrument_added(state: VenueState, event: InstrumentAdded) -> None:
    state.markets[event.instrument.symbol] = Market(event.instrument)


_STEPS: dict[type, Callable[[VenueState, Any], None]] = {
    OrderAccepted: _accepted,
    OrderRested: _rested,
    OrderAmended: _amended,
    OrderCanceled: _canceled,
    Trade: _traded,
    OrderRejected: _rejected,
    AmendRejected: _amend_rejected,
    CancelRejected: _amend_rejected,
    Printed: _printed,
    FeedStarted: _feed_started,
    FeedAdvanced: _feed_advanced,
    CashAdjusted: _cash_adjusted,
    AccountCreated: _account_created,
    InstrumentAdded: _instrument_added,
}


def _live(state: VenueState, order_id: str) -> tuple[Order, Market, Account]:
    order = state.orders[order_id]
    return order, state.markets[order.symbol], state.accounts[order.account_id]


def _count_refusal(state: VenueState, account_id: str, order_sequence: int) -> None:
    """Takes over the number that a refusal had; an unknown account has none."""
    account = state.accounts.get(account_id)
    if account is not None:
        account.order_sequence = order_sequence


def _check_level(event: Event, market: Market, level: Level[Order], change: LevelChange) -> None:
    market.depth_sequence += 1
    if (level.quantity, level.orders, market.depth_sequence) != (change.quantity, change.orders, change.depth_sequence):
        raise ReplayMismatch(f"event {event.sequence} leaves another level than it says: {change}")


def _check_execution(event: Event, order: Order, account: Account, said: Execution, profit: int) -> None:
    account.order_sequence, account.execution_sequence = said.order_sequence, said.execution_sequence
    _agree(event, "filled", order.filled, said.filled)
    _agree(event, "realized profit", profit, said.realized_pnl)
    if account.is_user:
        _agree(event, "cash", account.cash, said.cash)
        _agree(event, "position", account.positions[order.symbol].quantity, said.position)


def _agree(event: Event, what: str, found: object, said: object) -> None:
    if found != said:
        raise ReplayMismatch(f"event {event.sequence} leads to {what} {found}, but says {said}")
