"""What market-data derives from a venue's events: ladders, markets, topics."""

from collections.abc import Iterable
from typing import Any

import pytest
from aac.type.v1 import market_pb2, stream_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from aac_grpc.client.errors import NotFound
from aac_grpc.common.streams import SequenceError
from aac_grpc.servicers.market_data.market import InstrumentMarket, Ladder
from aac_grpc.servicers.market_data.venue import VenueMarkets
from tests.integration.market_engine import BUY, SELL, VenueDouble

BID, ASK = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL

changes = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), max_size=60)


@given(changes, st.sampled_from([BID, ASK]))
def test_a_ladder_holds_what_was_last_said_of_each_price_best_first(said: list[tuple[int, int]], side: int) -> None:
    ladder = Ladder(side)  # type: ignore[arg-type]
    expected: dict[int, tuple[int, int]] = {}
    for price, quantity in said:
        ladder.set(price, quantity, quantity and 1)
        expected[price] = (quantity, 1)
    rows = [(price, *what) for price, what in sorted(expected.items(), reverse=side == BID) if what[0]]
    assert list(ladder) == rows
    assert ladder.best() == (rows[0][0] if rows else None)


async def nothing_kept(symbol: str, after: int, until: int) -> Iterable[Any]:
    """No trade was kept."""
    return ()


def markets_of(venue: VenueDouble, snapshot: Any = None, after: int = 0) -> VenueMarkets:
    return VenueMarkets(venue.name, snapshot or venue.snapshot(), after, nothing_kept)


def shown(markets: VenueMarkets, symbol: str = "X") -> tuple[Any, ...]:
    """Everything that callers see of an instrument."""
    market = markets.instrument(symbol).market
    book = market.book(1000, markets.sequence)
    return book.bids, book.asks, book.depth_sequence, market.trade_sequence, market.last_price, market.last_quantity


steps = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(95, 105)),
        st.tuples(st.just("take"), st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(95, 105)),
        st.tuples(st.just("cancel"), st.integers(0, 10)),
        st.tuples(st.just("print"), st.integers(1, 9)),
    ),
    min_size=1,
    max_size=40,
)


def play(venue: VenueDouble, step: tuple[Any, ...], resting: list[str]) -> None:
    match step:
        case ("place", side, quantity, price):
            resting.append(venue.place(side, quantity, price))
        case ("take", side, quantity, price):
            venue.place(side, quantity, price, take=True)
        case ("cancel", index) if resting:
            key = resting.pop(index % len(resting))
            if venue.venue.find_order("maker", key) is not None:
                venue.cancel(key)
        case ("print", quantity):
            venue.print_trade("1.0005", quantity)


@settings(max_examples=60, deadline=None)
@given(steps, st.data())
async def test_markets_show_what_the_venue_shows_wherever_they_begin(said: list[Any], data: st.DataObject) -> None:
    """Begun with a snapshot of any moment, from any event before it, in any batches."""
    venue, resting, snapshots = VenueDouble("v").add("X"), [], []
    for step in said:
        snapshots.append(venue.snapshot())
        play(venue, step, resting)
    snapshot = data.draw(st.sampled_from(snapshots))
    after = data.draw(st.integers(0, snapshot.sequence))
    markets = markets_of(venue, snapshot, after)
    at = after
    while at < len(venue.events):
        until = data.draw(st.integers(at + 1, len(venue.events)))
        markets.apply(venue.events[data.draw(st.integers(0, at)) : until])  # some of them again
        at = until
    assert markets.caught_up
    assert shown(markets) == shown(markets_of(venue))
    streams = markets.instrument("X")
    assert (streams.trades.sequence, streams.depth.sequence) == shown(markets)[3:1:-1]
    assert sum(1 for row in markets.to_keep) == streams.trades.sequence - trades_up_to(venue, after)


def trades_up_to(venue: VenueDouble, sequence: int) -> int:
    return sum(event.WhichOneof("event") in ("trade", "printed") for event in venue.events[:sequence])


async def test_topics_begin_with_events_of_before_the_snapshot() -> None:
    venue = VenueDouble("v").add("X")
    begin = venue.venue.sequence
    for price in range(100, 110):
        venue.trade(price)
    markets = markets_of(venue, after=begin + 8)
    markets.apply(venue.events)
    streams = markets.instrument("X")
    assert streams.trades.ring.floor < streams.trades.sequence == 10
    assert streams.depth.ring.floor < streams.depth.sequence == 20


async def test_a_missing_event_is_not_passed_over() -> None:
    venue = VenueDouble("v").add("X")
    markets = markets_of(venue, after=venue.venue.sequence)
    for price in range(100, 104):
        venue.trade(price)
    with pytest.raises(SequenceError):
        markets.apply(venue.events[:-3] + venue.events[-2:])


async def test_events_that_can_not_be_had_are_passed_over_only_where_the_snapshot_has_them() -> None:
    venue = VenueDouble("v").add("X")
    venue.trade(100)
    markets = markets_of(venue)
    with pytest.raises(SequenceError):
        markets.skip_to(1, venue.venue.sequence + 1)
    with pytest.raises(SequenceError):
        markets.skip_to(2, venue.venue.sequence)
    markets.skip_to(1, venue.venue.sequence - 1)
    markets.apply(venue.events)
    assert markets.caught_up
    with pytest.raises(SequenceError):
        markets.skip_to(1, venue.venue.sequence)


async def test_an_instrument_that_is_not_listed_is_not_found() -> None:
    venue = VenueDouble("v").add("X")
    with pytest.raises(NotFound):
        markets_of(venue).instrument("Y")


async def test_each_topic_is_found_by_its_name() -> None:
    streams = markets_of(VenueDouble("v").add("X")).instrument("X")
    names = (stream_pb2.TOPIC_TRADES, stream_pb2.TOPIC_QUOTES, stream_pb2.TOPIC_DEPTH)
    assert [streams.topic(name).topic for name in names] == list(names)


async def test_a_quote_has_no_side_that_the_book_has_not() -> None:
    venue = VenueDouble("v").add("X")
    venue.place(BUY, 3, 100)
    quote = InstrumentMarket(venue.snapshot().instruments[0]).quote()
    assert (quote.bid_price, quote.bid_quantity, quote.ask_price, quote.ask_quantity) == ("1", "3", "", "")
