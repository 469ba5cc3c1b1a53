"""What must hold once services were killed under load: every part of the platform is asked on its own."""

import asyncio
import itertools
from dataclasses import dataclass

from aac.event.v1.event_pb2 import Event
from aac.registry.v1.registry_pb2 import ListInstancesRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub
from grpc import aio

from aac_grpc.client.models.orders import Order
from aac_grpc.common.identity import SECRET_KEY, SERVICE_KEY, derive_service_secret
from aac_grpc.common.topics import EXECUTIONS, ORDERS, TRADES
from aac_grpc.feeds.runner import FEED
from tests.support.books import (
    Books,
    check_events,
    check_money,
    check_orders,
    check_published,
    check_trades_have_two_sides,
    read_books,
)
from tests.support.installation import SERVICES, Installation
from tests.support.kafka_reader import KafkaReader
from tests.support.kill_scene import DEPOSIT, OWN_LIMIT, SYMBOL, Scene
from tests.support.stream_log import OrderFollower, until

ARRIVES_WITHIN_S = 30.0
"""How long what was acknowledged may take to arrive everywhere."""


@dataclass
class Counts:
    """How much there was to compare."""

    orders: int = 0
    """Acknowledged."""
    commands: int = 0
    unanswered: int = 0
    executions: int = 0
    events: int = 0
    redelivered: int = 0
    gaps: int = 0
    """That streams told of."""


async def check_everything(scene: Scene, counts: Counts) -> None:
    """Compares everything that the platform says with what the clients were told.

    Raises:
        AssertionError: Something was lost, doubled, changed or left out in silence.
    """
    scene.check_streams()
    log = scene.log
    books = {account: await read_books(client, account, scene.venue) for account, client in scene.clients.items()}
    counts.commands = len(log.commands)
    counts.orders = sum(1 for _ in log.acknowledged("place"))
    counts.unanswered = len(log.unanswered())
    counts.executions = sum(len(one.executions) for one in books.values())
    check_orders(log, books)
    check_trades_have_two_sides(books)
    for one in books.values():
        check_money(one, DEPOSIT)
    events = await _read_events(scene, books, counts)
    check_events(events, books, log)
    for follower, one in zip(scene.followers, books.values(), strict=True):
        await _check_orders_stream(follower, one, events, counts)
    await _check_market_stream(scene, events, counts)
    await _check_sdk(scene, counts)
    scene.check_streams()
    await _check_market_data(scene, books)
    await _check_risk_analytics_and_auth(scene, books)
    await _check_registry(scene.platform)
    assert counts.unanswered == 0, [str(one.error) for one in log.unanswered()][:3]


async def _read_events(scene: Scene, books: dict[str, Books], counts: Counts) -> list[Event]:
    """The venue's events on Kafka, each once by its id."""
    reader = KafkaReader(scene.platform.address("kafka"), (ORDERS, EXECUTIONS, TRADES), venue=scene.venue)
    wanted = {("execution", one.execution_id) for book in books.values() for one in book.executions}
    wanted |= {("trade", one.trade_id) for book in books.values() for one in book.executions}
    wanted |= {("order", f"{order.order_id} {order.version}") for book in books.values() for order in book.orders}

    looked_at = 0

    def complete() -> bool:
        nonlocal looked_at
        wanted.difference_update(map(_name, itertools.islice(reader.events.values(), looked_at, None)))
        looked_at = len(reader.events)
        return not wanted

    try:
        arrived = await reader.read_until(complete, ARRIVES_WITHIN_S)
        assert arrived, f"Kafka has none of {len(wanted)} executions, trades and orders, such as {sorted(wanted)[:3]}"
        assert await reader.read_to_end()
    finally:
        reader.close()
    assert not reader.conflicting
    counts.events = len(reader.events)
    counts.redelivered = reader.deliveries - len(reader.events)
    return list(reader.events.values())


def _name(event: Event) -> tuple[str, str]:
    """What an event is about."""
    match event.WhichOneof("payload"):
        case "execution":
            return "execution", event.execution.execution.execution_id
        case "trade":
            return "trade", event.trade.trade_id
        case "order":
            return "order", f"{event.order.order.order_id} {event.order.sequence}"
    return "", ""


async def _check_orders_stream(follower: OrderFollower, books: Books, events: list[Event], counts: Counts) -> None:
    """An account's stream told of each change of its orders once, as Kafka does."""
    latest = max(order.version for order in books.orders)
    arrived = await until(lambda: follower.log.sequence >= latest, ARRIVES_WITHIN_S)
    assert arrived, f"{follower.log.name} stopped at {follower.log.sequence}, {latest} is there"
    counts.gaps += len(follower.log.gaps)
    account = books.account.account_id
    orders = (event.order for event in events if event.HasField("order"))
    published = {one.sequence: one.order for one in orders if one.order.account_id == account}
    if follower.log.gaps:
        assert follower.orders.keys() <= published.keys()
    else:
        assert sorted(follower.orders) == sorted(published)
    for version, order in follower.orders.items():
        check_published(Order.from_wire(published[version]), Order.from_wire(order))


async def _check_market_stream(scene: Scene, events: list[Event], counts: Counts) -> None:
    """The market's stream told of each trade once, as Kafka does."""
    market = scene.market
    trades = {event.trade.sequence: event.trade.trade_id for event in events if event.HasField("trade")}
    assert sorted(trades) == list(range(1, len(trades) + 1))
    assert await until(lambda: market.trades.sequence >= len(trades), ARRIVES_WITHIN_S)
    counts.gaps += len(market.trades.gaps) + len(market.depth.gaps)
    told = {number: trade.trade_id for number, trade in market.traded.items()}
    assert told.items() <= trades.items()
    if not market.trades.gaps:
        assert told == trades


async def _check_sdk(scene: Scene, counts: Counts) -> None:
    """The SDK's streams came to the same, through the same interruptions."""
    sdk, orders, market = scene.sdk, scene.followers[-1], scene.market
    assert await until(lambda: bool(sdk.versions) and sdk.versions[-1] >= max(orders.orders), ARRIVES_WITHIN_S)
    assert await until(lambda: sdk.book.sequence >= market.depth.sequence, ARRIVES_WITHIN_S)
    assert await until(lambda: bool(sdk.trades) and sdk.trades[-1] >= market.trades.sequence, ARRIVES_WITHIN_S)
    assert len(sdk.gaps) <= counts.gaps, sdk.gaps
    if not sdk.gaps:
        assert sdk.versions == sorted(orders.orders)
        # The SDK does not say when trades begin, which may be after the first ones.
        assert sdk.trades == list(range(sdk.trades[0], market.trades.sequence + 1))
    for side, kept in ((1, reversed(sdk.book.bids())), (2, sdk.book.asks())):
        assert [(level.price, level.quantity, level.orders) for level in kept] == market.book(side)


async def _check_market_data(scene: Scene, books: dict[str, Books]) -> None:
    """The book and the trades that market-data answers with are those that its stream told."""
    client, market = next(iter(scene.clients.values())), scene.market
    sequence = max(order.venue_sequence for one in books.values() for order in one.orders)
    book = await client.book(SYMBOL, depth=1000, min_sequence=sequence, venue=scene.venue)
    assert await until(lambda: market.depth.sequence >= book.depth_sequence, ARRIVES_WITHIN_S)
    for side, levels in ((1, reversed(book.bids)), (2, book.asks)):
        assert [(level.price, level.quantity, level.orders) for level in levels] == market.book(side)
    trades = [trade.sequence async for trade in client.list_trades(SYMBOL, venue=scene.venue)]
    assert sorted(trades) == list(range(1, market.trades.sequence + 1))


async def _check_risk_analytics_and_auth(scene: Scene, books: dict[str, Books]) -> None:
    """Limits are in force, each execution is counted once, and people can sign in."""
    account, client = next(iter(scene.clients.items()))
    assert (await client.limits(account, venue=scene.venue)).own.max_order_quantity == OWN_LIMIT
    refused = await client.place_order(SYMBOL, "buy", OWN_LIMIT + 1, price=1, venue=scene.venue)
    assert "ORDER_SIZE" in {reason.code for reason in refused.order.reject_reasons}
    expected, counted = len(books[account].executions), -1
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while counted < expected:
            counted = (await client.performance(account, venue=scene.venue)).total.executions
            await asyncio.sleep(0.1)
    assert counted == expected
    trader = scene.traders[0]
    async with scene.platform.client(trader.username, trader.password) as fresh:
        assert [one.account_id async for one in fresh.list_accounts()] == [account]


async def _check_registry(platform: Installation) -> None:
    """Every service is registered again."""
    metadata = ((SERVICE_KEY, FEED), (SECRET_KEY, derive_service_secret(platform.mesh_secret, FEED)))
    async with aio.insecure_channel(platform.address("registry")) as channel, asyncio.timeout(ARRIVES_WITHIN_S):
        stub = RegistryServiceStub(channel)
        expected, found = set(SERVICES) - {"registry"}, set[str]()
        while not found >= expected:
            answer = await stub.ListInstances(ListInstancesRequest(), metadata=metadata, wait_for_ready=True)
            found = {one.service for one in answer.instances}
            await asyncio.sleep(0.1)
