"""PostgreSQL, Kafka or the lease goes away under the engine: it says so, and goes on when it is back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from aac.event.v1.event_pb2 import Event
from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1 import venue_pb2

from aac_grpc.client.errors import AacError, Unavailable, UnknownOutcome
from aac_grpc.common.database import CommitUnknown
from aac_grpc.common.events import EventTail
from aac_grpc.common.topics import ACCOUNTS, EXECUTIONS, ORDERS, TRADES
from aac_grpc.servicers.trading.journal import Journal
from aac_grpc.servicers.trading.open_venue import OpenVenue
from tests.integration.services import database_away, eventually, new_installation
from tests.integration.trading import BUY, FILLED, OPEN, SELL, Stack, VenueUnderTest, new_venue, stack


@pytest.fixture
async def engine(backends: dict[str, str]) -> AsyncIterator[Stack]:
    async with (
        new_installation(backends) as installation,
        stack(installation, venue_lease_s=1.0, commit_timeout_s=2.0, outcome_timeout_s=1.0) as running,
    ):
        yield running


@pytest.fixture
async def venue(engine: Stack) -> AsyncIterator[VenueUnderTest]:
    async with new_venue(engine) as venue:
        yield venue


async def open_venue(venue: VenueUnderTest) -> OpenVenue:
    """The engine's own view of the venue."""
    exchange: Any = venue.stack.engine.servicers[0]
    opened: OpenVenue = await exchange._exchange.locate(venue.name)
    return opened


async def insist(call: Any, request: Any) -> Any:
    """Repeats a call under its key until it is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call(request)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_database_that_goes_away_fails_orders_with_a_reason_and_none_is_lost_or_doubled(
    engine: Stack, venue: VenueUnderTest
) -> None:
    requests = [venue.order(BUY, 1, "570", client_order_id=f"d{number}") for number in range(60)]
    failures: list[AacError] = []

    async def place(request: pb.PlaceOrderRequest) -> pb.PlaceOrderResponse:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer: pb.PlaceOrderResponse = await venue.alice.PlaceOrder(request)
                    return answer
                except Unavailable as error:
                    failures.append(error)
                    await asyncio.sleep(0.1)

    placing = [asyncio.create_task(place(request)) for request in requests[:30]]
    await asyncio.sleep(0.05)
    async with database_away(engine.installation):
        placing += [asyncio.create_task(place(request)) for request in requests[30:]]
        await asyncio.sleep(1.5)
    answers = await asyncio.gather(*placing)
    assert failures
    page = pb.ListOrdersRequest(venue=venue.name)
    page.page.page_size = 1000
    orders = (await venue.alice.ListOrders(page)).orders
    assert sorted(order.order_id for order in orders) == sorted(answer.order.order_id for answer in answers)
    assert await venue.book() == ([("570", "60")], [])


@pytest.mark.parametrize("committed", [True, False])
async def test_a_broken_commit_is_looked_up_and_never_guessed(
    venue: VenueUnderTest, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The connection breaks during COMMIT; whether the transaction is there decides what callers are told."""
    write = Journal.commit

    async def broken(journal: Journal, batch: Any) -> None:
        if committed:
            await write(journal, batch)
        raise CommitUnknown

    request = venue.order(BUY, 2, "570", client_order_id="unsure")
    monkeypatch.setattr(Journal, "commit", broken)
    placing = asyncio.create_task(venue.alice.PlaceOrder(request))
    if committed:
        first = await placing
        monkeypatch.undo()
    else:
        with pytest.raises(Unavailable):
            await placing
        monkeypatch.undo()
        first = await insist(venue.alice.PlaceOrder, request)
    assert first.order.state == OPEN
    assert await venue.alice.PlaceOrder(request) == first
    assert len((await venue.alice.ListOrders(pb.ListOrdersRequest(venue=venue.name))).orders) == 1
    assert (await venue.bob.PlaceOrder(venue.order(SELL, 2, "570"))).order.state == FILLED


async def test_what_cannot_be_told_is_said_to_be_unknown_and_a_retry_tells(
    engine: Stack, venue: VenueUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Journal.commit

    async def broken(journal: Journal, batch: Any) -> None:
        await write(journal, batch)
        raise CommitUnknown

    async def silent(journal: Journal, batch: Any, timeout_s: float) -> Any:
        raise Unavailable

    request = venue.order(BUY, 2, "570", client_order_id="unsure")
    monkeypatch.setattr(Journal, "commit", broken)
    monkeypatch.setattr(Journal, "outcome", silent)
    with pytest.raises(UnknownOutcome):
        await venue.alice.PlaceOrder(request)
    monkeypatch.undo()
    answer = await insist(venue.alice.PlaceOrder, request)
    assert answer.order.state == OPEN
    assert len((await venue.alice.ListOrders(pb.ListOrdersRequest(venue=venue.name))).orders) == 1


async def test_an_order_that_breaks_the_writer_harms_nobody_else(
    venue: VenueUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = (await venue.bob.PlaceOrder(venue.order(SELL, 5, "570"))).order
    opened = await open_venue(venue)
    live = opened.writer._memory.live
    execute = live.venue.execute

    def faulty(command: Any, *rest: Any) -> Any:
        events = execute(command, *rest)
        if getattr(command, "client_order_id", "") == "poison":
            raise RuntimeError("a fault of ours, after the book has changed")
        return events

    monkeypatch.setattr(live.venue, "execute", faulty)
    with pytest.raises(AacError) as failed:
        await venue.alice.PlaceOrder(venue.order(BUY, 5, "570", client_order_id="poison"))
    assert failed.value.reason == "INTERNAL"
    found = await venue.bob.GetOrder(pb.GetOrderRequest(venue=venue.name, order_id=resting.order_id))
    assert found.order.open_quantity == "5"
    assert (await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))).order.state == FILLED


async def test_an_engine_that_lost_its_lease_commits_nothing_under_it(engine: Stack, venue: VenueUnderTest) -> None:
    opened = await open_venue(venue)
    epoch = opened.lease.epoch
    async with await psycopg.AsyncConnection.connect(
        engine.installation["database_url"], autocommit=True
    ) as connection:
        await connection.execute("set search_path to trading_engine")
        await connection.execute(
            "update leases set epoch = epoch + 1, holder = 'another', expires_at = now() + interval '1 s'"
            " where venue_id = %s",
            (opened.row.venue_id,),
        )
        # The other instance never comes to life: the call waits until this one takes the venue again.
        placed = await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", client_order_id="late"))
        assert placed.order.state == OPEN
        cursor = await connection.execute(
            "select lease_epoch from journal where venue_id = %s order by batch desc limit 1", (opened.row.venue_id,)
        )
        assert await cursor.fetchone() == (epoch + 2,)


async def test_snapshots_make_recovery_short_and_state_equal(engine: Stack, backends: dict[str, str]) -> None:
    await engine.restart(snapshot_events=10, venue_lease_s=1.0)
    async with new_venue(engine) as venue:
        for number in range(40):
            await venue.alice.PlaceOrder(venue.order(BUY, 1, str(500 + number % 7)))
        opened = await open_venue(venue)
        before = opened.writer._memory.live.venue.state_hash()
        await opened.writer._memory.rebuild()
        assert opened.writer._memory.live.venue.state_hash() == before
        async with await psycopg.AsyncConnection.connect(engine.installation["database_url"]) as connection:
            cursor = await connection.execute(
                "select count(*) from trading_engine.snapshots where venue_id = %s", (opened.row.venue_id,)
            )
            row = await cursor.fetchone()
            assert row is not None
            assert 1 <= row[0] <= 2


async def test_while_kafka_is_away_orders_go_on_and_events_follow_later(
    engine: Stack, backends: dict[str, str]
) -> None:
    await engine.restart(kafka_bootstrap_servers="127.0.0.1:1", venue_lease_s=1.0)
    async with new_venue(engine) as venue:
        await venue.bob.PlaceOrder(venue.order(SELL, 3, "570"))
        assert (await venue.alice.PlaceOrder(venue.order(BUY, 3, "570"))).order.state == FILLED
        await engine.restart(venue_lease_s=1.0)
        await eventually(lambda: _is_served(venue))
        events = await _events_of(venue.name, backends["KAFKA_BOOTSTRAP_SERVERS"], 11)
    by_type = sorted((event.type, event.key) for event in events)
    name = venue.name
    assert by_type == [
        ("aac.account.cash_adjusted", f"{name}/alice"),
        ("aac.account.cash_adjusted", f"{name}/bob"),
        ("aac.account.opened", f"{name}/alice"),
        ("aac.account.opened", f"{name}/bob"),
        ("aac.execution.created", f"{name}/alice"),
        ("aac.execution.created", f"{name}/bob"),
        ("aac.order.accepted", f"{name}/alice"),
        ("aac.order.accepted", f"{name}/bob"),
        ("aac.order.filled", f"{name}/alice"),
        ("aac.order.filled", f"{name}/bob"),
        ("aac.trade.executed", f"{name}/GOOG"),
    ]
    assert len({event.event_id for event in events}) == len(events)
    (trade,) = (event.trade for event in events if event.HasField("trade"))
    assert (trade.price, trade.quantity) == ("570", "3")


async def _is_served(venue: VenueUnderTest) -> bool:
    try:
        await venue.service.GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue=venue.name))
    except Unavailable:
        return False
    return True


async def _events_of(venue: str, kafka: str, count: int) -> list[Event]:
    """The venue's first domain events on Kafka."""
    tail = EventTail(kafka, [ORDERS, TRADES, EXECUTIONS, ACCOUNTS], from_beginning=True)
    await tail.open()
    found: list[Event] = []
    try:
        async with asyncio.timeout(30):
            async for batch in tail.batches():
                events = [Event.FromString(each.value) for each in batch]
                found += [event for event in events if event.venue == venue]
                if len(found) >= count:
                    return found
    finally:
        await tail.close()
    raise AssertionError("the tail ended")
