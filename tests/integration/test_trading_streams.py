"""What is streamed: an account's orders and a venue's events, resumable and without a silent gap."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aac.trading.v1 import trading_pb2, venue_pb2
from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING, FRAME_KIND_GAP, FRAME_KIND_SNAPSHOT, FRAME_KIND_UPDATE
from grpc import aio

from tests.integration.trading import BUY, CANCELED, FILLED, OPEN, SELL, Stack, VenueUnderTest, new_venue, stack
from tests.integration.trading_streams import resume, watching


@pytest.fixture(scope="module")
async def engine(installation: dict[str, Any]) -> AsyncIterator[Stack]:
    async with stack(installation) as running:
        yield running


@pytest.fixture
async def venue(engine: Stack) -> AsyncIterator[VenueUnderTest]:
    async with new_venue(engine) as venue:
        yield venue


async def test_watching_begins_with_the_open_orders_and_goes_on_with_each_change(venue: VenueUnderTest) -> None:
    resting = (await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))).order
    async with watching(venue.alice, trading_pb2.WatchOrdersRequest(venue=venue.name)) as reader:
        snapshot = await reader.frame()
        assert snapshot.header.kind == FRAME_KIND_SNAPSHOT
        assert [order.order_id for order in snapshot.orders] == [resting.order_id]
        await venue.bob.PlaceOrder(venue.order(SELL, 4, "570"))
        await venue.alice.CancelOrder(venue.cancel(resting.order_id))
        assert await reader.orders_until(3) == [(OPEN, "6"), (CANCELED, "0")]


async def test_a_watcher_that_comes_back_misses_nothing(venue: VenueUnderTest) -> None:
    request = trading_pb2.WatchOrdersRequest(venue=venue.name)
    async with watching(venue.alice, request) as reader:
        request.resume.CopyFrom(resume(await reader.frame()))
    for _ in range(3):
        order = (await venue.alice.PlaceOrder(venue.order(BUY, 1, "570"))).order
    await venue.alice.AmendOrder(venue.amend(order.order_id, price="570.1"))
    async with watching(venue.alice, request) as reader:
        assert await reader.orders_until(4) == [(OPEN, "1")] * 4


async def test_a_watcher_goes_on_from_the_journal_after_a_restart(engine: Stack, venue: VenueUnderTest) -> None:
    request = trading_pb2.WatchOrdersRequest(venue=venue.name)
    async with watching(venue.alice, request) as reader:
        request.resume.CopyFrom(resume(await reader.frame()))
    order = (await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))).order
    await venue.bob.PlaceOrder(venue.order(SELL, 5, "570"))
    await venue.alice.CancelOrder(venue.cancel(order.order_id))
    await venue.alice.PlaceOrder(venue.order(BUY, 2, "569"))
    await engine.restart()
    async with watching(engine.trader("alice"), request) as reader:
        # The refused cancel has a number of its own and changes no order.
        assert await reader.orders_until(4) == [(OPEN, "5"), (FILLED, "0"), (OPEN, "2")]


async def test_an_order_is_the_same_from_the_answer_the_journal_and_the_list(
    engine: Stack, venue: VenueUnderTest
) -> None:
    request = trading_pb2.WatchOrdersRequest(venue=venue.name)
    async with watching(venue.alice, request) as reader:
        request.resume.CopyFrom(resume(await reader.frame()))
    await venue.bob.PlaceOrder(venue.order(SELL, 2, "570"))
    placed = (await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))).order
    amended = (await venue.alice.AmendOrder(venue.amend(placed.order_id, price="569"))).order
    await engine.restart()
    alice = engine.trader("alice")
    async with watching(alice, request) as reader:
        frame = await reader.frame()
    assert list(frame.orders)[1:] == [placed, amended]
    listed = await alice.ListOrders(trading_pb2.ListOrdersRequest(venue=venue.name))
    assert list(listed.orders) == [amended]


async def test_following_a_venue_from_its_beginning_gives_every_event_once(venue: VenueUnderTest) -> None:
    await venue.bob.PlaceOrder(venue.order(SELL, 5, "570"))
    await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))
    request = venue_pb2.FollowMarketRequest(venue=venue.name)
    sequences: list[int] = []
    async with watching(venue.service, request, "FollowMarket") as reader:
        while not sequences or sequences[-1] < 8:
            sequences += [event.sequence for event in (await reader.frame()).events]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_following_goes_on_across_a_restart_with_the_same_numbering(engine: Stack, venue: VenueUnderTest) -> None:
    await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))
    snapshot = await venue.service.GetMarketSnapshot(venue_pb2.GetMarketSnapshotRequest(venue=venue.name))
    for _ in range(5):
        await venue.alice.PlaceOrder(venue.order(BUY, 1, "569"))
    await engine.restart()
    request = venue_pb2.FollowMarketRequest(venue=venue.name, epoch=snapshot.epoch, after_sequence=snapshot.sequence)
    seen: list[int] = []
    async with watching(engine.service(), request, "FollowMarket") as reader:
        while len(seen) < 5:
            frame = await reader.frame()
            assert (frame.header.kind, frame.header.epoch) == (FRAME_KIND_UPDATE, snapshot.epoch)
            seen += [event.sequence for event in frame.events]
        await engine.trader("alice").PlaceOrder(venue.order(BUY, 1, "568"))
        seen += [event.sequence for event in (await reader.frame()).events]
    assert seen == list(range(snapshot.sequence + 1, snapshot.sequence + 7))


async def test_a_numbering_of_another_life_gets_a_gap(venue: VenueUnderTest) -> None:
    request = venue_pb2.FollowMarketRequest(venue=venue.name, epoch=1, after_sequence=3)
    async with watching(venue.service, request, "FollowMarket") as reader:
        assert (await reader.frame()).header.kind == FRAME_KIND_GAP


async def test_a_follower_of_a_deleted_venue_is_sent_away(engine: Stack) -> None:
    async with new_venue(engine) as venue:
        request = venue_pb2.FollowMarketRequest(venue=venue.name)
        async with watching(venue.service, request, "FollowMarket") as reader:
            await reader.frame()
            await venue.service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=venue.name))
            assert (await reader.frame()).header.kind == FRAME_KIND_DRAINING


async def test_watching_an_account_that_the_venue_does_not_have_is_refused(venue: VenueUnderTest) -> None:
    request = trading_pb2.WatchOrdersRequest(venue=venue.name)
    async with watching(venue.stack.trader("nobody"), request) as reader:
        with pytest.raises(aio.AioRpcError) as refused:
            await reader.frame()
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_are_told_where_to_resume_when_the_engine_stops(engine: Stack, venue: VenueUnderTest) -> None:
    await venue.alice.PlaceOrder(venue.order(BUY, 5, "570"))
    async with watching(venue.alice, trading_pb2.WatchOrdersRequest(venue=venue.name)) as reader:
        await reader.frame()
        restarting = asyncio.create_task(engine.restart())
        farewell = await reader.frame()
        assert farewell.header.kind == FRAME_KIND_DRAINING
        assert [point.sequence for point in farewell.header.resume] == [1]
        await restarting
