"""What market-data answers at once: instruments, quotes, books, trades, candles."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.type.v1.page_pb2 import PageRequest, TimeRange

from aac_grpc.client.errors import InvalidFields, NotFound, PermissionDenied
from aac_grpc.common.types import to_duration, to_timestamp
from aac_grpc.servicers.market_data.convert import CANDLE_SCALE, candle_message
from tests.integration.market_engine import BUY, NOW, SECOND, SELL, VenueDouble
from tests.integration.market_reader import MarketStack, market_stack
from tests.integration.services import Caller
from tests.support import mesh
from tests.support.candles import candles_of


@pytest.fixture(scope="module")
async def markets(installation: dict[str, object]) -> AsyncIterator[MarketStack]:
    async with market_stack(installation) as stack:
        yield stack


@pytest.fixture
def caller(markets: MarketStack) -> Caller:
    return markets.caller()


def busy_venue(markets: MarketStack, seconds: int = 30) -> VenueDouble:
    """A venue with three trades of X in each second, now and then none, and prints that are off tick."""
    venue = markets.venue()
    for second in range(seconds):
        if second % 7 == 3:
            continue
        for step in range(3):
            venue.now = NOW + second * SECOND + step * SECOND // 3
            price = 1000 + (second * 37 + step * 11) % 50
            if step == 1:
                venue.print_trade(f"{price / 100:.2f}5", 2)
            else:
                venue.trade(price, 1 + (second + step) % 5)
    return venue


async def all_pages(call: object, request: object, field: str) -> list[object]:
    items: list[object] = []
    while True:
        response = await call(request)  # type: ignore[operator]
        items += getattr(response, field)
        request.page.page_token = response.page.next_page_token  # type: ignore[attr-defined]
        if not response.page.next_page_token:
            return items


async def test_instruments_are_listed_by_symbol_page_after_page(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue("C", "A", "B")
    request = pb.ListInstrumentsRequest(venue=venue.name, page=PageRequest(page_size=3))
    first = await caller.ListInstruments(request)
    assert [one.symbol for one in first.instruments] == ["A", "B", "C"]
    assert [one.symbol for one in await all_pages(caller.ListInstruments, request, "instruments")] == list("ABCX")
    one = (await caller.GetInstrument(pb.GetInstrumentRequest(venue=venue.name, symbol="A"))).instrument
    assert (one.venue, one.tick_size, one.lot_size, one.currency) == (venue.name, "0.01", "1", "USD")


async def test_an_instrument_that_is_listed_later_is_known_at_once(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    await caller.GetInstrument(pb.GetInstrumentRequest(venue=venue.name, symbol="X"))
    venue.add("LATE")
    sequence = venue.venue.sequence
    await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=sequence))
    assert (await caller.GetInstrument(pb.GetInstrumentRequest(venue=venue.name, symbol="LATE"))).instrument.symbol


async def test_quotes_come_in_the_order_asked_for(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue("Y")
    venue.place(BUY, 3, 99)
    venue.place(SELL, 4, 101)
    venue.trade(100, 2, symbol="Y")
    response = await caller.GetQuotes(pb.GetQuotesRequest(venue=venue.name, symbols=["Y", "X", "Y"]))
    assert [quote.symbol for quote in response.quotes] == ["Y", "X", "Y"]
    y, x, _ = response.quotes
    assert (y.last_price, y.last_quantity, y.bid_price) == ("1", "2", "")
    assert (x.bid_price, x.bid_quantity, x.ask_price, x.ask_quantity) == ("0.99", "3", "1.01", "4")


async def test_every_unknown_symbol_of_a_request_is_named(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    with pytest.raises(InvalidFields) as refusal:
        await caller.GetQuotes(pb.GetQuotesRequest(venue=venue.name, symbols=["NO", "X", "NEITHER"]))
    assert [violation.field for violation in refusal.value.violations] == ["symbols[0]", "symbols[2]"]


async def test_a_book_shows_the_best_levels_first_and_as_many_as_asked(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    for step in range(15):
        venue.place(BUY, step + 1, 100 - step)
        venue.place(SELL, step + 1, 101 + step)
    whole = await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X", depth=1000))
    assert [level.price for level in whole.bids] == [f"{(100 - step) / 100:g}" for step in range(15)]
    assert [level.quantity for level in whole.asks] == [str(step + 1) for step in range(15)]
    assert whole.venue_sequence == venue.venue.sequence
    usual = await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X"))
    assert len(usual.bids) == len(usual.asks) == 10


async def test_a_book_waits_for_what_its_reader_wrote(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X"))
    for quantity in range(1, 50):
        venue.place(BUY, quantity, 100)
        request = pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=venue.venue.sequence)
        book = await caller.GetBook(request)
        assert book.bids[0].orders == quantity


async def test_a_book_that_waits_for_what_never_comes_ends_at_its_deadline(
    markets: MarketStack, caller: Caller
) -> None:
    venue = markets.venue()
    request = pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=10**6)
    stub = MarketDataServiceStub(caller.channel)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.GetBook(request, metadata=mesh.bearer(markets.signer.token(scopes=("market:read",))), timeout=0.5)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_trades_are_listed_newest_first_page_after_page(markets: MarketStack, caller: Caller) -> None:
    venue = busy_venue(markets)
    count = venue.venue.market("X").trade_sequence  # type: ignore[union-attr]
    request = pb.ListTradesRequest(venue=venue.name, symbol="X", page=PageRequest(page_size=7))
    trades = await all_pages(caller.ListTrades, request, "trades")
    assert [trade.sequence for trade in trades] == list(range(count, 0, -1))  # type: ignore[attr-defined]


async def test_a_trade_is_listed_as_soon_as_the_book_shows_it(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    for number in range(1, 20):
        venue.trade(100 + number)
        await caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X", min_sequence=venue.venue.sequence))
        response = await caller.ListTrades(pb.ListTradesRequest(venue=venue.name, symbol="X"))
        assert response.trades[0].sequence == number


async def test_trades_of_a_span_include_its_start_and_not_its_end(markets: MarketStack, caller: Caller) -> None:
    venue = busy_venue(markets)
    span = TimeRange(start=to_timestamp(NOW + 5 * SECOND), end=to_timestamp(NOW + 6 * SECOND))
    response = await caller.ListTrades(pb.ListTradesRequest(venue=venue.name, symbol="X", range=span))
    times = [trade.executed_at.ToNanoseconds() - NOW for trade in response.trades]
    assert times == [5 * SECOND + step * SECOND // 3 for step in (2, 1, 0)]


@pytest.mark.parametrize("interval_s", [1, 2, 7, 60, 86_400])
async def test_candles_are_those_of_the_trades(markets: MarketStack, caller: Caller, interval_s: int) -> None:
    venue = busy_venue(markets)
    listed = pb.ListTradesRequest(venue=venue.name, symbol="X", page=PageRequest(page_size=1000))
    trades = (await caller.ListTrades(listed)).trades
    units = 10**CANDLE_SCALE
    ticks = [
        (
            trade.executed_at.ToNanoseconds(),
            round(float(trade.price) * 1000) * units // 1000,
            int(trade.quantity) * units,
        )
        for trade in reversed(trades)
    ]
    expected = list(candles_of(ticks, interval_s * SECOND))
    expected[-1].closed = True  # it ended long ago
    request = pb.ListCandlesRequest(
        venue=venue.name, symbol="X", interval=to_duration(interval_s * SECOND), page=PageRequest(page_size=4)
    )
    assert await all_pages(caller.ListCandles, request, "candles") == [candle_message(candle) for candle in expected]


async def test_the_candle_of_the_present_is_open(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    venue.now = time.time_ns()
    venue.trade(100)
    request = pb.ListCandlesRequest(venue=venue.name, symbol="X", interval=to_duration(86_400 * SECOND))
    (candle,) = (await caller.ListCandles(request)).candles
    assert not candle.closed
    assert (candle.open, candle.volume, candle.trades) == ("1", "1", 1)


async def test_candles_of_a_span_begin_and_end_with_it(markets: MarketStack, caller: Caller) -> None:
    venue = busy_venue(markets)
    span = TimeRange(start=to_timestamp(NOW + 4 * SECOND), end=to_timestamp(NOW + 7 * SECOND))
    request = pb.ListCandlesRequest(venue=venue.name, symbol="X", interval=to_duration(SECOND), range=span)
    starts = [candle.start.ToNanoseconds() for candle in (await caller.ListCandles(request)).candles]
    assert starts == [NOW + second * SECOND for second in (4, 5, 6)]


REFUSED = {
    "half a second": {"interval": to_duration(SECOND // 2)},
    "a second and a half": {"interval": to_duration(SECOND * 3 // 2)},
    "two days": {"interval": to_duration(2 * 86_400 * SECOND)},
    "no interval": {},
    "a span that ends before it begins": {
        "interval": to_duration(SECOND),
        "range": TimeRange(start=to_timestamp(NOW), end=to_timestamp(NOW - 1)),
    },
    "a foreign page token": {"interval": to_duration(SECOND), "page": PageRequest(page_token="WzEsMl0")},
    "too large a page": {"interval": to_duration(SECOND), "page": PageRequest(page_size=1001)},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bad_request_for_candles_is_refused_with_its_field(
    markets: MarketStack, caller: Caller, name: str
) -> None:
    venue = markets.venue()
    with pytest.raises(InvalidFields) as refusal:
        await caller.ListCandles(pb.ListCandlesRequest(venue=venue.name, symbol="X", **REFUSED[name]))
    assert refusal.value.violations


async def test_what_is_unknown_is_not_found(markets: MarketStack, caller: Caller) -> None:
    venue = markets.venue()
    for request in (
        pb.GetBookRequest(venue=venue.name, symbol="NO"),
        pb.GetBookRequest(venue="nowhere", symbol="X"),
        pb.GetBookRequest(symbol="X"),
    ):
        with pytest.raises(NotFound):
            await caller.GetBook(request)


async def test_whoever_asks_for_venues_that_are_not_there_holds_up_nobody_who_asks_for_one_that_is(
    markets: MarketStack, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markets.engine, "slowness", 0.3)
    venue, asked = markets.venue(), markets.engine.asked
    nowhere = [caller.GetBook(pb.GetBookRequest(venue=f"nowhere-{number}", symbol="X")) for number in range(200)]
    *refused, book = await asyncio.gather(
        *nowhere, caller.GetBook(pb.GetBookRequest(venue=venue.name, symbol="X")), return_exceptions=True
    )
    assert {type(each) for each in refused} == {NotFound}
    assert book.venue == venue.name
    assert markets.engine.asked - asked < 6, "an answer is for all who had asked before it was sought"


async def test_a_caller_without_the_scope_is_refused_before_anything_is_looked_up(markets: MarketStack) -> None:
    from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub

    stranger = Caller(
        MarketDataServiceStub, markets.server.address, token=markets.signer.token(scopes=("orders:read",))
    )
    with pytest.raises(PermissionDenied):
        await stranger.GetBook(pb.GetBookRequest(venue="nowhere", symbol="X"))
    await stranger.channel.close()
