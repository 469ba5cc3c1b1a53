"""Isolated venues, and recorded flow into them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aac.trading.v1 import trading_pb2, venue_pb2
from aac.type.v1 import stream_pb2
from aac.type.v1.money_pb2 import Money
from grpc import aio
from pydantic import SecretStr

from aac_grpc.client.errors import InvalidFields, KeyReused, NotFound, PermissionDenied, WrongState
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.feeds import runner
from aac_grpc.feeds.runner import FeedSettings, feed, venue_service
from tests.integration.trading import (
    BUY,
    FILLED,
    OPEN,
    SELL,
    Stack,
    VenueUnderTest,
    account,
    instrument,
    new_venue,
    stack,
)
from tests.integration.trading_feed import Feeder, new, take
from tests.support import mesh


@pytest.fixture(scope="module")
async def engine(installation: dict[str, Any]) -> AsyncIterator[Stack]:
    async with stack(installation, feed_chunk_rows=4) as running:
        yield running


@pytest.fixture
async def venue(engine: Stack) -> AsyncIterator[VenueUnderTest]:
    async with new_venue(engine) as venue:
        yield venue


async def test_a_venue_is_made_once_listed_and_removed_once(engine: Stack) -> None:
    service = engine.service()
    request = venue_pb2.CreateVenueRequest(
        venue="quick", instruments=[instrument()], accounts=[account("alice"), account("bob")]
    )
    made = await service.CreateVenue(request)
    assert [each.symbol for each in made.venue.instruments] == ["GOOG"]
    assert await service.CreateVenue(request) == made
    request.accounts.append(account("carol"))
    with pytest.raises(KeyReused):
        await service.CreateVenue(request)
    listed = await service.ListVenues(venue_pb2.ListVenuesRequest())
    assert [each.venue for each in listed.venues] == ["main", "quick"]
    assert (await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue="quick"))).deleted
    assert not (await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue="quick"))).deleted
    with pytest.raises(NotFound):
        await service.GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue="quick"))


async def test_a_venue_is_made_and_removed_in_under_a_second(engine: Stack) -> None:
    service = engine.service()
    took = []
    for number in range(5):
        began = time.perf_counter()
        await service.CreateVenue(
            venue_pb2.CreateVenueRequest(
                venue=f"quick-{number}", instruments=[instrument()], accounts=[account("alice")]
            )
        )
        await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=f"quick-{number}"))
        took.append(time.perf_counter() - began)
    assert min(took) < 1  # the fastest: other processes only ever make it slower


async def test_a_name_that_is_used_again_is_another_venue_with_another_numbering(engine: Stack) -> None:
    service = engine.service()
    request = venue_pb2.CreateVenueRequest(venue="again", instruments=[instrument()], accounts=[account("alice")])
    first = (await service.CreateVenue(request)).venue
    order = trading_pb2.PlaceOrderRequest(
        venue="again", client_order_id="k", symbol="GOOG", side=BUY, type=1, quantity="1", price="5"
    )
    await engine.trader("alice").PlaceOrder(order)
    await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue="again"))
    second = (await service.CreateVenue(request)).venue
    assert second.epoch > first.epoch
    assert not (await engine.trader("alice").ListOrders(trading_pb2.ListOrdersRequest(venue="again"))).orders
    order.quantity = "2"
    assert (await engine.trader("alice").PlaceOrder(order)).order.state == OPEN


async def test_the_main_venue_is_there_from_the_first_start_and_stays(engine: Stack) -> None:
    snapshot = await engine.service().GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue="main"))
    assert snapshot.epoch
    with pytest.raises(WrongState):
        await engine.service().DeleteVenue(venue_pb2.DeleteVenueRequest(venue="main"))


async def test_what_a_venue_begins_with_is_checked_as_a_whole(engine: Stack) -> None:
    service = engine.service()

    async def refused(**fields: Any) -> list[str]:
        with pytest.raises(InvalidFields) as error:
            await service.CreateVenue(venue_pb2.CreateVenueRequest(venue="wrong", **fields))
        return [violation.field for violation in error.value.violations]

    assert await refused(instruments=[instrument(tick="0.000")]) == ["instruments[0].tick_size"]
    large = instrument()
    large.max_quantity = "9000000000000000"
    assert await refused(instruments=[large]) == ["instruments[0].max_quantity"]
    assert await refused(instruments=[instrument(), instrument()]) == ["instruments[1].symbol"]
    assert await refused(accounts=[account("a", "-1")]) == ["accounts[0].cash.amount"]
    assert await refused(accounts=[account("a"), account("a")]) == ["accounts[1].account_id"]
    with pytest.raises(NotFound):
        await service.GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue="wrong"))


async def test_users_can_reach_nothing_of_it(engine: Stack) -> None:
    user = engine.caller(type(engine.service()._stub), subject="u", scopes=("orders:write",), accounts=("a",))
    with pytest.raises(PermissionDenied):
        await user.CreateVenue(venue_pb2.CreateVenueRequest(venue="mine"))


async def test_recorded_orders_rest_trade_and_are_compared(venue: VenueUnderTest) -> None:
    feeder = Feeder(venue.service, venue.name)
    assert (await feeder.open()).last_row == -1
    rows = [
        venue_pb2.FeedRow(row=0, items=[new("a", SELL, 57000, 10)]),
        venue_pb2.FeedRow(row=1, items=[new("b", BUY, 56900, 7)]),
        venue_pb2.FeedRow(
            row=2,
            items=[take(BUY, 57000, 2, "a", 4)],
            expected=venue_pb2.FeedTopOfBook(bid_price=56900, bid_quantity=7, ask_price=57000, ask_quantity=6),
        ),
    ]
    run = (await feeder.send(rows)).run
    assert (run.rows, run.applied, run.diverged, run.compared, run.top_equal) == (3, 3, 0, 1, 1)
    assert await venue.book() == ([("569", "7")], [("570", "6")])
    again = (await feeder.send(rows)).run
    assert again == run
    await feeder.close()
    executions = await venue.operator.ListExecutions(trading_pb2.ListExecutionsRequest(venue=venue.name))
    assert [(each.account_id, each.position_after) for each in executions.executions] == [("flow", "")] * 2


async def test_a_user_who_trades_makes_rows_diverge_and_every_row_is_counted(venue: VenueUnderTest) -> None:
    feeder = Feeder(venue.service, venue.name)
    await feeder.open()
    await feeder.send([venue_pb2.FeedRow(row=0, items=[new("a", SELL, 57000, 10)])])
    bought = await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))
    assert bought.order.state == FILLED
    reduce = venue_pb2.FeedItem(reduce=venue_pb2.FeedReduce(order_ref="a", quantity=3))
    run = (await feeder.send([venue_pb2.FeedRow(row=1, items=[reduce]), venue_pb2.FeedRow(row=2)])).run
    assert (run.rows, run.applied, run.diverged) == (3, 2, 1)
    await feeder.close()


async def test_a_run_goes_on_where_it_was_after_a_restart(engine: Stack, venue: VenueUnderTest) -> None:
    feeder = Feeder(venue.service, venue.name)
    await feeder.open()
    rows = [venue_pb2.FeedRow(row=row, items=[new(f"n{row}", BUY, 50000 + row, 1)]) for row in range(30)]
    await feeder.send(rows[:17])
    await feeder.close()
    await engine.restart(feed_chunk_rows=4)
    feeder = Feeder(engine.service(), venue.name)
    assert (await feeder.open()).last_row == 16
    run = (await feeder.send(rows[10:])).run
    assert (run.last_row, run.rows, run.applied) == (29, 30, 30)
    await feeder.close()


@pytest.fixture
def short_day(tmp_path: Path) -> Path:
    """A recorded day of two orders."""
    name = "X_2012-06-21_34200000_57600000_{}_1.csv"
    (tmp_path / name.format("message")).write_text("34200.1,1,1,5,1000000,1\n34200.2,1,2,5,1010000,-1\n")
    (tmp_path / name.format("orderbook")).write_text(
        "9999999999,0,1000000,5\n1010000,5,1000000,5\n",
    )
    return tmp_path


async def test_a_day_as_fast_as_it_can_is_played_once_and_at_a_pace_again_and_again(
    engine: Stack, venue: VenueUnderTest, short_day: Path
) -> None:
    settings = FeedSettings(
        registry_address="",
        service_secret=SecretStr(derive_service_secret(mesh.MESH_SECRET, "feed")),
        auth_address=engine.auth.address,
        trading_address=engine.engine.address,
        feed_day=str(short_day),
        feed_venue=venue.name,
    )
    day = settings.source()
    async with venue_service(settings) as venues, asyncio.timeout(60):
        once = runner.Feeder(venues, day, "X", venue.name, 0)

        async def run(number: int) -> venue_pb2.FeedRun:
            request = venue_pb2.GetFeedRunRequest(venue=venue.name, run_id=once.run_id(number))
            return (await venue.service.GetFeedRun(request)).run

        for _ in range(2):  # A feeder that comes back finds the day played.
            await once.play_on()
            assert (await run(1)).rows == day.total_rows("X")
            with pytest.raises(NotFound):
                await run(2)
        idling = asyncio.create_task(feed(settings.model_copy(update={"feed_speed": 0.0})))
        assert not (await asyncio.wait({idling}, timeout=0.5))[0]
        idling.cancel()
        await asyncio.wait({idling})
        repeating = asyncio.create_task(runner.Feeder(venues, day, "X", venue.name, 1000).play_on())
        while True:
            with contextlib.suppress(NotFound):
                await run(3)
                break
            await asyncio.sleep(0.05)
        repeating.cancel()
        await asyncio.wait({repeating})


async def test_a_bad_row_refuses_its_message_and_the_stream_goes_on(venue: VenueUnderTest) -> None:
    feeder = Feeder(venue.service, venue.name)
    await feeder.open()
    refused = await feeder.send([venue_pb2.FeedRow(row=0), venue_pb2.FeedRow(row=1, items=[new("a", 0, 1, 1)])])
    assert refused.header.kind == stream_pb2.FRAME_KIND_ITEM_STATUS
    assert refused.header.status.code == 3
    assert not refused.HasField("run")
    # So many, again and again, would outgrow what a level's sum is written down in.
    refused = await feeder.send([venue_pb2.FeedRow(row=0, items=[new("a", BUY, 1, 2**62)])])
    assert refused.header.status.code == 3
    run = (await feeder.send([venue_pb2.FeedRow(row=0, items=[new("a", BUY, 1, 1)])])).run
    assert run.rows == 1
    await feeder.close()


async def test_an_order_waits_for_a_chunk_of_a_feed_and_not_for_all_of_it(venue: VenueUnderTest) -> None:
    """The first answer of a long message comes after an order that was sent later."""
    feeder = Feeder(venue.service, venue.name)
    await feeder.open()
    rows = [venue_pb2.FeedRow(row=row, items=[new(f"n{row}", BUY, 50000, 1)]) for row in range(400)]
    await feeder._call.write(venue_pb2.FeedRequest(rows=rows))
    placed = await venue.alice.PlaceOrder(venue.order(BUY, 1, "1"))
    run = (await feeder._call.read()).run
    assert run.rows == 400
    order = placed.order
    state = await venue.service.GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue=venue.name))
    assert order.venue_sequence < state.sequence
    await feeder.close()


async def test_money_is_exact(venue: VenueUnderTest) -> None:
    request = trading_pb2.OpenAccountRequest(
        venue=venue.name, account_id="carol", cash=Money(currency="USD", amount="0.00000001")
    )
    opened = await venue.operator.OpenAccount(request)
    assert opened.account.cash_available.amount == "0.00000001"


async def test_a_feeder_is_told_to_connect_again_when_the_engine_stops(engine: Stack, venue: VenueUnderTest) -> None:
    feeder = Feeder(venue.service, venue.name)
    await feeder.open()
    await feeder.send([venue_pb2.FeedRow(row=0, items=[new("a", BUY, 1, 1)])])
    restarting = asyncio.create_task(engine.restart(feed_chunk_rows=4))
    assert (await feeder._call.read()).header.kind == stream_pb2.FRAME_KIND_DRAINING
    assert await feeder._call.read() is aio.EOF
    await restarting
