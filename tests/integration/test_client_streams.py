"""The SDK against the real platform: calls and streams that outlive the services that answer them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from aac_grpc.client import (
    AsyncClient,
    Client,
    DepthUpdate,
    Gap,
    LocalBook,
    OrdersUpdate,
    QuoteUpdate,
    SubscriptionRefused,
    Topic,
    TradesUpdate,
)
from aac_grpc.client.errors import AacError, InvalidFields, KeyReused, NotFound, Unauthenticated, Unavailable
from aac_grpc.client.models import Side
from aac_grpc.servicers import auth, gateway
from tests.integration.gateway_platform import QUICK, GatewayPlatform, gateway_platform
from tests.integration.services import DEMO, free_address, serving

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
async def platform(backends: Mapping[str, str]) -> AsyncIterator[GatewayPlatform]:
    async with gateway_platform(backends) as running:
        yield running


@pytest.fixture(scope="module")
async def client(platform: GatewayPlatform) -> AsyncIterator[AsyncClient]:
    async with platform.client() as client:
        yield client


@pytest.fixture
async def venue(platform: GatewayPlatform) -> str:
    return await platform.new_venue("GOOG", "AAPL")


async def take(updates: AsyncIterator[Any], until: Any, within: float = 15.0) -> list[Any]:
    """Updates until one fits."""
    found = []
    async with asyncio.timeout(within):
        async for update in updates:
            found.append(update)
            if until(update):
                return found
    raise AssertionError("the stream ended")


async def test_the_same_key_never_enters_a_second_order(client: AsyncClient, venue: str) -> None:
    first = await client.place_order("GOOG", "buy", 1, price="10.10", client_order_id="once", venue=venue)
    again = await client.place_order("GOOG", "buy", 1, price="10.1", client_order_id="once", venue=venue)
    assert again == first
    with pytest.raises(KeyReused) as reused:
        await client.place_order("GOOG", "buy", 2, price="10.1", client_order_id="once", venue=venue)
    assert reused.value.metadata["holder"] == first.order.order_id


async def test_refusals_are_typed_and_name_the_fields(client: AsyncClient, venue: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        await client.place_order("GOOG", "buy", 1, price="10.001", venue=venue)
    assert refused.value.violations[0].field == "price"
    with pytest.raises(NotFound):
        await client.order("nope", venue=venue)


async def test_a_list_is_read_page_after_page(client: AsyncClient, venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aac_grpc.client.connection.PAGE_SIZE", 3)
    keys = [f"k{number}" for number in range(8)]
    for key in keys:
        await client.place_order("GOOG", "buy", 1, price=1, client_order_id=key, venue=venue)
    listed = [order.client_order_id async for order in client.list_orders(venue=venue)]
    assert listed == keys[::-1]
    assert len([order async for order in client.list_orders(venue=venue, limit=5)]) == 5


async def test_an_order_can_be_amended_and_cancelled_by_either_id(client: AsyncClient, venue: str) -> None:
    placed = await client.place_order("GOOG", Side.BUY, 5, price=10, client_order_id="mine", venue=venue)
    amended = await client.amend_order(client_order_id="mine", price="10.5", open_quantity=3, venue=venue)
    assert (amended.accepted, amended.order.price, amended.order.open_quantity) == (True, Decimal("10.5"), 3)
    canceled = await client.cancel_order(placed.order.order_id, venue=venue)
    assert (canceled.canceled, canceled.order.state) == (True, "canceled")
    assert not (await client.cancel_order(client_order_id="mine", venue=venue)).canceled


async def test_one_stream_carries_books_quotes_and_trades_of_many_instruments(client: AsyncClient, venue: str) -> None:
    ladder = LocalBook()
    async with client.stream() as stream:
        await stream.subscribe("GOOG", Topic.DEPTH, Topic.TRADES, Topic.QUOTES, venue=venue)
        await take(stream, lambda update: isinstance(update, DepthUpdate) and update.snapshot)
        await client.place_order("GOOG", "sell", 10, price="20.02", venue=venue)
        await client.place_order("GOOG", "buy", 4, price="20.02", venue=venue)
        await client.place_order("GOOG", "buy", 7, price="19.5", venue=venue)

        seen = await take(stream, lambda update: isinstance(update, DepthUpdate) and update.sequence >= 3)
        for update in seen:
            if isinstance(update, DepthUpdate):
                ladder.apply(update)
        assert [(level.price, level.quantity) for level in ladder.asks()] == [(Decimal("20.02"), 6)]
        assert [(level.price, level.quantity) for level in ladder.bids()] == [(Decimal("19.5"), 7)]
        trades = [trade for update in seen if isinstance(update, TradesUpdate) for trade in update.trades]
        quotes = [update.quote for update in seen if isinstance(update, QuoteUpdate)]
        if not trades:
            trades = [*(await take(stream, lambda update: isinstance(update, TradesUpdate)))[-1].trades]
        assert [(trade.quantity, trade.price) for trade in trades] == [(4, Decimal("20.02"))]
        assert all(quote.symbol == "GOOG" for quote in quotes)

        await stream.unsubscribe("GOOG", Topic.DEPTH, Topic.TRADES, Topic.QUOTES, venue=venue)
        await stream.subscribe("AAPL", Topic.QUOTES, venue=venue)
        await client.place_order("AAPL", "buy", 1, price=5, venue=venue)
        update = (await take(stream, lambda one: isinstance(one, QuoteUpdate) and one.quote.bid_price))[-1]
        assert (update.symbol, update.quote.bid_price) == ("AAPL", 5)


async def test_a_bad_subscription_is_told_and_the_others_go_on(client: AsyncClient, venue: str) -> None:
    async with client.stream() as stream:
        await stream.subscribe("NOPE", Topic.DEPTH, venue=venue)
        await stream.subscribe("GOOG", Topic.DEPTH, venue=venue)
        seen = await take(stream, lambda update: isinstance(update, DepthUpdate))
        if not any(isinstance(update, SubscriptionRefused) for update in seen):
            seen += await take(stream, lambda update: isinstance(update, SubscriptionRefused))
    refused = [update for update in seen if isinstance(update, SubscriptionRefused)]
    assert [(one.symbol, one.topic) for one in refused] == [("NOPE", Topic.DEPTH)]


async def test_streams_go_on_over_a_new_gateway_without_a_gap_or_a_double(
    platform: GatewayPlatform, client: AsyncClient, venue: str
) -> None:
    """Trades and order changes that happen while the gateway is away are there after it came back, once each."""
    address, settings = free_address(), platform.gateway_settings()
    port = int(address.rpartition(":")[2])
    trades: list[int] = []
    orders: list[tuple[str, int]] = []
    gaps: list[Gap] = []

    async def watch_trades(watcher: AsyncClient) -> None:
        async with watcher.stream() as stream:
            await stream.subscribe("GOOG", Topic.TRADES, venue=venue)
            async for update in stream:
                if isinstance(update, TradesUpdate):
                    trades.extend(trade.sequence for trade in update.trades)
                elif isinstance(update, Gap):
                    gaps.append(update)

    async def watch_orders(watcher: AsyncClient) -> None:
        async for update in watcher.watch_orders(venue=venue):
            if isinstance(update, OrdersUpdate):
                orders.extend((order.client_order_id, order.version) for order in update.orders)
            else:
                gaps.append(update)

    async def trade(first: int, count: int) -> None:
        for number in range(first, first + count):
            await client.place_order("GOOG", "sell", 1, price=10, client_order_id=f"s{number}", venue=venue)
            await client.place_order("GOOG", "buy", 1, price=10, client_order_id=f"b{number}", venue=venue)

    async with AsyncClient(address, username=DEMO[0], password=DEMO[1]) as watcher:
        tasks = [asyncio.create_task(work(watcher)) for work in (watch_trades, watch_orders)]
        async with serving(gateway.service, settings, grpc_port=port):
            await asyncio.sleep(1.0)  # until both watch
            await trade(0, 5)
            await asyncio.sleep(0.5)
        await trade(5, 5)
        async with serving(gateway.service, settings, grpc_port=port):
            await trade(10, 5)
            async with asyncio.timeout(20):
                while len(trades) < 15 or len(orders) < 60:
                    await asyncio.sleep(0.05)
                    assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert trades == list(range(1, 16))
    assert len(orders) == len(set(orders))
    assert gaps == []


async def test_a_stream_outlives_its_token(platform: GatewayPlatform, venue: str) -> None:
    """A stream ends with the token that it was opened with; the SDK goes on with a fresh one, without a gap."""
    ended: list[AacError | None] = []
    short = {**platform.installation, "access_token_lifetime_s": 10, "rate_limits": {}}
    people = {"bootstrap_admin_password": "", "bootstrap_demo_password": ""}
    async with (
        serving(auth.service, short, **people) as brief,
        serving(gateway.service, platform.gateway_settings(auth_address=brief.address)) as front,
        AsyncClient(front.address, username=DEMO[0], password=DEMO[1], reconnect=QUICK) as watcher,
        watcher.stream(on_disconnect=ended.append) as stream,
    ):
        await stream.subscribe("GOOG", Topic.TRADES, venue=venue)
        reading = asyncio.create_task(take(stream, lambda _: bool(ended), within=30))
        async with platform.client() as trader:
            while not reading.done():
                await trader.place_order("GOOG", "sell", 1, price=10, venue=venue)
                await trader.place_order("GOOG", "buy", 1, price=10, venue=venue)
                await asyncio.sleep(0.25)
        updates = await reading
    assert all(isinstance(update, TradesUpdate) for update in updates)
    sequences = [trade.sequence for update in updates for trade in update.trades]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert isinstance(ended[0], Unauthenticated)
    assert ended[0].reason == "EXPIRED_TOKEN"


async def test_a_stream_can_be_closed_while_another_task_waits_for_its_next_update(
    client: AsyncClient, venue: str
) -> None:
    stream = client.stream()
    await stream.subscribe("GOOG", Topic.DEPTH, venue=venue)
    await anext(stream)  # The empty book; nothing comes after it.

    async def read() -> list[object]:
        return [update async for update in stream]

    async with asyncio.timeout(10):
        reading = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        await stream.close()
        assert await reading == []
        assert [update async for update in stream] == []


async def test_a_reader_that_is_cancelled_is_cancelled(client: AsyncClient, venue: str) -> None:
    async with client.stream() as stream, asyncio.timeout(10):
        await stream.subscribe("GOOG", Topic.DEPTH, venue=venue)
        await anext(stream)
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_a_gateway_that_never_answers_is_told_in_time() -> None:
    async with AsyncClient(free_address(), token="x", timeout=1.0) as client:
        with pytest.raises(Unavailable, match="nobody answers at"):
            await client.quote("GOOG")


async def test_the_blocking_client_has_the_same_surface(platform: GatewayPlatform, venue: str) -> None:
    address = platform.gateway.address

    def use() -> None:
        with Client(address, username=DEMO[0], password=DEMO[1]) as client:
            placed = client.place_order("GOOG", "buy", 2, price=10, venue=venue)
            assert [order.order_id for order in client.list_orders(venue=venue)] == [placed.order.order_id]
            assert client.book("GOOG", min_sequence=placed.order.venue_sequence, venue=venue).bids[0].quantity == 2
            with client.stream() as stream:
                stream.subscribe("GOOG", Topic.DEPTH, venue=venue)
                update = next(stream)
                assert isinstance(update, DepthUpdate)
                assert update.changes[0].price == 10
            watching = client.watch_orders(venue=venue)
            snapshot = next(watching)
            assert isinstance(snapshot, OrdersUpdate)
            assert snapshot.snapshot
            watching.close()

    await asyncio.to_thread(use)
    asynchronous = {name for name in dir(AsyncClient) if not name.startswith("_")}
    assert asynchronous - {"channel"} <= {name for name in dir(Client) if not name.startswith("_")}
