"""kill -9 of each service while clients trade: nothing that was acknowledged is lost or doubled, and streams go on.

By default each service is killed twice; the slow suite kills each 20 times. AAC_TEST_SEED repeats a run's decisions.
"""

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from aac.registry.v1.registry_pb2 import ListInstancesRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub
from grpc import aio

from aac_grpc.backends.control import read_status
from aac_grpc.backends.spec import ProcessState
from aac_grpc.client import AsyncClient
from aac_grpc.client.channel import channel_options
from aac_grpc.client.models.accounts import Limits
from aac_grpc.client.models.orders import Order
from aac_grpc.common.identity import SECRET_KEY, SERVICE_KEY, derive_service_secret
from aac_grpc.common.topics import EXECUTIONS, ORDERS, TRADES
from tests.support.books import (
    Books,
    check_events,
    check_money,
    check_orders,
    check_published,
    check_trades_have_two_sides,
    read_books,
)
from tests.support.client_log import ClientLog
from tests.support.installation import Installation, new_installation
from tests.support.kafka_reader import KafkaReader
from tests.support.markets import Trader, new_traders, new_venue
from tests.support.order_load import LoadClient
from tests.support.sdk_follower import SdkFollower
from tests.support.stream_log import MarketFollower, OrderFollower, until

SERVICES = (
    "trading-engine", "api-gateway", "risk-management", "market-data", "auth-service", "analytics", "registry",
)  # fmt: skip
SYMBOL = "KILL"
CLIENTS = 4
RATE = 20.0
"""Orders a second that each client tries to place."""
LEAST_RATE = 50.0
"""Orders a second, of all clients, that must be acknowledged when a process is killed."""
DEPOSIT = Decimal(100_000_000)
RECOVERED_WITHIN_S = 60.0
SEED = int(os.environ.get("AAC_TEST_SEED") or random.SystemRandom().getrandbits(32))


@dataclass
class Kill:
    """One kill, and how long what followed from it took, in seconds."""

    at: float
    rate: float
    """Orders acknowledged in the second before."""
    restart: float = 0.0
    """Until the supervisor found it ready again."""
    orders: float = 0.0
    """Longest pause between two acknowledged orders."""
    order_stream: float = 0.0
    """Longest pause between two updates of the orders' streams."""
    market_stream: float = 0.0
    """Longest pause between two updates of trades or depth."""


@dataclass
class Result:
    """What became of one service's kills."""

    service: str
    kills: list[Kill] = field(default_factory=list)
    orders: int = 0
    commands: int = 0
    unanswered: int = 0
    executions: int = 0
    events: int = 0
    redelivered: int = 0
    gaps: int = 0


@pytest.fixture(scope="module")
async def platform() -> AsyncIterator[Installation]:
    """A platform of its own: here processes die."""
    async with new_installation() as installation:
        seconds = await installation.up("--no-flow")
        print(f"\naac up: ready in {seconds:.1f} s; AAC_TEST_SEED={SEED}")
        yield installation


@pytest.fixture(scope="module")
async def traders(platform: Installation) -> list[Trader]:
    return await new_traders(platform, CLIENTS)


@pytest.fixture(scope="module")
def results() -> Iterator[list[Result]]:
    """What the tests of the module found; printed as a table at the end."""
    found: list[Result] = []
    yield found
    print(f"\n\nSIGKILL under load, AAC_TEST_SEED={SEED}; seconds as median / longest\n{_table(found)}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("service", SERVICES)
async def test_after_a_kill_nothing_acknowledged_is_lost_and_streams_go_on(
    platform: Installation, traders: list[Trader], results: list[Result], service: str
) -> None:
    await _kill_and_check(platform, traders, results, service, kills=2, between_s=1.0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("service", SERVICES)
async def test_after_twenty_kills_nothing_acknowledged_is_lost_and_streams_go_on(
    platform: Installation, traders: list[Trader], results: list[Result], service: str
) -> None:
    # A process that was ready for three seconds counts as well, and is restarted at once.
    await _kill_and_check(platform, traders, results, service, kills=20, between_s=3.2)


async def _kill_and_check(
    platform: Installation, traders: list[Trader], results: list[Result], service: str, kills: int, between_s: float
) -> None:
    result = Result(service)
    results.append(result)
    chance = random.Random(f"{SEED}-{service}")
    async with new_venue(platform, SYMBOL) as venue, Scene(platform, traders, venue, f"{SEED}-{service}") as scene:
        await scene.prepare()
        async with scene.trading():
            for _ in range(kills):
                await asyncio.sleep(between_s + chance.random() / 2)
                result.kills.append(await _kill(platform, scene, service))
            await asyncio.sleep(1.0)
        _measure(result.kills, scene)
        await scene.check(result)


async def _kill(platform: Installation, scene: "Scene", service: str) -> Kill:
    """Kills the service's process while orders come fast enough; returns once the next one is ready and orders pass."""

    def rate() -> float:
        return scene.log.rate(time.monotonic() - 1.0, time.monotonic())

    fast = await until(lambda: rate() >= LEAST_RATE, 30.0)
    assert fast, f"only {rate():.0f} orders a second are acknowledged"
    before = await asyncio.to_thread(_process, platform, service)
    assert before.pid is not None
    kill = Kill(time.monotonic(), rate())
    os.kill(before.pid, signal.SIGKILL)
    async with asyncio.timeout(RECOVERED_WITHIN_S):
        while True:
            now = await asyncio.to_thread(_process, platform, service)
            if now.state is ProcessState.READY and now.pid not in (None, before.pid):
                break
            await asyncio.sleep(0.03)
    kill.restart = time.monotonic() - kill.at
    ready_at = time.monotonic()
    assert await until(lambda: scene.log.rate(ready_at, time.monotonic() + 0.001) > 0, RECOVERED_WITHIN_S)
    scene.check_streams()
    return kill


def _process(platform: Installation, service: str):  # type: ignore[no-untyped-def]  # of the supervisor's own types
    status = read_status(platform.state)
    assert status is not None
    return next(one for one in status.processes if one.name == service)


def _measure(kills: list[Kill], scene: "Scene") -> None:
    for kill, following in zip(kills, [*kills[1:], None], strict=True):
        end = following.at if following is not None else kill.at + kill.restart + 1.0
        kill.orders = scene.log.longest_pause(kill.at, end)
        kill.order_stream = max(one.log.longest_pause(kill.at, end) for one in scene.followers)
        kill.market_stream = min(one.longest_pause(kill.at, end) for one in (scene.market.trades, scene.market.depth))


class Scene:
    """Clients that trade in one venue, what they log, and streams that are followed beside them."""

    def __init__(self, platform: Installation, traders: list[Trader], venue: str, seed: str) -> None:
        self._platform = platform
        self._traders = traders
        self._venue = venue
        self._seed = seed
        self._exit = contextlib.AsyncExitStack()
        self.log = ClientLog()
        self.clients: dict[str, AsyncClient] = {}
        self.followers: list[OrderFollower] = []
        self.market: MarketFollower
        self.sdk: SdkFollower

    async def __aenter__(self) -> "Scene":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def prepare(self) -> None:
        """Opens the accounts, signs everybody in, and opens the streams."""
        async with self._platform.client("admin") as admin:
            for trader in self._traders:
                await admin.open_account(trader.account, DEPOSIT, "USD", allow_short=True, venue=self._venue)
                await admin.set_limits(trader.account, Limits(max_order_quantity=Decimal(77)), venue=self._venue)
        channel = await self._exit.enter_async_context(
            aio.insecure_channel(self._platform.gateway, options=channel_options())
        )
        for trader in self._traders:
            client = self._platform.client(trader.username, trader.password, timeout=RECOVERED_WITHIN_S)
            self.clients[trader.account] = await self._exit.enter_async_context(client)
            # A key lives for as long as the test does; the gateway exchanges it for short tokens.
            key = (("x-api-key", (await client.create_api_key("streams")).secret),)
            self.followers.append(OrderFollower(channel, key, self._venue, trader.account))
        self.market = MarketFollower(channel, key, self._venue, SYMBOL)
        self.sdk = SdkFollower(client, trader.account, self._venue, SYMBOL)
        for follower in (*self.followers, self.market, self.sdk):
            follower.start()
            self._exit.push_async_callback(follower.stop)
        assert await until(lambda: all(one.log.epoch for one in self.followers), 10.0)
        await asyncio.wait_for(self.sdk.begun.wait(), 10.0)
        assert await until(lambda: bool(self.market.depth.epoch and self.market.trades.epoch), 10.0)

    @contextlib.asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """Lets all clients trade while the block runs, and waits for the last answers."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, (account, client) in enumerate(self.clients.items()):
                load = LoadClient(client, account, self._venue, SYMBOL, self.log, f"{self._seed}-{number}", RATE)
                group.create_task(load.run(stop))
            try:
                yield
            finally:
                stop.set()

    def check_streams(self) -> None:
        """Raises what a follower found."""
        for follower in (*self.followers, self.market, self.sdk):
            follower.check()

    async def check(self, result: Result) -> None:
        """Compares everything that the platform says with what the clients were told."""
        books = {account: await read_books(client, account, self._venue) for account, client in self.clients.items()}
        result.commands = len(self.log.commands)
        result.orders = sum(1 for _ in self.log.acknowledged("place"))
        result.unanswered = len(self.log.unanswered())
        result.executions = sum(len(one.executions) for one in books.values())
        check_orders(self.log, books)
        check_trades_have_two_sides(books)
        for one in books.values():
            check_money(one, DEPOSIT)
        await self._check_kafka(result, books)
        await self._check_streams(books, result)
        await self._check_the_others(books)
        assert result.unanswered == 0, [str(one.error) for one in self.log.unanswered()][:3]

    async def _check_kafka(self, result: Result, books: dict[str, Books]) -> None:
        reader = KafkaReader(self._platform.address("kafka"), (ORDERS, EXECUTIONS, TRADES), venue=self._venue)
        expected = sum(len(one.executions) for one in books.values())

        def complete() -> bool:
            return sum(1 for event in reader.events.values() if event.HasField("execution")) >= expected

        try:
            assert await reader.read_until(complete, 30.0), f"of {expected} executions Kafka has fewer"
            await reader.read_to_end()
        finally:
            reader.close()
        assert not reader.conflicting
        result.events = len(reader.events)
        result.redelivered = reader.deliveries - len(reader.events)
        self.events = list(reader.events.values())
        check_events(self.events, books, self.log)

    async def _check_streams(self, books: dict[str, Books], result: Result) -> None:
        for follower, one in zip(self.followers, books.values(), strict=True):
            latest = max(order.version for order in one.orders)
            arrived = await until(lambda f=follower, v=latest: f.log.sequence >= v, 15.0)  # type: ignore[misc]
            assert arrived, f"{follower.log.name} stopped at {follower.log.sequence}, {latest} is there"
            result.gaps += len(follower.log.gaps)
            account = one.account.account_id
            published = {
                event.order.sequence: event.order.order
                for event in self.events
                if event.HasField("order") and event.order.order.account_id == account
            }
            if not follower.log.gaps:
                assert sorted(follower.orders) == sorted(published)
                for version, order in follower.orders.items():
                    check_published(Order.from_wire(published[version]), Order.from_wire(order))
        trades = {event.trade.sequence: event.trade for event in self.events if event.HasField("trade")}
        assert await until(lambda: self.market.trades.sequence >= len(trades), 15.0)
        result.gaps += len(self.market.trades.gaps) + len(self.market.depth.gaps)
        assert sorted(trades) == list(range(1, len(trades) + 1))
        if not self.market.trades.gaps:
            assert {number: one.trade_id for number, one in self.market.traded.items()} == {
                number: one.trade_id for number, one in trades.items()
            }
        await self._check_sdk(result)
        self.check_streams()

    async def _check_sdk(self, result: Result) -> None:
        """The SDK's streams came to the same, through the same interruptions."""
        sdk, orders, market = self.sdk, self.followers[-1], self.market
        assert await until(lambda: bool(sdk.versions) and sdk.versions[-1] >= max(orders.orders), 15.0)
        assert await until(lambda: sdk.book.sequence >= market.depth.sequence, 15.0)
        assert await until(lambda: bool(sdk.trades) and sdk.trades[-1] >= market.trades.sequence, 15.0)
        assert len(sdk.gaps) <= result.gaps, sdk.gaps
        if not sdk.gaps:
            assert sdk.versions == sorted(orders.orders)
            assert sdk.trades == list(range(1, market.trades.sequence + 1))
        levels = [(1, reversed(sdk.book.bids())), (2, sdk.book.asks())]
        for side, kept in levels:
            told = [(str(level.price), level.quantity, level.orders) for level in kept]
            assert told == [(price, Decimal(quantity), orders) for price, quantity, orders in market.book(side)]

    async def _check_the_others(self, books: dict[str, Books]) -> None:
        """What market-data, risk, analytics, auth and the registry say, each on its own."""
        account, client = next(iter(self.clients.items()))
        sequence = max(order.venue_sequence for one in books.values() for order in one.orders)
        book = await client.book(SYMBOL, depth=1000, min_sequence=sequence, venue=self._venue)
        assert await until(lambda: self.market.depth.sequence >= book.depth_sequence, 10.0)
        for side, levels in ((1, book.bids), (2, book.asks)):
            told = sorted((level.price, level.quantity, level.orders) for level in levels)
            kept = [(Decimal(price), Decimal(quantity), orders) for price, quantity, orders in self.market.book(side)]
            assert told == kept
        counted = len([trade async for trade in client.list_trades(SYMBOL, venue=self._venue)])
        assert counted == self.market.trades.sequence
        assert (await client.limits(account, venue=self._venue)).own.max_order_quantity == 77
        executions = len(books[account].executions)
        async with asyncio.timeout(20):
            while (await client.performance(account, venue=self._venue)).total.executions != executions:  # noqa: ASYNC110 of another process
                await asyncio.sleep(0.1)
        async with self._platform.client(*_sign_in(self._traders[0])) as fresh:
            assert [one.account_id async for one in fresh.list_accounts()] == [account]
        await self._check_registry()

    async def _check_registry(self) -> None:
        secret = derive_service_secret(self._platform.mesh_secret, "feed")
        metadata = ((SERVICE_KEY, "feed"), (SECRET_KEY, secret))
        async with aio.insecure_channel(self._platform.address("registry")) as channel, asyncio.timeout(20):
            stub = RegistryServiceStub(channel)
            while True:
                answer = await stub.ListInstances(ListInstancesRequest(), metadata=metadata, wait_for_ready=True)
                if {one.service for one in answer.instances} >= set(SERVICES) - {"registry"}:
                    return
                await asyncio.sleep(0.2)


def _sign_in(trader: Trader) -> tuple[str, str]:
    return trader.username, trader.password


def _table(results: list[Result]) -> str:
    heads = ["killed", "kills", "orders/s", "restart", "order pause", "order stream", "market stream", "orders",
             "commands", "unknown", "executions", "events", "redelivered", "gaps"]  # fmt: skip
    rows = [heads]
    for one in results:
        if not one.kills:
            continue
        times = [
            [getattr(kill, name) for kill in one.kills]
            for name in ("restart", "orders", "order_stream", "market_stream")
        ]
        rows.append(
            [
                one.service,
                str(len(one.kills)),
                f"{min(kill.rate for kill in one.kills):.0f}+",
                *(f"{statistics.median(values):.2f} / {max(values):.2f}" for values in times),
                *map(str, (one.orders, one.commands, one.unanswered, one.executions, one.events, one.redelivered,
                           one.gaps)),
            ]
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
