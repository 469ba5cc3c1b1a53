"""What a venue does with orders, seen from its events."""

import json

import pytest

from aac_grpc.domain.commands import AddInstrument, AmendOrder, CancelOrder, CreateAccount, PlaceOrder
from aac_grpc.domain.events import (
    AmendRejected,
    CancelReason,
    CancelRejected,
    Event,
    LevelChange,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderRejected,
    OrderRested,
    Trade,
)
from aac_grpc.domain.instruments import InstrumentKind
from aac_grpc.domain.orders import OrderIntent, Reason, Verdict
from aac_grpc.domain.reasons import CommandRefused, VenueReason
from aac_grpc.domain.replay import ReplayMismatch
from aac_grpc.domain.venue import Venue
from tests.unit.market import BUY, FOK, GTC, IOC, LIMIT, MARKET, NOW, SELL, Market, fills, instrument


@pytest.fixture
def market() -> Market:
    """A venue with two rich accounts that may sell short."""
    market = Market()
    market.account("alice", dollars=10**6, allow_short=True)
    market.account("bob", dollars=10**6, allow_short=True)
    return market


def kinds(events: list[Event]) -> list[type]:
    """Returns the types of events."""
    return [type(event) for event in events]


def codes(event: Event) -> list[str]:
    """Returns the codes of a refusal's reasons."""
    assert isinstance(event, OrderRejected | AmendRejected | CancelRejected)
    return [reason.code for reason in event.reasons]


def test_an_order_that_rests_says_what_its_level_became(market: Market) -> None:
    market.place("alice", "a", BUY, 5, 1000)
    (accepted,) = market.place("bob", "b", BUY, 3, 1000)
    assert isinstance(accepted, OrderAccepted)
    assert accepted.level == LevelChange(BUY, 1000, 8, 2, depth_sequence=2)
    assert accepted.order_id == "main-2"


def test_an_order_that_crosses_trades_at_the_makers_price_and_rests_the_remainder(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    events = market.place("bob", "b", BUY, 8, 1010)
    assert kinds(events) == [OrderAccepted, Trade, OrderRested]
    assert fills(events) == [("b", "a", 1000, 5)]
    trade, rested = events[1], events[2]
    assert isinstance(trade, Trade)
    assert isinstance(rested, OrderRested)
    assert trade.level == LevelChange(SELL, 1000, 0, 0, depth_sequence=2)
    assert (trade.taker.leaves, trade.taker.filled, trade.maker.leaves) == (3, 5, 0)
    assert rested.level == LevelChange(BUY, 1010, 3, 1, depth_sequence=3)
    assert market.venue.find_order("alice", "a") is None


def test_each_side_of_a_trade_is_numbered_in_its_own_account(market: Market) -> None:
    market.place("alice", "a", SELL, 1, 1000)
    market.place("alice", "b", SELL, 1, 1000)
    events = market.place("bob", "c", BUY, 2, 1000)
    trades = [event for event in events if isinstance(event, Trade)]
    assert [trade.trade_sequence for trade in trades] == [1, 2]
    assert [trade.trade_id for trade in trades] == ["main-t1", "main-t2"]
    assert [trade.maker.execution_sequence for trade in trades] == [1, 2]
    assert [trade.maker.order_sequence for trade in trades] == [3, 4]
    assert [trade.taker.order_sequence for trade in trades] == [2, 3]


@pytest.mark.parametrize(("tif", "reason"), [(IOC, CancelReason.IOC), (FOK, CancelReason.FOK)])
def test_what_may_not_rest_is_cancelled_with_its_reason(market: Market, tif: object, reason: CancelReason) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    canceled = market.place("bob", "b", BUY, 8, 1000, tif)[-1]  # type: ignore[arg-type]
    assert isinstance(canceled, OrderCanceled)
    assert canceled.reason is reason
    assert canceled.canceled == (3 if tif is IOC else 8)
    assert canceled.level is None


def test_a_market_order_takes_the_best_prices_and_never_rests(market: Market) -> None:
    market.place("alice", "a", SELL, 2, 1000)
    market.place("alice", "b", SELL, 2, 1001)
    events = market.place("bob", "m", BUY, 5)
    assert fills(events) == [("m", "a", 1000, 2), ("m", "b", 1001, 2)]
    canceled = events[-1]
    assert isinstance(canceled, OrderCanceled)
    assert (canceled.reason, canceled.canceled, canceled.filled) == (CancelReason.MARKET_REMAINDER, 1, 4)
    assert canceled.filled_value == 2 * 1000 + 2 * 1001


def test_a_market_fok_fills_whole_or_not_at_all(market: Market) -> None:
    market.place("alice", "a", SELL, 2, 1000)
    assert fills(market.place("bob", "m", BUY, 3, tif=FOK)) == []
    assert fills(market.place("bob", "n", BUY, 2, tif=FOK)) == [("n", "a", 1000, 2)]


def test_amend_that_reduces_keeps_its_place_in_the_queue(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    market.place("bob", "b", SELL, 5, 1000)
    (amended,) = market.run(AmendOrder("alice", market.order("alice", "a").order_id, quantity=3))
    assert isinstance(amended, OrderAmended)
    assert (amended.requeued, amended.quantity, amended.leaves, amended.previous_leaves) == (False, 3, 3, 5)
    assert amended.level == LevelChange(SELL, 1000, 8, 2, depth_sequence=3)
    assert fills(market.place("bob", "t", BUY, 4, 1000)) == [("t", "a", 1000, 3), ("t", "b", 1000, 1)]


def test_amend_that_changes_nothing_keeps_its_place_and_leaves_the_book_alone(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    (amended,) = market.run(AmendOrder("alice", market.order("alice", "a").order_id, price=1000, quantity=5))
    assert isinstance(amended, OrderAmended)
    assert (amended.requeued, amended.level) == (False, None)


@pytest.mark.parametrize("change", [{"quantity": 6}, {"price": 1001}, {"price": 999, "quantity": 1}])
def test_amend_that_grows_or_moves_goes_to_the_back(market: Market, change: dict[str, int]) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    for price in (999, 1000, 1001):
        market.place("bob", f"b{price}", SELL, 5, price)
    events = market.run(AmendOrder("alice", market.order("alice", "a").order_id, **change))
    assert kinds(events) == [OrderAmended, OrderRested]
    price = change.get("price", 1000)
    assert [order.client_order_id for order in market.venue.book("X").level(SELL, price) or ()] == [f"b{price}", "a"]


def test_amend_of_a_partly_filled_order_sets_what_is_open(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    market.place("bob", "b", BUY, 2, 1000)
    order_id = market.order("alice", "a").order_id
    (amended,) = market.run(AmendOrder("alice", order_id, quantity=1))
    assert isinstance(amended, OrderAmended)
    assert (amended.quantity, amended.leaves) == (3, 1)
    order = market.order("alice", "a")
    assert (order.quantity, order.filled, order.leaves) == (3, 2, 1)


def test_amend_through_the_book_trades_as_a_taker_under_the_same_id(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    market.place("bob", "b", BUY, 3, 990)
    order_id = market.order("bob", "b").order_id
    events = market.run(AmendOrder("bob", order_id, price=1000))
    assert kinds(events) == [OrderAmended, Trade]
    assert fills(events) == [("b", "a", 1000, 3)]
    assert market.venue.order(order_id) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": 0}, VenueReason.INVALID_QUANTITY),
        ({"price": 0}, VenueReason.INVALID_PRICE),
        ({}, VenueReason.NOTHING_TO_AMEND),
    ],
)
def test_amend_without_sense_is_refused_and_changes_nothing(
    market: Market, change: dict[str, int], code: VenueReason
) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    before = market.venue.snapshot()["markets"]
    (refusal,) = market.run(AmendOrder("alice", market.order("alice", "a").order_id, **change))
    assert codes(refusal) == [code]
    assert market.venue.snapshot()["markets"] == before


def test_another_accounts_order_is_unknown_to_amend_and_cancel(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    order_id = market.order("alice", "a").order_id
    for command in (AmendOrder("bob", order_id, quantity=1), CancelOrder("bob", order_id)):
        (refusal,) = market.run(command)
        assert codes(refusal) == [VenueReason.UNKNOWN_ORDER]
    assert market.levels(SELL) == [(1000, 5)]


def test_a_cancel_takes_the_order_out_once(market: Market) -> None:
    market.place("alice", "a", SELL, 5, 1000)
    order_id = market.order("alice", "a").order_id
    (canceled,) = market.run(CancelOrder("alice", order_id))
    assert isinstance(canceled, OrderCanceled)
    assert canceled.level == LevelChange(SELL, 1000, 0, 0, depth_sequence=2)
    (refusal,) = market.run(CancelOrder("alice", order_id))
    assert codes(refusal) == [VenueReason.UNKNOWN_ORDER]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("nobody", "k", "X", BUY, LIMIT, GTC, 1, 100), [VenueReason.UNKNOWN_ACCOUNT]),
        (("alice", "k", "Y", BUY, LIMIT, GTC, 1, 100), [VenueReason.UNKNOWN_INSTRUMENT]),
        (("alice", "k", "OUT", BUY, LIMIT, GTC, 1, 100), [VenueReason.NOT_TRADABLE]),
        (("feed", "k", "X", BUY, LIMIT, GTC, 1, 100), [VenueReason.WRONG_ACCOUNT_KIND]),
        (("alice", "k", "X", BUY, LIMIT, GTC, 0, 0), [VenueReason.INVALID_QUANTITY, VenueReason.INVALID_PRICE]),
        (("alice", "k", "X", BUY, LIMIT, GTC, 10**9 + 1, 100), [VenueReason.INVALID_QUANTITY]),
        (("alice", "k", "X", BUY, LIMIT, GTC, 1, 10**9 + 1), [VenueReason.INVALID_PRICE]),
        (("alice", "k", "X", SELL, LIMIT, GTC, 10**9, 10**9), [VenueReason.INVALID_QUANTITY]),
        (("alice", "k", "X", BUY, LIMIT, GTC, 1, None), [VenueReason.INVALID_PRICE]),
        (("alice", "k", "X", BUY, MARKET, GTC, 1, None), [VenueReason.INVALID_TIME_IN_FORCE]),
        (("alice", "k", "X", BUY, MARKET, IOC, 1, 100), [VenueReason.INVALID_PRICE]),
        (("alice", "used", "X", SELL, LIMIT, GTC, 1, 100), [VenueReason.DUPLICATE_CLIENT_ORDER_ID]),
    ],
)
def test_an_order_that_breaks_a_rule_is_rejected_with_every_reason(
    market: Market, order: tuple[object, ...], expected: list[VenueReason]
) -> None:
    listed = instrument("OUT")
    external = type(listed)("OUT", "main", InstrumentKind.EXTERNAL, "Out", "USD", listed.tick_size, listed.lot_size)
    market.run(AddInstrument(external))
    market.flow("feed")
    market.place("alice", "used", BUY, 1, 100)
    command = PlaceOrder(*order)  # type: ignore[arg-type]
    assert [reason.code for reason in market.venue.validate(command)] == expected
    before = market.venue.snapshot()["markets"]
    (rejected,) = market.run(command)
    assert codes(rejected) == expected
    assert market.venue.snapshot()["markets"] == before


def test_an_account_of_another_currency_cannot_trade_the_instrument(market: Market) -> None:
    market.run(CreateAccount("eve", "EUR"))
    (rejected,) = market.place("eve", "k", BUY, 1, 100)
    assert VenueReason.WRONG_CURRENCY in codes(rejected)


def test_a_refusal_by_risk_is_a_rejected_order_with_an_id(market: Market) -> None:
    refused = Verdict(False, (Reason("PRICE_BAND", "too far", "10", "20"),))
    command = PlaceOrder("alice", "k", "X", BUY, LIMIT, GTC, 1, 100)
    (rejected,) = market.run(command, verdict=refused)
    assert codes(rejected) == ["PRICE_BAND"]
    assert isinstance(rejected, OrderRejected)
    assert rejected.order_id == "main-1"
    (accepted,) = market.run(command, verdict=Verdict(True))
    assert isinstance(accepted, OrderAccepted)
    assert accepted.order_id == "main-2"
    (kept,) = market.run(AmendOrder("alice", "main-2", quantity=9), verdict=refused)
    assert codes(kept) == ["PRICE_BAND"]


def test_risk_is_asked_about_what_adds_exposure_only(market: Market) -> None:
    market.place("alice", "a", BUY, 5, 1000)
    order_id = market.order("alice", "a").order_id
    ask = market.venue.intent
    assert ask(CancelOrder("alice", order_id)) is None
    assert ask(AmendOrder("alice", order_id, quantity=4)) is None
    assert ask(AmendOrder("alice", order_id, price=1001, quantity=4)) is not None
    assert ask(AmendOrder("bob", order_id, quantity=9)) is None
    grown = ask(AmendOrder("alice", order_id, price=1001, quantity=9))
    assert grown == OrderIntent("alice", "X", BUY, LIMIT, GTC, 9, 1001, 10**6, "USD", 5, 1000)
    fresh = ask(PlaceOrder("alice", "b", "X", SELL, MARKET, IOC, 3))
    assert fresh == OrderIntent("alice", "X", SELL, MARKET, IOC, 3, 0, 10**6, "USD")


def test_a_client_order_id_is_free_again_once_its_order_is_done(market: Market) -> None:
    market.place("alice", "a", BUY, 5, 1000)
    assert codes(market.place("alice", "a", BUY, 5, 1000)[0]) == [VenueReason.DUPLICATE_CLIENT_ORDER_ID]
    market.place("bob", "a", SELL, 5, 1000)
    assert isinstance(market.place("alice", "a", BUY, 5, 1000)[0], OrderAccepted)


def test_an_instrument_is_listed_once_and_only_in_its_own_venue(market: Market) -> None:
    with pytest.raises(CommandRefused, match="listed already"):
        market.run(AddInstrument(instrument("X")))
    with pytest.raises(CommandRefused, match="belongs to venue main"):
        Venue("other").execute(AddInstrument(instrument("X")), NOW)


def test_time_never_goes_back(market: Market) -> None:
    command = PlaceOrder("alice", "k", "X", BUY, LIMIT, GTC, 1, 100)
    (accepted,) = market.venue.execute(command, NOW - 5)
    assert accepted.time_ns == NOW


def test_an_event_that_is_missing_or_does_not_fit_is_noticed(market: Market) -> None:
    market.place("alice", "a", BUY, 5, 1000)
    market.place("bob", "b", SELL, 5, 1000)
    events = market.events

    def replay(events: list[Event]) -> None:
        venue = Venue("main")
        for event in events:
            venue.apply(event)

    replay(events)
    with pytest.raises(ReplayMismatch, match="came after"):
        replay(events[:-2] + events[-1:])
    trade = events[-1]
    assert isinstance(trade, Trade)
    trade.level.quantity = 1
    with pytest.raises(ReplayMismatch, match="another level"):
        replay(events)


def test_a_snapshot_survives_json_and_refuses_an_unknown_format(market: Market) -> None:
    market.place("alice", "a", BUY, 5, 1000)
    market.place("bob", "b", SELL, 2, 1000)
    snapshot = json.loads(json.dumps(market.venue.snapshot()))
    restored = Venue.restore(snapshot)
    assert restored.state_hash() == market.venue.state_hash()
    assert restored.account_state("alice") == market.venue.account_state("alice")
    with pytest.raises(ValueError, match="format"):
        Venue.restore({**snapshot, "format": 99})
