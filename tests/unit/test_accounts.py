"""Cash, holds, positions and the ledger: exact, and conserved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.accounts import Position
from aac_grpc.domain.commands import AdjustCash, AmendOrder, CancelOrder, CreateAccount
from aac_grpc.domain.events import CashAdjusted, Trade
from aac_grpc.domain.ledger import FUNDING, Posting, postings
from aac_grpc.domain.reasons import CommandRefused, VenueReason
from tests.unit.market import BUY, IOC, MONEY, SELL, Market

CENT = MONEY // 100
"""The price of one tick of one lot of X."""


def test_buying_moves_cash_and_position_by_the_trade_exactly() -> None:
    market = Market()
    market.account("maker", dollars=100, allow_short=True)
    market.account("taker", dollars=100)
    market.place("maker", "ask", SELL, 3, 1012)
    (_, trade) = market.place("taker", "bid", BUY, 3, 1100)
    assert isinstance(trade, Trade)
    assert (trade.taker.cash_delta, trade.maker.cash_delta) == (-3036 * CENT, 3036 * CENT)
    assert (trade.taker.hold_released, trade.maker.hold_released) == (0, 0)
    taker = market.venue.account_state("taker")
    assert taker is not None
    assert taker.cash == 100 * MONEY - 3036 * CENT
    assert (taker.positions["X"].quantity, taker.positions["X"].cost) == (3, 3036 * CENT)
    maker = market.venue.account_state("maker")
    assert maker is not None
    assert (maker.positions["X"].quantity, maker.positions["X"].cost) == (-3, -3036 * CENT)


def test_a_resting_buy_holds_price_times_open_quantity_until_it_fills_or_leaves() -> None:
    market = Market()
    market.account("buyer", dollars=100)
    market.account("seller", allow_short=True)

    def holds() -> int:
        state = market.venue.account_state("buyer")
        assert state is not None
        return state.holds

    market.place("buyer", "bid", BUY, 5, 1000)
    assert holds() == 5000 * CENT
    trade = market.place("seller", "hit", SELL, 2, 990)[-1]
    assert isinstance(trade, Trade)
    assert trade.maker.hold_released == 2000 * CENT
    assert holds() == 3000 * CENT
    order_id = market.order("buyer", "bid").order_id
    market.run(AmendOrder("buyer", order_id, quantity=2))
    assert holds() == 2000 * CENT
    market.run(AmendOrder("buyer", order_id, price=900))
    assert holds() == 1800 * CENT
    market.run(CancelOrder("buyer", order_id))
    assert holds() == 0


def test_a_resting_sell_promises_the_position_and_no_more_than_there_is_can_be_promised() -> None:
    market = Market()
    market.account("seller", dollars=100)
    market.account("short", allow_short=True)
    market.place("short", "ask", SELL, 5, 1000)
    market.place("seller", "bid", BUY, 5, 1000)
    market.place("seller", "a", SELL, 3, 1100)
    state = market.venue.account_state("seller")
    assert state is not None
    assert (state.positions["X"].quantity, state.positions["X"].hold_quantity) == (5, 3)
    assert (state.open_orders["X"].count, state.open_orders["X"].notional) == (1, 3300 * CENT)
    (refusal,) = market.place("seller", "b", SELL, 3, 1100)
    assert [reason.code for reason in refusal.reasons] == [VenueReason.INSUFFICIENT_POSITION]  # type: ignore[union-attr]
    order_id = market.order("seller", "a").order_id
    assert market.venue.validate(AmendOrder("seller", order_id, quantity=5)) == ()
    (reason,) = market.venue.validate(AmendOrder("seller", order_id, quantity=6))
    assert (reason.code, reason.limit, reason.actual) == (VenueReason.INSUFFICIENT_POSITION, "5", "6")


def test_cash_that_is_held_can_neither_be_spent_again_nor_withdrawn() -> None:
    market = Market()
    market.account("buyer", dollars=100)
    market.place("buyer", "a", BUY, 6, 1000)
    (refusal,) = market.place("buyer", "b", BUY, 5, 1000)
    assert [(reason.code, reason.limit, reason.actual) for reason in refusal.reasons] == [  # type: ignore[union-attr]
        (VenueReason.INSUFFICIENT_CASH, "40", "50")
    ]
    with pytest.raises(CommandRefused, match="50 USD cannot be withdrawn, 40 is free"):
        market.run(AdjustCash("buyer", -50 * MONEY))
    with pytest.raises(CommandRefused):
        market.run(AdjustCash("buyer", -40 * MONEY - 1))
    market.run(AdjustCash("buyer", -40 * MONEY))


def test_an_amend_is_covered_by_what_the_order_holds_already() -> None:
    market = Market()
    market.account("buyer", dollars=100)
    market.place("buyer", "a", BUY, 10, 1000)
    order_id = market.order("buyer", "a").order_id
    assert market.venue.validate(AmendOrder("buyer", order_id, price=500, quantity=20)) == ()
    (reason,) = market.venue.validate(AmendOrder("buyer", order_id, price=1001))
    assert reason.code == VenueReason.INSUFFICIENT_CASH


def test_a_market_buy_is_covered_for_what_the_book_would_charge() -> None:
    market = Market()
    market.account("seller", allow_short=True)
    market.account("buyer", dollars=30)
    market.place("seller", "a", SELL, 2, 1000)
    market.place("seller", "b", SELL, 2, 2000)
    (refusal,) = market.place("buyer", "m", BUY, 3)
    assert [reason.code for reason in refusal.reasons] == [VenueReason.INSUFFICIENT_CASH]  # type: ignore[union-attr]
    market.place("buyer", "n", BUY, 2)
    state = market.venue.account_state("buyer")
    assert state is not None
    assert state.cash == 10 * MONEY


def test_a_deposit_posts_both_legs_and_a_withdrawal_takes_them_back() -> None:
    market = Market()
    market.account("alice", dollars=5)
    (withdrawal,) = market.run(AdjustCash("alice", -2 * MONEY, "rent"))
    assert isinstance(withdrawal, CashAdjusted)
    assert (withdrawal.cash, withdrawal.reference) == (3 * MONEY, "rent")
    assert postings(withdrawal) == (Posting("cash:alice", -2 * MONEY), Posting(FUNDING, 2 * MONEY))
    with pytest.raises(CommandRefused):
        market.run(AdjustCash("alice", 0))
    with pytest.raises(CommandRefused):
        market.run(AdjustCash("nobody", 1))


def test_a_flow_account_has_no_cash() -> None:
    market = Market()
    market.flow("feed")
    with pytest.raises(CommandRefused, match="FLOW account has no cash"):
        market.run(AdjustCash("feed", MONEY))


def test_an_account_is_opened_once() -> None:
    market = Market()
    market.account("alice")
    with pytest.raises(CommandRefused, match="is open already"):
        market.run(CreateAccount("alice", "USD"))


def test_average_cost_and_realized_profit_follow_a_textbook_example() -> None:
    """Buy 10 at 5.00 and 10 at 7.00 (average 6.00), sell 15 at 8.00: 30.00 realized, 5 left that cost 30.00."""
    position = Position()
    assert position.trade(10, 50) == 0
    assert position.trade(10, 70) == 0
    assert position.trade(-15, -120) == 30
    assert (position.quantity, position.cost, position.realized_pnl) == (5, 30, 30)


@pytest.mark.parametrize(("cost", "share"), [(5, 2), (7, 4), (-5, -2), (-7, -4), (8, 4)])
def test_the_cost_that_a_closing_trade_takes_is_rounded_half_to_even(cost: int, share: int) -> None:
    sign = 1 if cost > 0 else -1
    position = Position(quantity=2 * sign, cost=cost)
    position.trade(-sign, -sign * 10)
    assert position.cost == cost - share
    assert position.realized_pnl == sign * 10 - share


def test_a_trade_through_zero_closes_the_long_and_opens_a_short_at_its_own_price() -> None:
    position = Position()
    position.trade(10, 100)
    assert position.trade(-15, -180) == 20
    assert (position.quantity, position.cost) == (-5, -60)
    assert position.trade(5, 50) == 10
    assert (position.quantity, position.cost, position.realized_pnl) == (0, 0, 30)


@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 1000)), max_size=40))
def test_cost_and_profit_always_add_up_to_the_cash_that_moved(trades: list[tuple[int, int]]) -> None:
    position = Position()
    cash = 0
    for quantity, price in trades:
        position.trade(quantity, quantity * price)
        cash -= quantity * price
        assert position.realized_pnl == cash + position.cost
        assert position.quantity or position.cost == 0
        assert position.cost * position.quantity >= 0


def test_a_blank_position_is_not_shown() -> None:
    market = Market()
    market.account("alice", dollars=100)
    market.place("alice", "a", BUY, 1, 100, IOC)
    market.place("alice", "b", BUY, 1, 100)
    market.run(CancelOrder("alice", market.order("alice", "b").order_id))
    state = market.venue.account_state("alice")
    assert state is not None
    assert (state.positions, state.open_orders) == ({}, {})
