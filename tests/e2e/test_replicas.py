"""Two instances of everything: who is there, calls and streams at either of them, restarts that nobody notices."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import psutil
import psycopg
import pytest
from aac.marketdata.v1.marketdata_pb2 import StreamRequest, StreamResponse, Subscription
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint
from grpc import aio

from aac_grpc.backends.forked import FORK_SERVER
from aac_grpc.backends.postgres import MAX_CONNECTIONS
from aac_grpc.backends.state import StateDirectory
from aac_grpc.client import AsyncClient
from aac_grpc.client.errors import NotFound
from drill.installed import find_installed, installed_platform
from drill.platform import SYMBOL
from tests.support.installation import SERVICES, Installation, new_installation
from tests.support.markets import Trader, new_traders, new_venue
from tests.support.telling import tell

BACKENDS = ("postgres", "valkey", "kafka")
PATIENCE_S = 60.0
TRADES = stream_pb2.TOPIC_TRADES

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def pair(pytestconfig: pytest.Config) -> AsyncIterator[Installation]:
    """A running platform with two instances of each service."""
    async with new_installation() as installation:
        seconds = await installation.up("--no-flow", "--replicas", "2")
        memory = sum(process.memory_full_info().pss for process in await asyncio.to_thread(installation.processes))
        tell(pytestconfig, f"aac up --replicas 2: ready in {seconds:.1f} s, {memory / 2**20:.0f} MiB in all")
        yield installation


@pytest.fixture(scope="module")
async def venue(pair: Installation) -> AsyncIterator[str]:
    async with new_venue(pair, "GOOG") as name:
        yield name


@pytest.fixture(scope="module")
async def traders(pair: Installation, venue: str) -> list[Trader]:
    return await new_traders(pair, 2, venue)


def at(installation: Installation, trader: Trader, *gateways: int) -> AsyncClient:
    """A trader's client of these gateways."""
    target = ",".join(installation.address("api-gateway", number) for number in gateways)
    return AsyncClient(target, username=trader.username, password=trader.password, timeout=PATIENCE_S)


async def mesh(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """Instances by service, as `aac mesh --json` tells."""
    outcome = await installation.aac("mesh", "--json")
    assert outcome.code == 0, outcome.errors
    return {one["service"]: one["instances"] for one in json.loads(outcome.output)}


async def all_serve(installation: Installation) -> None:
    """Waits until both instances of each service serve."""
    await eventually(lambda: states(installation), {key: ["serving", "serving"] for key in SERVICES})


async def counts(installation: Installation) -> dict[str, int]:
    """How many instances each service has."""
    return {service: len(instances) for service, instances in (await mesh(installation)).items()}


async def states(installation: Installation) -> dict[str, list[str]]:
    """The states of each service's instances."""
    return {service: [one["state"] for one in found] for service, found in (await mesh(installation)).items()}


async def eventually(fact: Callable[[], Awaitable[object]], expected: object) -> None:
    """Waits until something is as expected."""
    last: object = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (last := await fact()) != expected:  # noqa: ASYNC110 other processes bring it about
                await asyncio.sleep(0.5)
    except TimeoutError:
        assert last == expected


async def test_each_service_has_two_instances_which_the_mesh_shows(pair: Installation) -> None:
    await all_serve(pair)
    shown = await mesh(pair)
    for service, instances in shown.items():
        assert {one["address"] for one in instances} == {pair.address(service, number) for number in (1, 2)}
        assert len({one["instance_id"] for one in instances}) == 2
    names = {one["name"]: one["state"] for one in (await pair.status())["status"]["processes"]}
    services = [f"{service}{suffix}" for service in SERVICES for suffix in ("", "-2")]
    assert names == dict.fromkeys((*BACKENDS, FORK_SERVER, *services), "ready")
    table = await pair.aac("mesh")
    assert table.code == 0
    assert table.output.count("serving") == 2 * len(SERVICES)


async def test_all_service_processes_share_what_they_import(pair: Installation) -> None:
    processes = {one["name"]: psutil.Process(one["pid"]) for one in (await pair.status())["status"]["processes"]}
    maps = {name: process.memory_maps() for name, process in processes.items() if name not in BACKENDS}
    libraries = {name: {one.path for one in of if ".so" in one.path} for name, of in maps.items()}
    for name, of in maps.items():
        # Memory that was written and still belongs to several: only a fork makes such.
        assert sum(one.shared_dirty for one in of) > 20 << 20, name
        assert libraries[name] <= libraries[FORK_SERVER], name


async def test_all_processes_stay_within_the_databases_connections(pair: Installation) -> None:
    async with await psycopg.AsyncConnection.connect(pair.database_url, autocommit=True) as connection:
        limit = await (await connection.execute("show max_connections")).fetchone()
        used = await (await connection.execute("select count(*) from pg_stat_activity")).fetchone()
    assert limit == (str(MAX_CONNECTIONS),)
    assert used is not None
    assert used[0] < MAX_CONNECTIONS


async def test_an_order_goes_through_each_gateway_and_is_seen_through_the_other(
    pair: Installation, venue: str, traders: list[Trader]
) -> None:
    seller, buyer = traders
    async with at(pair, seller, 1) as first, at(pair, buyer, 2) as second:
        resting = await first.place_order("GOOG", "sell", 5, price="100.00", venue=venue)
        taken = await second.place_order("GOOG", "buy", 5, price="100.00", venue=venue)
        assert taken.order.filled_quantity == 5
    async with at(pair, seller, 2) as other:
        assert (await other.order(resting.order.order_id, venue=venue)).filled_quantity == 5


async def test_a_market_stream_goes_on_at_the_other_instance_without_a_gap(
    pair: Installation, venue: str, traders: list[Trader]
) -> None:
    seller, buyer = traders
    async with at(pair, seller, 1, 2) as one, at(pair, buyer, 1, 2) as other:

        async def trade() -> None:
            await one.place_order("GOOG", "sell", 1, price="100.00", venue=venue)
            await other.place_order("GOOG", "buy", 1, price="100.00", venue=venue)

        token = await one.access_token()
        async with following(pair, 1, token, venue) as first:
            await first(lambda frame: frame.header.kind == stream_pb2.FRAME_KIND_ITEM_STATUS)
            await trade()
            here = await first(lambda frame: len(frame.trades) > 0)
        for _ in range(3):
            await trade()
        point = ResumePoint(epoch=here.header.epoch, sequence=here.header.sequence)
        numbers = list[int]()
        async with following(pair, 2, token, venue, point) as second:
            while len(numbers) < 3:
                frame = await second(lambda frame: len(frame.trades) > 0)
                assert frame.header.first_sequence == here.header.sequence + 1 + len(numbers)
                numbers += [trade.sequence for trade in frame.trades]
    assert numbers == [here.header.sequence + step for step in (1, 2, 3)]


@contextlib.asynccontextmanager
async def following(
    installation: Installation, instance: int, token: str, venue: str, point: ResumePoint | None = None
) -> AsyncIterator[Callable[[Callable[[StreamResponse], bool]], Awaitable[StreamResponse]]]:
    """Reads the trades of one instance of market-data: gives a function that waits for a frame and allows no GAP."""
    async with aio.insecure_channel(installation.address("market-data", instance)) as channel:
        call = MarketDataServiceStub(channel).Stream(metadata=(("authorization", f"Bearer {token}"),))
        item = Subscription(id="t", venue=venue, symbol="GOOG", topic=TRADES, resume=point)
        await call.write(StreamRequest(subscribe=[item]))

        async def next_that(wanted: Callable[[StreamResponse], bool]) -> StreamResponse:
            async with asyncio.timeout(PATIENCE_S):
                while not wanted(frame := await call.read()):
                    assert frame.header.kind != stream_pb2.FRAME_KIND_GAP
            return frame

        yield next_that
        call.cancel()


async def test_no_call_fails_while_the_instances_of_a_service_are_restarted_in_turn(
    pair: Installation, venue: str, traders: list[Trader], pytestconfig: pytest.Config
) -> None:
    await all_serve(pair)
    before = {one["instance_id"] for one in (await mesh(pair))["risk-management"]}
    done = asyncio.Event()
    calls = 0

    async def keep_calling(client: AsyncClient, work: Callable[[AsyncClient], Awaitable[Any]]) -> None:
        nonlocal calls
        while not done.is_set():
            await work(client)
            calls += 1
            await asyncio.sleep(0.02)

    async with at(pair, traders[0], 1, 2) as seller, at(pair, traders[1], 1, 2) as buyer, asyncio.TaskGroup() as group:
        group.create_task(keep_calling(seller, lambda client: client.limits(traders[0].account, venue=venue)))
        group.create_task(
            keep_calling(buyer, lambda client: client.place_order("GOOG", "buy", 1, price="90.00", venue=venue))
        )
        outcome = await pair.aac("restart", "risk-management", "--json", timeout_s=300)
        assert outcome.code == 0, outcome.errors
        await all_serve(pair)
        done.set()
    restarted = json.loads(outcome.output)["restarted"]
    assert [one["process"] for one in restarted] == ["risk-management", "risk-management-2"]
    assert not any(one["interrupted"] for one in restarted)
    assert not before & {one["instance_id"] for one in (await mesh(pair))["risk-management"]}
    tell(pytestconfig, f"{calls} calls while both instances of risk-management were restarted, none failed")


async def test_a_running_installation_may_be_drilled_and_keeps_nothing_of_it(pair: Installation) -> None:
    drilled = await asyncio.to_thread(find_installed, StateDirectory(pair.state))
    async with installed_platform(drilled) as platform, contextlib.AsyncExitStack() as stack:
        (trader,) = await platform.traders(stack, 1, PATIENCE_S)
        await trader.client.place_order(SYMBOL, "buy", 1, price=1, account=trader.account, venue=platform.venue)
    async with pair.client("admin") as admin:
        left = {user.username: user.disabled async for user in admin.list_users()}
        assert left[trader.account]
        with pytest.raises(NotFound):
            await admin.quote(SYMBOL, venue=platform.venue)


@pytest.mark.slow
async def test_another_up_may_have_another_number_of_instances() -> None:
    async with new_installation() as installation:
        await installation.up("--no-flow", "--replicas", "2", "--replicas", "analytics=1")
        (trader,) = await new_traders(installation, 1, "main", cash="12.50")
        assert (await installation.down()).code == 0
        await installation.up("--no-flow", "--replicas", "market-data=3")
        names = [one["name"] for one in (await installation.status())["status"]["processes"]]
        assert sorted(names) == sorted((*BACKENDS, FORK_SERVER, *SERVICES, "market-data-2", "market-data-3"))
        expected = {**dict.fromkeys(SERVICES, 1), "market-data": 3}
        await eventually(lambda: counts(installation), expected)
        async with installation.client(trader.username, trader.password) as client:
            assert (await client.account(venue="main")).cash.amount == Decimal("12.50")
        alone = await installation.aac("restart", "analytics", timeout_s=300)
        assert alone.code == 0
        assert "it was away meanwhile" in alone.output
