"""Market data streams: subscribe, items, resume; the engine is a double, everything else is real."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.type.v1 import market_pb2
from aac.type.v1.stream_pb2 import ResumePoint

from aac_grpc.client.errors import Overloaded, from_status
from tests.integration.market_engine import BUY, SELL
from tests.integration.market_reader import (
    DEPTH,
    DRAINING,
    GAP,
    HEARTBEAT,
    QUOTES,
    SNAPSHOT,
    TRADES,
    UPDATE,
    MarketStack,
    market_stack,
    subscription,
)

BID, ASK = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL


@pytest.fixture(scope="module")
async def markets(installation: dict[str, object]) -> AsyncIterator[MarketStack]:
    async with market_stack(installation) as stack:
        yield stack


async def test_a_subscriber_of_trades_gets_each_trade_once_and_in_order(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name))
        begun = await reader.answer("1:X")
        assert not begun.header.status.code
        for price in (57012, 57013, 57011):
            venue.trade(price, 7)
        await reader.until(lambda: len(reader.trades()) == 3)
        assert reader.trades() == [1, 2, 3]
        first = reader.of(TRADES)[0].trades[0]
        assert (first.price, first.quantity, first.aggressor, first.print) == ("570.12", "7", BID, False)
        assert first.executed_at.ToNanoseconds() == venue.now


async def test_a_print_is_a_trade_that_says_so_and_is_not_the_last_price(markets: MarketStack) -> None:
    venue = markets.venue()
    venue.trade(100)
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", QUOTES, venue.name))
        await reader.frame(SNAPSHOT, QUOTES)
        venue.print_trade("1.00455", 5)
        await reader.until(reader.trades)
        (trade,) = reader.of(TRADES)[-1].trades
        assert (trade.price, trade.quantity, trade.print) == ("1.00455", "5", True)
        assert (await reader.frame(SNAPSHOT, QUOTES)).quotes[0].last_price == "1"


async def test_a_subscriber_of_depth_gets_the_book_and_then_every_change(markets: MarketStack) -> None:
    venue = markets.venue()
    venue.place(BUY, 10, 100)
    venue.place(BUY, 5, 99)
    async with markets.reader() as reader:
        await reader.send(subscription("X", DEPTH, venue.name))
        snapshot = await reader.frame(SNAPSHOT, DEPTH)
        assert [(level.side, level.price, level.quantity) for level in snapshot.levels] == [
            (BID, "1", "10"), (BID, "0.99", "5"),
        ]  # fmt: skip
        key = venue.place(SELL, 3, 102)
        venue.place(SELL, 4, 102)
        venue.cancel(key)
        venue.place(SELL, 10, 100, take=True)
        await reader.until(lambda: reader.book() == {(BID, "0.99"): "5", (ASK, "1.02"): "4"})
        begins = snapshot.header.sequence
        assert reader.levels() == list(range(begins + 1, begins + 5))


async def test_a_subscriber_of_quotes_has_the_latest_state(markets: MarketStack) -> None:
    venue = markets.venue()
    venue.place(BUY, 10, 100)
    async with markets.reader() as reader:
        await reader.send(subscription("X", QUOTES, venue.name))
        first = (await reader.frame(SNAPSHOT, QUOTES)).quotes[0]
        assert (first.bid_price, first.bid_quantity, first.ask_price) == ("1", "10", "")
        for quantity in range(1, 40):
            venue.place(SELL, quantity, 103)
        total = str(sum(range(1, 40)))
        await reader.until(lambda: reader.of(QUOTES)[-1].quotes[0].ask_quantity == total)
        sequences = [frame.header.sequence for frame in reader.of(QUOTES)]
        assert sequences == sorted(set(sequences))


async def test_one_stream_carries_many_topics_and_each_frame_one_of_them(markets: MarketStack) -> None:
    venue = markets.venue("Y")
    async with markets.reader() as reader:
        items = [subscription(symbol, topic, venue.name) for symbol in "XY" for topic in (TRADES, QUOTES, DEPTH)]
        await reader.send(*items)
        await reader.answer(f"{DEPTH}:Y")
        venue.trade(100, symbol="X")
        venue.trade(200, symbol="Y")
        await reader.until(lambda: reader.trades("X") and reader.trades("Y"))
        await reader.until(lambda: reader.of(DEPTH, "Y")[-1].header.sequence == 2)
        for frame in reader.frames:
            carried = {TRADES: frame.trades, DEPTH: frame.levels, QUOTES: frame.quotes}
            assert not any(entries for topic, entries in carried.items() if topic != frame.header.topic)


BAD_ITEMS = {
    "no topic": ({"topic": 0}, grpc.StatusCode.INVALID_ARGUMENT),
    "a topic that is not market data": ({"topic": 4}, grpc.StatusCode.INVALID_ARGUMENT),
    "no symbol": ({"symbol": ""}, grpc.StatusCode.INVALID_ARGUMENT),
    "an odd symbol": ({"symbol": "no such thing!"}, grpc.StatusCode.INVALID_ARGUMENT),
    "an unknown symbol": ({"symbol": "NONE"}, grpc.StatusCode.NOT_FOUND),
    "an unknown venue": ({"venue": "nowhere"}, grpc.StatusCode.NOT_FOUND),
    "another symbol's resume point": (
        {"resume": ResumePoint(key="Y", topic=TRADES, epoch=1, sequence=1)},
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    "another topic's resume point": (
        {"resume": ResumePoint(key="X", topic=DEPTH, epoch=1, sequence=1)},
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
async def test_a_bad_item_gets_a_status_and_the_stream_lives(markets: MarketStack, name: str) -> None:
    fields, code = BAD_ITEMS[name]
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(
            pb.Subscription(**{"id": "bad", "venue": venue.name, "symbol": "X", "topic": TRADES, **fields}),
            subscription("X", TRADES, venue.name),
        )
        error = from_status((await reader.answer("bad")).header.status)
        assert error.code is code
        assert not (await reader.answer("1:X")).header.status.code
        venue.trade(100)
        await reader.until(reader.trades)


async def test_an_item_without_a_name_is_refused_with_every_fault_of_it(markets: MarketStack) -> None:
    async with markets.reader() as reader:
        await reader.send(pb.Subscription())
        error = from_status((await reader.answer("")).header.status)
        assert {violation.field for violation in error.violations} == {"id", "symbol", "topic"}
        assert reader.status is None


async def test_an_item_whose_name_is_in_use_is_refused(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", DEPTH, venue.name, id="1:X"))
        await reader.until(lambda: len([one for one in reader.frames if one.header.item_id == "1:X"]) == 2)
        codes = sorted(one.header.status.code for one in reader.frames if one.header.item_id == "1:X")
        assert codes == [0, grpc.StatusCode.ALREADY_EXISTS.value[0]]


async def test_nothing_comes_of_what_was_unsubscribed(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name), subscription("X", QUOTES, venue.name))
        await reader.answer("2:X")
        venue.trade(100)
        await reader.until(reader.trades)
        await reader.send(unsubscribe=["1:X", "never"])
        await reader.answer("never")
        venue.trade(101)
        await reader.until(lambda: reader.of(QUOTES)[-1].quotes[0].last_price == "1.01")
        assert reader.trades() == [1]
        refused = await reader.answer("never")
        assert from_status(refused.header.status).code is grpc.StatusCode.NOT_FOUND


async def test_too_many_items_in_one_message_end_the_stream_with_the_reason(markets: MarketStack) -> None:
    async with markets.reader() as reader:
        await reader.send(*[subscription("X", TRADES, id=str(number)) for number in range(257)])
        await reader.until(lambda: reader.status)
        assert reader.status is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_goes_on_when_its_caller_has_no_more_to_say(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name))
        await reader.done_writing()
        await reader.answer("1:X")
        venue.trade(100)
        await reader.until(reader.trades)


async def test_heartbeats_come_as_often_as_asked_and_say_where_the_reader_is(markets: MarketStack) -> None:
    venue = markets.venue()
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name))
        await reader.send(heartbeat={"nanos": 1})  # as fast as is allowed, which is 0.1 s
        await reader.answer("1:X")
        venue.trade(100)
        await reader.until(reader.trades)
        seen = len(reader.frames)
        began = asyncio.get_running_loop().time()
        await reader.until(lambda: sum(one.header.kind == HEARTBEAT for one in reader.frames[seen:]) >= 5)
        assert asyncio.get_running_loop().time() - began > 0.3
        (point,) = (await reader.frame(HEARTBEAT, after=seen)).header.resume
        assert (point.key, point.topic, point.epoch, point.sequence) == ("X", TRADES, 1, 1)


async def test_a_reader_that_comes_back_gets_the_trades_it_missed_and_no_other(markets: MarketStack) -> None:
    venue = markets.venue()
    for price in range(100, 110):
        venue.trade(price)
    async with markets.reader() as reader:
        point = ResumePoint(key="X", topic=TRADES, epoch=1, sequence=4)
        await reader.send(subscription("X", TRADES, venue.name, resume=point))
        await reader.until(lambda: reader.trades()[-1:] == [10])
        assert reader.trades() == [5, 6, 7, 8, 9, 10]


async def test_a_reader_that_comes_back_gets_the_changes_of_the_book_that_it_missed(markets: MarketStack) -> None:
    venue = markets.venue()
    for quantity in range(1, 11):
        venue.place(BUY, quantity, 100 - quantity)
    async with markets.reader() as reader:
        point = ResumePoint(key="X", topic=DEPTH, epoch=1, sequence=7)
        await reader.send(subscription("X", DEPTH, venue.name, resume=point))
        await reader.until(lambda: reader.levels()[-1:] == [10])
        assert reader.levels() == [8, 9, 10]


async def test_a_reader_of_another_numbering_is_told_of_the_gap(markets: MarketStack) -> None:
    venue = markets.venue(epoch=7)
    venue.place(BUY, 1, 100)
    venue.trade(101)
    async with markets.reader() as reader:
        await reader.send(
            subscription("X", DEPTH, venue.name, resume=ResumePoint(key="X", topic=DEPTH, epoch=6, sequence=900)),
            subscription("X", TRADES, venue.name, resume=ResumePoint(key="X", topic=TRADES, epoch=6, sequence=900)),
        )
        await reader.until(lambda: reader.trades() == [1])
        await reader.frame(SNAPSHOT, DEPTH)
        assert [frame.header.kind for frame in reader.of(DEPTH)] == [GAP, SNAPSHOT]
        assert [frame.header.kind for frame in reader.of(TRADES)] == [GAP, UPDATE]
        assert {frame.header.epoch for frame in reader.of(TRADES)} == {7}


async def test_streams_end_with_a_word_where_to_resume_when_the_server_stops(installation: dict[str, object]) -> None:
    async with market_stack(installation) as markets:
        venue = markets.venue()
        async with markets.reader() as reader:
            await reader.send(subscription("X", TRADES, venue.name))
            await reader.answer("1:X")
            venue.trade(100)
            await reader.until(reader.trades)
            await markets.server.stop()
            (point,) = (await reader.frame(DRAINING)).header.resume
            assert (point.key, point.epoch, point.sequence) == ("X", 1, 1)
            await reader.until(lambda: reader.status)
            assert reader.status is grpc.StatusCode.OK


async def test_an_item_that_is_shed_gets_its_status_and_the_stream_goes_on(markets: MarketStack) -> None:
    venue = markets.venue("Y")
    admission = markets.server.shedding.admission
    async with markets.reader() as reader:
        await reader.send(subscription("X", TRADES, venue.name))
        await reader.answer("1:X")
        admission.observe = lambda *_, **__: None  # type: ignore[method-assign]
        admission.pressure = 3.0
        try:
            await reader.send(subscription("Y", TRADES, venue.name))
            error = from_status((await reader.answer("1:Y")).header.status)
        finally:
            admission.pressure = 0.0
            del admission.observe
        assert type(error) is Overloaded
        assert error.retry_after
        venue.trade(100)
        await reader.until(reader.trades)
