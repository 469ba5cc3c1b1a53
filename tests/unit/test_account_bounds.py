"""No account's money can outgrow what the journal can write down, whatever trades."""

import random
from dataclasses import asdict, replace
from typing import Any

import pytest

from aac_grpc.domain.commands import AddInstrument, AdjustCash, AmendOrder, FeedRows, PlaceOrder, StartFeed
from aac_grpc.domain.decimals import MAX_ACCOUNT_MONEY, MAX_MONEY
from aac_grpc.domain.events import AmendRejected, Event, FeedAdvanced, OrderAccepted, OrderRejected, Trade
from aac_grpc.domain.feed import FeedRow, New
from aac_grpc.domain.orders import Side
from aac_grpc.domain.reasons import CommandRefused, VenueReason
from aac_grpc.domain.venue import Venue
from tests.unit.market import BUY, GTC, IOC, LIMIT, NOW, SELL, Market, instrument

ROOM = 2**63 - 1
DEAREST = 10**9
"""The highest price of X, in ticks."""
LOTS = MAX_MONEY // (DEAREST * 10**6)
"""So many lots of X at the dearest price are the most that one order may come to."""


def codes(event: Event) -> list[str]:
    assert isinstance(event, OrderRejected | AmendRejected)
    return [reason.code for reason in event.reasons]


@pytest.fixture
def market() -> Market:
    """Two accounts with the largest deposit; they may sell short."""
    market = Market("X", "Y", "Z")
    for name in ("alice", "bob"):
        market.account(name, dollars=MAX_MONEY // 10**8, allow_short=True)
    return market


def test_a_sell_that_could_take_cash_beyond_the_bound_is_refused_with_a_reason(market: Market) -> None:
    for number in range(3):
        (accepted,) = market.place("alice", f"s{number}", SELL, LOTS, DEAREST)
        assert isinstance(accepted, OrderAccepted)
    (refused,) = market.place("alice", "one more", SELL, 1, DEAREST)
    assert codes(refused) == [VenueReason.ACCOUNT_MONEY_LIMIT]
    reason = refused.reasons[0]  # type: ignore[union-attr]
    assert (reason.limit, reason.actual) == ("40000000000", "40010000000")
    market.account("poor", dollars=1)
    assert isinstance(market.place("poor", "b", BUY, 1, 1)[0], OrderAccepted)


def test_deposits_count_what_open_sells_may_bring(market: Market) -> None:
    for number in range(3):
        market.place("alice", f"s{number}", SELL, LOTS, DEAREST)
    with pytest.raises(CommandRefused, match="could come to") as refused:
        market.run(AdjustCash("alice", 1))
    assert [reason.code for reason in refused.value.reasons] == [VenueReason.ACCOUNT_MONEY_LIMIT]
    market.run(AdjustCash("alice", -MAX_MONEY))
    market.run(AdjustCash("alice", MAX_MONEY))


def test_a_sell_counts_the_bids_that_it_would_hit_and_not_the_best_of_them_for_all(market: Market) -> None:
    market.run(AdjustCash("alice", MAX_MONEY))
    market.run(AdjustCash("alice", MAX_MONEY))
    market.place("bob", "dear", BUY, 1, DEAREST)
    fits = market.place("alice", "cheap", SELL, 10 * LOTS, 1, IOC)
    assert isinstance(fits[0], OrderAccepted)
    assert isinstance(fits[1], Trade)
    market.place("bob", "dear again", BUY, LOTS // 2, DEAREST)
    market.account("carol", dollars=MAX_MONEY // 10**8)
    market.place("carol", "more", BUY, LOTS, DEAREST)
    (refused,) = market.place("alice", "too much", SELL, 2 * LOTS, 1, IOC)
    assert codes(refused) == [VenueReason.ACCOUNT_MONEY_LIMIT]


def test_an_amend_that_would_pass_the_bound_is_refused_and_one_that_takes_back_is_not(market: Market) -> None:
    for number in range(3):
        market.place("alice", f"s{number}", SELL, LOTS, DEAREST - 1)
    # Three ticks of LOTS are left: one amend fits, and the next one does not where a deposit took the rest.
    order_id = market.order("alice", "s1").order_id
    market.run(AmendOrder("alice", market.order("alice", "s0").order_id, price=DEAREST))
    market.run(AdjustCash("alice", LOTS * 2 * 10**6))
    (refused,) = market.run(AmendOrder("alice", order_id, price=DEAREST))
    assert codes(refused) == [VenueReason.ACCOUNT_MONEY_LIMIT]
    assert market.run(AmendOrder("alice", order_id, quantity=1))


def test_costs_that_grow_by_selling_one_thing_short_to_buy_another_are_bounded(market: Market) -> None:
    taken = 0
    for number in range(12):
        first = market.place("alice", f"x{number}", SELL, LOTS, DEAREST, symbol="X")
        market.place("bob", f"x{number}", BUY, LOTS, DEAREST, symbol="X")
        market.place("bob", f"y{number}", SELL, LOTS, DEAREST, symbol="Y")
        market.place("alice", f"y{number}", BUY, LOTS, DEAREST, symbol="Y")
        taken += isinstance(first[0], OrderAccepted)
    assert 0 < taken < 12
    state = market.venue.account_state("alice")
    assert state is not None
    assert sum(abs(each.cost) for each in state.positions.values()) <= MAX_ACCOUNT_MONEY


def test_rows_of_a_feed_that_no_trade_could_be_written_of_are_not_applied() -> None:
    market = Market()
    market.flow()
    market.run(StartFeed("run", "X", "flow"))
    rows = tuple(FeedRow(n, n, (New(f"o{n}", side, 10**17, 10**17),)) for n, side in enumerate((BUY, SELL)))
    (advanced,) = market.run(FeedRows("run", rows))
    assert isinstance(advanced, FeedAdvanced)
    assert advanced.diverged_rows == (0, 1)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_rich_accounts_do_every_number_fits_64_bits_and_memory_is_what_a_snapshot_says(seed: int) -> None:
    draw = random.Random(seed)
    market = Market()
    names = ("alice", "bob", "carol")
    for symbol in ("Y", "Z"):
        market.run(AddInstrument(replace(instrument(symbol), max_quantity=10**15)))
    for name in names:
        market.account(name, dollars=MAX_MONEY // 10**8, allow_short=True)
    refused = 0
    for number in range(1500):
        name, symbol = draw.choice(names), draw.choice("XYZ")
        price = draw.choice((1, 2, DEAREST // 2, DEAREST - draw.randint(0, 9), DEAREST))
        quantity = min(MAX_MONEY // (price * 10**6), 10**9 if symbol == "X" else 10**15)
        quantity = max(1, quantity // draw.choice((1, 1, 2, 7)))
        live = sorted(order.order_id for order in market.venue.open_orders(name))
        if draw.random() < 0.3 and live:
            command: Any = AmendOrder(name, draw.choice(live), price, quantity)
        elif draw.random() < 0.1:
            command = AdjustCash(name, draw.choice((-1, 1)) * draw.randint(1, MAX_MONEY))
        else:
            tif = draw.choice((GTC, IOC))
            command = PlaceOrder(name, f"o{number}", symbol, draw.choice(tuple(Side)), LIMIT, tif, quantity, price)
        try:
            events = market.run(command)
        except CommandRefused:
            continue
        for event in events:
            _check_numbers(asdict(event))
            if isinstance(event, OrderRejected | AmendRejected):
                refused += VenueReason.ACCOUNT_MONEY_LIMIT in [reason.code for reason in event.reasons]
        for account in market.venue._state.accounts.values():
            assert account.cash >= 0
            assert account.cash + account.offers <= MAX_ACCOUNT_MONEY
            assert account.at_stake() <= MAX_ACCOUNT_MONEY
    assert refused
    restored = Venue.restore(market.venue.snapshot())
    for name, account in market.venue._state.accounts.items():
        again = restored._state.accounts[name]
        assert (again.offers, again.invested, again.holds) == (account.offers, account.invested, account.holds)
    assert restored.execute(AdjustCash("alice", -1), NOW) == market.run(AdjustCash("alice", -1))


def _check_numbers(value: Any) -> None:
    if isinstance(value, dict):
        for part in value.values():
            _check_numbers(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_numbers(part)
    elif isinstance(value, int):
        assert abs(value) <= ROOM
