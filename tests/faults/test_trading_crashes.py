"""The engine is killed at every step: what was acknowledged is there once, and the books add up."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from aac.event.v1.event_pb2 import Event
from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1 import venue_pb2
from psycopg.rows import dict_row

from aac_grpc.common.events import EventTail
from aac_grpc.common.topics import ACCOUNTS, EXECUTIONS, ORDERS, TRADES
from aac_grpc.servicers.trading.failpoints import STEPS
from tests.faults.trading_process import CASH, Client, Scene, scene
from tests.integration.services import new_installation
from tests.integration.trading import BUY, account, instrument


@pytest.fixture
async def stage(backends: dict[str, str]) -> AsyncIterator[Scene]:
    async with new_installation(backends) as installation, scene(installation) as stage:
        yield stage


async def make_venue(stage: Scene) -> None:
    service = stage.service()
    accounts = [account(name, str(CASH), short=True) for name in ("alice", "bob")]
    request = venue_pb2.CreateVenueRequest(venue="crash", instruments=[instrument()], accounts=accounts)
    await service.CreateVenue(request)
    await service.channel.close()


async def all_of(caller: Any, method: str, request: Any, items: str) -> list[Any]:
    """Every page of a list."""
    found: list[Any] = []
    request.page.page_size = 1000
    while True:
        answer = await getattr(caller, method)(request)
        found += getattr(answer, items)
        if not answer.page.next_page_token:
            return found
        request.page.page_token = answer.page.next_page_token


async def check_clients(clients: Sequence[Client]) -> None:
    """Each answer is still the answer, each key made one order, and cash and position are the sum of executions."""
    for client in clients:
        caller = client.caller()
        place = {"venue": client.venue, "account_id": client.account}
        orders = await all_of(caller, "ListOrders", pb.ListOrdersRequest(**place), "orders")
        keys = Counter(order.client_order_id for order in orders)
        assert not [key for key, count in keys.items() if count > 1]
        assert set(client.answers) <= set(keys)
        by_key = {order.client_order_id: order for order in orders}
        for key, answer in client.answers.items():
            assert by_key[key].order_id == answer.order.order_id
            assert Decimal(by_key[key].filled_quantity) >= Decimal(answer.order.filled_quantity)
        for key, cancel in client.cancels.items():
            if cancel.canceled:
                assert by_key[key.removeprefix("c-")].cancel_reason == "REQUESTED"
        executions = await all_of(caller, "ListExecutions", pb.ListExecutionsRequest(**place), "executions")
        assert sorted(each.sequence for each in executions) == list(range(1, len(executions) + 1))
        signs = [1 if each.side == BUY else -1 for each in executions]
        position = sum(sign * Decimal(each.quantity) for sign, each in zip(signs, executions, strict=True))
        paid = sum(
            sign * Decimal(each.quantity) * Decimal(each.price) for sign, each in zip(signs, executions, strict=True)
        )
        cash = (await caller.GetAccount(pb.GetAccountRequest(**place))).account
        assert Decimal(cash.cash.amount) == CASH - paid
        positions = (await caller.ListPositions(pb.ListPositionsRequest(**place))).positions
        assert sum(Decimal(each.quantity) for each in positions) == position
        filled = sum(Decimal(order.filled_quantity) for order in orders)
        assert filled == sum(Decimal(each.quantity) for each in executions)
        await caller.channel.close()


async def check_ledger(stage: Scene) -> None:
    """Every entry's legs add up to zero, and the legs of each account to its cash."""
    async with await psycopg.AsyncConnection.connect(
        stage.installation["database_url"], row_factory=dict_row
    ) as connection:
        await connection.execute("set search_path to trading_engine")
        cursor = await connection.execute(
            "select venue_sequence from ledger group by venue_id, venue_sequence, currency having sum(amount) <> 0"
        )
        assert await cursor.fetchall() == []
        cursor = await connection.execute(
            """select account_id, cash, sum(amount) as posted from accounts
            join ledger on ledger.venue_id = accounts.venue_id and ledger_account = 'cash:' || account_id
            group by accounts.venue_id, account_id, cash having cash <> sum(amount)"""
        )
        assert await cursor.fetchall() == []


async def events_on_kafka(stage: Scene, wanted: set[str]) -> Counter[str]:
    """Ids of the venue's domain events on Kafka, once all those that are wanted are there."""
    tail = EventTail(
        stage.installation["kafka_bootstrap_servers"], [ORDERS, TRADES, EXECUTIONS, ACCOUNTS], from_beginning=True
    )
    await tail.open()
    ids: Counter[str] = Counter()
    try:
        async with asyncio.timeout(30):
            async for batch in tail.batches():
                ids.update(Event.FromString(each.value).event_id for each in batch)
                if wanted <= set(ids):
                    return ids
    finally:
        await tail.close()
    raise AssertionError("the tail ended")


async def expected_events(stage: Scene) -> set[str]:
    """Ids that must be on Kafka: one for each execution of a user and for each order event."""
    async with await psycopg.AsyncConnection.connect(
        stage.installation["database_url"], row_factory=dict_row
    ) as connection:
        await connection.execute("set search_path to trading_engine")
        cursor = await connection.execute(
            """select venue || '/' || epoch || '/' || venue_sequence || '/execution-' || leg as id
            from executions join venues using (venue_id) where position_after is not null"""
        )
        return {row["id"] for row in await cursor.fetchall()}


@pytest.mark.parametrize("step", STEPS)
async def test_an_engine_killed_at_any_step_of_a_batch_loses_and_doubles_nothing(stage: Scene, step: str) -> None:
    stage.engine.start()
    await stage.engine.ready()
    await make_venue(stage)
    stage.engine.kill()
    stage.engine.start(AAC_FAILPOINT=f"{step}:20")
    clients = [stage.client(name, seed) for name in ("alice", "bob") for seed in range(3)]
    enough = asyncio.Event()
    trading = [asyncio.create_task(client.trade(enough)) for client in clients]
    await stage.engine.died()
    stage.engine.start(AAC_FAILPOINT=f"{step}:40")
    await stage.engine.died()
    stage.engine.start()
    await stage.engine.ready()
    await asyncio.sleep(0.3)
    enough.set()
    await asyncio.gather(*trading)
    traders = [merged(clients, name) for name in ("alice", "bob")]
    assert sum(len(client.answers) for client in traders) > 40
    await check_clients(traders)
    await check_ledger(stage)
    wanted = await expected_events(stage)
    assert wanted
    await events_on_kafka(stage, wanted)


async def test_an_engine_killed_at_random_times_loses_and_doubles_nothing(stage: Scene) -> None:
    randomness = random.Random(11)
    stage.engine.start()
    await stage.engine.ready()
    await make_venue(stage)
    clients = [stage.client(name, seed) for name in ("alice", "bob") for seed in range(5)]
    enough = asyncio.Event()
    trading = [asyncio.create_task(client.trade(enough)) for client in clients]
    for _ in range(3):
        await asyncio.sleep(0.3 + randomness.random() / 2)
        stage.engine.kill()
        stage.engine.start()
        await stage.engine.ready()
    enough.set()
    await asyncio.gather(*trading)
    await check_clients([merged(clients, name) for name in ("alice", "bob")])
    await check_ledger(stage)


async def test_an_engine_that_was_stopped_by_the_system_must_not_write_any_more(stage: Scene) -> None:
    """Its lease ran out, another engine took over, and it wakes up in the middle of its work."""
    stage.engine.start()
    await stage.engine.ready()
    await make_venue(stage)
    first = stage.client("alice", 1)
    enough = asyncio.Event()
    trading = asyncio.create_task(first.trade(enough))
    await asyncio.sleep(0.5)
    stage.engine.signal(signal.SIGSTOP)
    other = stage.another_engine()
    try:
        other.start()
        await other.ready()
        second = Client(other.address, stage.signer, "crash", "bob", 2)
        done = asyncio.Event()
        taking_over = asyncio.create_task(second.trade(done))
        async with asyncio.timeout(60):
            while len(second.answers) < 10:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        stage.engine.signal(signal.SIGCONT)
        await asyncio.sleep(1)
        done.set()
        await taking_over
        trading.cancel()
        await asyncio.gather(trading, return_exceptions=True)
        # What the woken engine had taken it hands on to the other one; that comes to its end before the books are read.
        await asyncio.sleep(1)
        first.address = second.address
        await check_clients([first, second])
        await check_ledger(stage)
    finally:
        other.kill()


def merged(clients: Sequence[Client], name: str) -> Client:
    """All that one account's clients were told."""
    own = [client for client in clients if client.account == name]
    merged = Client(own[0].address, own[0].signer, own[0].venue, name, 0)
    for client in own:
        merged.answers |= client.answers
        merged.cancels |= client.cancels
    return merged
