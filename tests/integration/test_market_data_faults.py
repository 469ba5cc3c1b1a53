"""market-data when processes stop, events come twice or not at all, and venues go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.type.v1.stream_pb2 import ResumePoint

from aac_grpc.client.errors import DependencyUnavailable, NotFound, from_status
from tests.integration.market_engine import BUY, SELL, VenueDouble
from tests.integration.market_reader import (
    DEPTH,
    GAP,
    QUOTES,
    SNAPSHOT,
    TRADES,
    MarketStack,
    Reader,
    market_stack,
    subscription,
)


@pytest.fixture(scope="module")
async def markets(installation: dict[str, object]) -> AsyncIterator[MarketStack]:
    async with market_stack(installation) as stack:
        yield stack


def book_of(venue: VenueDouble) -> dict[tuple[int, str], str]:
    """What a reader's book must be."""
    (shown,) = venue.snapshot().instruments
    bids = {(1, level.price): level.quantity for level in shown.bids}
    return bids | {(2, level.price): level.quantity for level in shown.asks}


def last_point(reader: Reader, topic: int) -> ResumePoint:
    """Where a reader resumes that keeps the last frame of a topic."""
    header = reader.of(topic)[-1].header
    return ResumePoint(key="X", topic=topic, epoch=header.epoch, sequence=header.sequence)


def move(venue: VenueDouble, steps: int) -> None:
    """Has the market move: two changes of the book and a trade a step."""
    for step in range(steps):
        venue.place(BUY, step % 5 + 1, 90 - step % 10)
        venue.trade(100 + step % 3)


async def test_after_a_restart_of_market_data_a_reader_goes_on_where_it_was(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as before:
        await before.send(subscription("X", TRADES, venue.name), subscription("X", DEPTH, venue.name))
        await before.answer("3:X")
        move(venue, 20)
        await before.until(lambda: before.trades()[-1:] == [20])
        await before.until(lambda: before.book() == book_of(venue))
    move(venue, 10)
    await markets.restart()
    move(venue, 10)
    async with markets.reader() as after:
        await after.send(
            subscription("X", TRADES, venue.name, resume=last_point(before, TRADES)),
            subscription("X", DEPTH, venue.name, resume=last_point(before, DEPTH)),
        )
        move(venue, 10)
        await after.until(lambda: after.trades()[-1:] == [50])
        assert before.trades() + after.trades() == list(range(1, 51))
        await after.until(lambda: (before.levels() + after.levels())[-1:] == [3 * 50])
        assert after.levels() == list(range(before.of(DEPTH)[-1].header.sequence + 1, 3 * 50 + 1))
        assert not [frame for frame in after.frames if frame.header.kind == GAP]


async def test_what_a_restarted_market_data_answers_is_what_it_answered_before(markets: MarketStack) -> None:
    venue = markets.venue()
    move(venue, 5)
    venue.print_trade("0.777", 3)
    caller = markets.caller()
    book = pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=venue.venue.sequence)
    questions = [
        (lambda caller: caller.GetBook(book)),
        (lambda caller: caller.GetQuotes(pb.GetQuotesRequest(venue=venue.name, symbols=["X"]))),
        (lambda caller: caller.ListTrades(pb.ListTradesRequest(venue=venue.name, symbol="X"))),
    ]
    before = [await ask(caller) for ask in questions]
    await markets.restart()
    caller = markets.caller()
    assert [await ask(caller) for ask in questions] == before


async def test_trades_that_no_instance_saw_are_kept_from_the_journal(markets: MarketStack) -> None:
    venue = markets.venue()
    await markets.server.stop()
    move(venue, 30)
    await markets.start()
    response = await markets.caller().ListTrades(pb.ListTradesRequest(venue=venue.name, symbol="X"))
    assert [trade.sequence for trade in response.trades] == list(range(30, 0, -1))


async def test_readers_notice_nothing_of_a_restart_of_the_engine_but_a_pause(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(*[subscription("X", topic, venue.name) for topic in (TRADES, DEPTH, QUOTES)])
        await reader.answer("2:X")
        move(venue, 10)
        await reader.until(lambda: reader.trades()[-1:] == [10])
        restarting = asyncio.create_task(markets.restart_engine(pause=0.5))
        await asyncio.sleep(0.1)
        move(venue, 10)
        await restarting
        move(venue, 10)
        await reader.until(lambda: reader.trades()[-1:] == [30])
        assert reader.trades() == list(range(1, 31))
        await reader.until(lambda: reader.book() == book_of(venue))
        assert GAP not in {frame.header.kind for frame in reader.frames}


async def test_while_the_engine_is_away_the_last_known_market_is_shown(markets: MarketStack) -> None:
    venue = markets.venue()
    venue.place(BUY, 5, 100)
    caller = markets.caller()
    known = await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X"))
    markets.engine.away = True
    try:
        markets.engine.cut(venue.name)
        await asyncio.sleep(0.5)
        assert await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X")) == known
        never_seen = markets.venue()
        with pytest.raises(DependencyUnavailable):
            await caller.GetBook(pb.GetBookRequest(venue=never_seen.name, symbol="X"))
    finally:
        markets.engine.away = False


async def test_a_subscription_made_while_the_engine_is_away_waits_and_holds_up_no_other(markets: MarketStack) -> None:
    known, unknown = markets.venue(), markets.venue()
    await markets.caller().GetBook(pb.GetBookRequest(venue=known.name, symbol="X"))
    markets.engine.away = True
    try:
        async with markets.reader() as reader:
            await reader.send(
                subscription("X", QUOTES, unknown.name, id="late"), subscription("X", QUOTES, known.name, id="known")
            )
            await reader.answer("known")
            await asyncio.sleep(0.3)
            assert "late" not in {frame.header.item_id for frame in reader.frames}
            markets.engine.away = False
            assert not (await reader.answer("late")).header.status.code
    finally:
        markets.engine.away = False


async def test_a_waiting_subscription_can_be_ended(markets: MarketStack) -> None:
    venue = markets.venue()
    markets.engine.away = True
    try:
        async with markets.reader() as reader:
            await reader.send(subscription("X", QUOTES, venue.name, id="late"))
            await reader.send(unsubscribe=["late"])
            assert not (await reader.answer("late")).header.status.code
            markets.engine.away = False
            await reader.send(subscription("X", QUOTES, venue.name))
            await reader.frame(SNAPSHOT, QUOTES)
            assert sum(frame.header.item_id == "late" for frame in reader.frames) == 1
    finally:
        markets.engine.away = False


async def test_events_that_come_again_change_nothing(markets: MarketStack) -> None:
    venue = markets.venue(overlap=25)
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", DEPTH, venue.name))
        await reader.answer("3:X")
        for _ in range(3):
            move(venue, 5)
            markets.engine.cut(venue.name)
            await asyncio.sleep(0.3)
        await reader.until(lambda: reader.trades()[-1:] == [15])
        assert reader.trades() == list(range(1, 16))
        await reader.until(lambda: reader.book() == book_of(venue))
    response = await markets.caller().ListTrades(pb.ListTradesRequest(venue=venue.name, symbol="X"))
    assert [trade.sequence for trade in response.trades] == list(range(15, 0, -1))


async def test_an_event_that_did_not_come_is_noticed_and_fetched(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", DEPTH, venue.name))
        await reader.answer("3:X")
        move(venue, 2)
        await reader.until(lambda: reader.trades()[-1:] == [2])
        venue.lost = set(range(venue.venue.sequence + 1, venue.venue.sequence + 3))
        move(venue, 2)
        venue.heal()
        await reader.until(lambda: reader.trades()[-1:] == [4])
        move(venue, 2)
        await reader.until(lambda: reader.trades()[-1:] == [6])
        assert reader.trades() == list(range(1, 7))
        await reader.until(lambda: reader.book() == book_of(venue))


async def test_events_that_the_journal_no_longer_has_are_a_gap_that_readers_are_told_of(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", DEPTH, venue.name))
        await reader.answer("3:X")
        move(venue, 3)
        await reader.until(lambda: reader.trades()[-1:] == [3])
        markets.engine.away = True
        markets.engine.cut(venue.name)
        await asyncio.sleep(0.3)
        move(venue, 40)
        venue.forget()
        markets.engine.away = False
        gap = await reader.frame(GAP, DEPTH)
        await reader.until(lambda: reader.book() == book_of(venue))
        move(venue, 2)
        await reader.until(lambda: reader.trades()[-1:] == [45])
        told = await reader.frame(GAP, TRADES)
        missed = set(range(told.header.gap_first, told.header.gap_last + 1))
        assert set(reader.trades()) | missed == set(range(1, 46))
        assert not set(reader.trades()) & missed
        assert gap.header.gap_first > 0


async def test_readers_of_a_venue_that_is_deleted_are_told_and_their_stream_lives(markets: MarketStack) -> None:
    doomed, other = markets.venue(), markets.venue()
    async with markets.reader() as reader:
        await reader.send(
            subscription("X", TRADES, doomed.name, id="doomed"), subscription("X", TRADES, other.name, id="other")
        )
        await reader.answer("other")
        await reader.answer("doomed")
        seen = len(reader.frames)
        markets.engine.delete(doomed.name)
        told = await reader.answer("doomed", after=seen)
        assert from_status(told.header.status).code is grpc.StatusCode.NOT_FOUND
        other.trade(100)
        await reader.until(reader.trades)
    with pytest.raises(NotFound):
        await markets.caller().GetBook(pb.GetBookRequest(venue=doomed.name, symbol="X"))


async def test_a_venue_made_again_under_a_deleted_ones_name_begins_empty(markets: MarketStack) -> None:
    caller = markets.caller()
    first = markets.venue()
    first.trade(100)
    request = pb.ListTradesRequest(venue=first.name, symbol="X")
    assert len((await caller.ListTrades(request)).trades) == 1
    markets.engine.delete(first.name)
    again = markets.engine.make(first.name, "X", epoch=2)

    async def until_listed(prices: list[str]) -> None:
        """The old venue may be shown until word of its end has come."""
        while True:
            with contextlib.suppress(NotFound):
                if [trade.price for trade in (await caller.ListTrades(request)).trades] == prices:
                    return
            await asyncio.sleep(0.1)

    await asyncio.wait_for(until_listed([]), 10)
    again.trade(200)
    await asyncio.wait_for(until_listed(["2"]), 10)


async def test_what_deleted_venues_left_is_swept(markets: MarketStack) -> None:
    venue, kept = markets.venue(), markets.venue()
    caller = markets.caller()
    for one in (venue, kept):
        one.trade(100)
        assert (await caller.ListTrades(pb.ListTradesRequest(venue=one.name, symbol="X"))).trades
    markets.engine.delete(venue.name)
    (servicer,) = markets.server.servicers
    venues = servicer._venues  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        await venues.known(venue.name).reached(10**9)
    await venues.sweep()
    left = {row["venue"] for row in await markets.server.resources.database.fetch_all("SELECT venue FROM trades")}
    assert kept.name in left
    assert venue.name not in left


async def test_a_slow_reader_gets_the_book_as_it_is_after_a_gap_and_no_trade_is_lost(markets: MarketStack) -> None:
    """The reader takes nothing while the market moves further than what is kept for readers."""
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", DEPTH, venue.name))
        await reader.frame(SNAPSHOT, DEPTH)
    point = last_point(reader, DEPTH)
    for step in range(10_500):
        key = venue.place(SELL, 1, 200 + step % 50)
        venue.cancel(key)
        if step % 500 == 0:
            await asyncio.sleep(0)
    await markets.caller().GetBook(pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=venue.venue.sequence))
    async with markets.reader() as again:
        await again.send(subscription("X", DEPTH, venue.name, resume=point))
        await again.frame(SNAPSHOT, DEPTH)
        assert [frame.header.kind for frame in again.of(DEPTH)] == [GAP, SNAPSHOT]
        assert again.book() == book_of(venue)
