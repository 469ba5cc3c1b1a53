"""A request that breaks the engine's code, among others that share its batch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aac.trading.v1 import order_pb2, trading_pb2, venue_pb2
from aac.trading.v1.venue_pb2 import FeedRun
from google.protobuf.message import Message

from aac_grpc.client.errors import Internal
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.database import Database
from aac_grpc.common.migrations import migrate
from aac_grpc.domain.commands import AdjustCash
from aac_grpc.domain.orders import OrderIntent, Verdict
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers import trading
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.failpoints import Failpoint
from aac_grpc.servicers.trading.feed_requests import ApplyRows, OpenFeed
from aac_grpc.servicers.trading.feed_rows import feed_row
from aac_grpc.servicers.trading.journal import Journal
from aac_grpc.servicers.trading.leases import Leases
from aac_grpc.servicers.trading.memory import Memory
from aac_grpc.servicers.trading.order_requests import Cancel, Place
from aac_grpc.servicers.trading.pending import Pending
from aac_grpc.servicers.trading.recovery import recover
from aac_grpc.servicers.trading.risk import RiskCheck
from aac_grpc.servicers.trading.settings import TradingSettings
from aac_grpc.servicers.trading.venue_requests import SetUpVenue
from aac_grpc.servicers.trading.venue_table import VenueTable
from aac_grpc.servicers.trading.writer import VenueWriter
from tests.integration.trading import BUY, LIMIT, OPEN, SELL, account, instrument


class Lenient(RiskCheck):
    """Risk-management that accepts all, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def judge(self, venue: Venue, intents: Sequence[OrderIntent]) -> list[Verdict]:
        self.asked.append(len(intents))
        return [Verdict(accepted=True) for _ in intents]


class BrokenPlace(Place):
    """An order that breaks the code after it has changed memory."""

    def run(self, batch: Batch, verdict: Verdict | None) -> trading_pb2.PlaceOrderResponse:
        super().run(batch, verdict)
        raise RuntimeError("broken on purpose")


class BrokenRows(ApplyRows):
    """Rows that break the code after they have changed memory."""

    def run(self, batch: Batch, verdict: Verdict | None) -> FeedRun:
        super().run(batch, verdict)
        raise RuntimeError("broken on purpose")


@dataclass
class Desk:
    """A venue's writer on a real database, without what surrounds it."""

    writer: VenueWriter
    memory: Memory
    risk: Lenient
    batches: list[Batch]
    recovered: Callable[[], Any]

    def place(self, key: str, side: int = BUY, price: str = "570", kind: type[Place] = Place) -> Pending:
        message = trading_pb2.PlaceOrderRequest(
            venue="desk", account_id="alice", client_order_id=key, symbol="GOOG", side=side,  # type: ignore[arg-type]
            type=LIMIT, quantity="1", price=price,
        )  # fmt: skip
        return self.writer.enqueue(kind(message))

    def cancel(self, order_id: str) -> Pending:
        request = trading_pb2.CancelOrderRequest(
            venue="desk", account_id="alice", order_id=order_id, request_id=f"c-{order_id}"
        )
        return self.writer.enqueue(Cancel(request))

    def rows(self, number: int, follows: Pending | None = None, kind: type[ApplyRows] = ApplyRows) -> Pending:
        new = venue_pb2.FeedNew(order_ref=f"r{number}", side=SELL, price=60000, quantity=number + 1)
        message = venue_pb2.FeedRow(row=number, items=[venue_pb2.FeedItem(new=new)])
        return self.writer.enqueue(kind("run", [message], [feed_row(message, "row")], follows))

    async def check(self) -> None:
        """Memory is what is committed."""
        live = await self.recovered()
        assert live.venue.state_hash() == self.memory.live.venue.state_hash()
        assert (live.batch, live.chain) == (self.memory.live.batch, self.memory.live.chain)
        assert len(live.orders) == len(list(live.venue.open_orders("alice")))


async def outcomes(pendings: Sequence[Pending]) -> list[Message | BaseException]:
    async with asyncio.timeout(20):
        return await asyncio.gather(*(each.wait() for each in pendings), return_exceptions=True)


@pytest.fixture
async def desk(installation: dict[str, Any], request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    settings = TradingSettings(**installation, service_secret="x" * 32, venue_lease_s=30)
    database = Database(installation["database_url"], schema="trading_engine")
    await database.open()
    await migrate(database, trading.service.migrations or "")
    row = await VenueTable(database).create(request.node.name[:30])
    lease = await Leases(database, "test", 30).acquire(row.venue_id)
    assert lease is not None

    async def recovered() -> Any:
        return await recover(database, row.venue_id, row.name)

    memory, risk, batches = Memory(await recovered(), recovered), Lenient(), list[Batch]()
    journal = Journal(database, lease, 30, 5, Failpoint())
    writer = VenueWriter(memory, journal, risk, SystemClock(), settings, batches.append, Failpoint())
    running = asyncio.create_task(writer.run())
    opening = venue_pb2.CreateVenueRequest(venue=row.name, instruments=[instrument()], accounts=[account("alice")])
    await writer.submit(SetUpVenue(opening, row.epoch, 0))
    feed = venue_pb2.FeedOpen(venue=row.name, run_id="run", account_id="flow", instrument=instrument())
    await writer.enqueue(OpenFeed(feed, row.name)).wait()
    yield Desk(writer, memory, risk, batches, recovered)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()


async def test_one_order_that_breaks_the_engine_fails_alone_among_twenty(desk: Desk) -> None:
    good = [desk.place(f"good-{number}") for number in range(10)]
    culprit = desk.place("bad", kind=BrokenPlace)
    good += [desk.place(f"good-{number}") for number in range(10, 20)]
    rows: list[Pending] = []
    for number in range(5):
        rows.append(desk.rows(number, rows[-1] if rows else None))
    failure, *results = await outcomes([culprit, *good, *rows])
    assert isinstance(failure, Internal)
    answers, told = results[:20], results[20:]
    assert [each.order.state for each in answers] == [OPEN] * 20  # type: ignore[union-attr]
    assert len({each.order.order_id for each in answers}) == 20  # type: ignore[union-attr]
    assert [each.last_row for each in told] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert sorted(order.client_order_id for order in desk.memory.live.venue.open_orders("alice")) == sorted(
        f"good-{number}" for number in range(20)
    )
    await desk.check()
    (again,) = await outcomes([desk.place("bad")])
    assert again.order.state == OPEN  # type: ignore[union-attr]
    await desk.check()


async def test_orders_cancels_and_rows_of_a_broken_batch_are_done_once_and_in_order(desk: Desk) -> None:
    resting = [each.order.order_id for each in await outcomes([desk.place(f"old-{n}") for n in range(6)])]  # type: ignore[union-attr]
    # All that passes risk by is ready at once, so that the broken rows share a batch with all of it.
    cancels = [desk.cancel(order_id) for order_id in resting]
    await asyncio.sleep(0)
    first, second = desk.rows(0), desk.rows(1)
    broken = desk.rows(2, second, BrokenRows)
    behind = desk.rows(3, broken)
    orders = [desk.place(f"new-{number}") for number in range(10)]
    results = await outcomes([*cancels, *orders, first, second, broken, behind])
    assert [each.canceled for each in results[:6]] == [True] * 6  # type: ignore[union-attr]
    done, also_done, failed, refused = results[16:]
    assert (done.last_row, also_done.last_row) == (0, 1)  # type: ignore[union-attr]
    assert isinstance(failed, Internal)
    assert isinstance(refused, Internal), "rows behind a gap must not make the missing ones old"
    assert [each.order.state for each in results[6:16]] == [OPEN] * 10  # type: ignore[union-attr]
    (resumed,) = await outcomes([desk.rows(2)])
    assert (resumed.last_row, resumed.rows) == (2, 3)  # type: ignore[union-attr]
    cancelled = [
        message.order_canceled.order_id
        for batch in desk.batches
        for message in batch.messages
        if message.HasField("order_canceled")
    ]
    assert cancelled == resting
    await desk.check()


async def test_verdicts_of_the_memory_before_are_asked_for_again(desk: Desk) -> None:
    pendings = [desk.place(f"o{number}", kind=BrokenPlace if number == 3 else Place) for number in range(8)]
    results = await outcomes(pendings)
    assert [index for index, each in enumerate(results) if isinstance(each, Internal)] == [3]
    assert sum(desk.risk.asked) > 8
    assert all(each.order.state == order_pb2.ORDER_STATE_OPEN for each in results if not isinstance(each, Internal))  # type: ignore[union-attr]
    await desk.check()


async def test_a_venue_that_was_left_by_a_broken_request_takes_cash_and_orders_as_before(desk: Desk) -> None:
    (failure,) = await outcomes([desk.place("bad", kind=BrokenPlace)])
    assert isinstance(failure, Internal)
    assert desk.memory.live.venue.validate(AdjustCash("alice", 1)) == ()
    (answer,) = await outcomes([desk.place("good")])
    assert answer.order.state == OPEN  # type: ignore[union-attr]
    await desk.check()
