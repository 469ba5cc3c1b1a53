"""Two engines on the same state: a call may come to either, whichever writes its venue."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
import pytest
from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1 import venue_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING, FRAME_KIND_SNAPSHOT, FRAME_KIND_UPDATE

from aac_grpc.client.errors import Draining, KeyReused, NotFound, RateLimited, Unauthenticated
from aac_grpc.common.interceptors.auth import FORWARDER_KEY
from tests.integration.services import Caller, eventually, new_installation
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
from tests.integration.trading_feed import Feeder, new
from tests.integration.trading_streams import watching


@dataclass
class Engines:
    """Two engines, and a venue as seen through each."""

    first: VenueUnderTest
    second: VenueUnderTest

    @property
    def both(self) -> tuple[VenueUnderTest, VenueUnderTest]:
        return self.first, self.second

    async def writer_first(self) -> tuple[VenueUnderTest, VenueUnderTest]:
        """The engine that writes the venue, and the other."""
        address = await writer_of(self.first.stack.installation, self.first.name)
        return self.both if address == self.first.stack.engine.address else (self.second, self.first)


async def writer_of(installation: Mapping[str, Any], venue: str) -> str:
    """The address of who writes a venue now; empty where nobody does."""
    async with await psycopg.AsyncConnection.connect(installation["database_url"]) as connection:
        cursor = await connection.execute(
            """select address from trading_engine.leases
            join trading_engine.venues using (venue_id) join trading_engine.engines on instance = holder
            where venue = %s and deleted_at is null and leases.expires_at > clock_timestamp()""",
            (venue,),
        )
        row = await cursor.fetchone()
    return "" if row is None else row[0]


def seen_through(venue: VenueUnderTest, stack: Stack) -> VenueUnderTest:
    """A venue as its traders see it through another engine."""
    service, alice, bob = stack.service(), stack.trader("alice"), stack.trader("bob")
    return VenueUnderTest(venue.name, service, alice, bob, stack.operator(), stack, venue.keys)


@pytest.fixture(scope="module")
async def stacks(installation: dict[str, Any]) -> AsyncIterator[tuple[Stack, Stack]]:
    async with stack(installation, feed_chunk_rows=4) as first:
        yield first, await first.another(feed_chunk_rows=4)


@pytest.fixture
async def fresh(backends: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """An installation that no other engine shares."""
    async with new_installation(backends) as installation:
        yield installation


@pytest.fixture
async def engines(stacks: tuple[Stack, Stack]) -> AsyncIterator[Engines]:
    async with two_engines(stacks) as found:
        yield found


@asynccontextmanager
async def two_engines(stacks: tuple[Stack, Stack]) -> AsyncIterator[Engines]:
    first, second = stacks
    async with new_venue(first) as venue:
        yield Engines(venue, seen_through(venue, second))


async def test_orders_at_either_engine_form_one_book(engines: Engines) -> None:
    placed = []
    for number, at in zip(range(10), itertools.cycle(engines.both), strict=False):
        placed.append((await at.alice.PlaceOrder(at.order(BUY, 1, str(560 + number)))).order)
    for at in engines.both:
        assert (await at.book())[0] == [(str(569 - number), "1") for number in range(10)]
    for number, at in zip(range(10), itertools.cycle(reversed(engines.both)), strict=False):
        sold = await at.bob.PlaceOrder(at.order(SELL, 1, "500"))
        assert (sold.order.state, [each.price for each in sold.executions]) == (FILLED, [str(569 - number)])
    assert [order.venue_sequence for order in placed] == sorted({order.venue_sequence for order in placed})
    assert await engines.first.book() == await engines.second.book() == ([], [])


async def test_what_one_engine_has_answered_the_other_tells(engines: Engines) -> None:
    for at, other in (engines.both, engines.both[::-1]):
        order = (await at.alice.PlaceOrder(at.order(BUY, 3, "570"))).order
        found = await other.alice.GetOrder(pb.GetOrderRequest(venue=at.name, order_id=order.order_id))
        assert found.order == order
        amended = await other.alice.AmendOrder(other.amend(order.order_id, price="569"))
        assert amended.accepted
        listed = await at.alice.ListOrders(pb.ListOrdersRequest(venue=at.name, states=[OPEN]))
        assert listed.orders[0] == amended.order
        assert (await at.alice.CancelOrder(at.cancel(order.order_id))).canceled
        held = await other.alice.GetAccount(pb.GetAccountRequest(venue=at.name))
        assert held.account.cash_held.amount == "0"


async def test_one_client_key_at_both_engines_makes_one_order(engines: Engines) -> None:
    for _ in range(10):
        request = engines.first.order(BUY, 2, "570")
        first, second = await asyncio.gather(*(at.alice.PlaceOrder(request) for at in engines.both))
        assert first == second
    listed = await engines.second.alice.ListOrders(pb.ListOrdersRequest(venue=engines.second.name))
    assert len(listed.orders) == 10
    request.quantity = "3"
    for at in engines.both:
        with pytest.raises(KeyReused) as reused:
            await at.alice.PlaceOrder(request)
        assert reused.value.metadata["holder"] == first.order.order_id


async def test_refusals_come_back_with_all_their_details(engines: Engines) -> None:
    refused = []
    for at in engines.both:
        with pytest.raises(NotFound) as failure:
            await at.alice.CancelOrder(at.cancel(f"{at.name}-999", request_id="same"))
        refused.append((failure.value.message, failure.value.metadata, failure.value.code))
        with pytest.raises(NotFound):
            await at.alice.PlaceOrder(at.order(BUY, 1, "570", venue="no-such-venue"))
    assert refused[0] == refused[1]


async def test_orders_are_watched_at_either_engine(engines: Engines) -> None:
    request = pb.WatchOrdersRequest(venue=engines.first.name)
    for at, other in (engines.both, engines.both[::-1]):
        async with watching(at.alice, request) as reader:
            assert (await reader.frame()).header.kind == FRAME_KIND_SNAPSHOT
            order = (await other.alice.PlaceOrder(other.order(BUY, 3, "570"))).order
            frame = await reader.frame()
            assert (frame.header.kind, list(frame.orders)) == (FRAME_KIND_UPDATE, [order])


async def test_events_are_followed_at_either_engine(engines: Engines) -> None:
    await engines.first.alice.PlaceOrder(engines.first.order(BUY, 3, "570"))
    request = venue_pb2.FollowMarketRequest(venue=engines.first.name)
    followed = []
    for at in engines.both:
        async with watching(at.service, request, "FollowMarket") as reader:
            followed.append(list((await reader.frame()).events))
    assert followed[0] == followed[1] != []


async def test_a_day_is_fed_through_either_engine(engines: Engines) -> None:
    for number, at in enumerate(engines.both):
        feeder = Feeder(at.service, at.name, f"day-{number}")
        assert (await feeder.open()).last_row == -1
        for begin in range(0, 20, 5):
            rows = [
                venue_pb2.FeedRow(row=row, items=[new(f"{number}-{row}", BUY, 50000 + row, 1)])
                for row in range(begin, begin + 5)
            ]
            assert (await feeder.send(rows)).run.last_row == begin + 4
        assert (await feeder.send([rows[0], rows[0]])).header.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        await feeder.close()
        for other in engines.both:
            request = venue_pb2.GetFeedRunRequest(venue=at.name, run_id=f"day-{number}")
            assert (await other.service.GetFeedRun(request)).run.applied == 20


async def test_a_venue_is_made_and_ended_at_either_engine(engines: Engines) -> None:
    for at, other in (engines.both, engines.both[::-1]):
        name = f"t-{secrets.token_hex(4)}"
        request = venue_pb2.CreateVenueRequest(venue=name, instruments=[instrument()], accounts=[account("alice")])
        made, again = await asyncio.gather(at.service.CreateVenue(request), other.service.CreateVenue(request))
        assert made == again
        assert (await other.alice.PlaceOrder(other.order(BUY, 1, "5", venue=name))).order.state == OPEN
        assert (await other.service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))).deleted
        assert not (await at.service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))).deleted
        with pytest.raises(NotFound):
            await at.alice.PlaceOrder(at.order(BUY, 1, "5", venue=name))


async def test_whoever_ends_a_venue_whose_writer_stops_before_it_answers_is_told_so(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"t-{secrets.token_hex(4)}"
    for at in engines.both:
        exchange: Any = at.stack.engine.servicers[0]
        delete = exchange._exchange.delete

        async def stopping(venue: Any, delete: Any = delete) -> bool:
            await delete(venue)
            raise Draining

        monkeypatch.setattr(exchange._exchange, "delete", stopping)
    for at in engines.both:
        await at.service.CreateVenue(venue_pb2.CreateVenueRequest(venue=name, instruments=[instrument()]))
        assert (await at.service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))).deleted
        assert not (await at.service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))).deleted


@pytest.mark.parametrize("proof", ["garbage", "a user's token", "nobody's token"])
async def test_a_forwarded_call_with_a_forged_proof_is_refused(engines: Engines, proof: str) -> None:
    writer, _ = await engines.writer_first()
    forged = {
        "garbage": "garbage",
        "a user's token": writer.stack.signer.token(),
        "nobody's token": type(writer.stack.signer)().token(subject="trading-engine", kind="service"),
    }[proof]
    token = writer.stack.signer.token(accounts=("alice",), scopes=("orders:write",))
    caller = Caller(TradingServiceStub, writer.stack.engine.address, token=token, metadata={FORWARDER_KEY: forged})
    with pytest.raises(Unauthenticated):
        await caller.PlaceOrder(writer.order(BUY, 1, "570"))
    await caller.channel.close()


async def test_a_proof_gives_no_right_that_the_callers_own_token_lacks(engines: Engines) -> None:
    writer, _ = await engines.writer_first()
    proof = {FORWARDER_KEY: writer.stack.signer.token(subject="trading-engine", kind="service", scopes=("internal",))}
    caller = Caller(TradingServiceStub, writer.stack.engine.address, metadata=proof)
    with pytest.raises(Unauthenticated):
        await caller.PlaceOrder(writer.order(BUY, 1, "570", account_id="alice"))
    await caller.channel.close()


async def test_a_user_is_charged_once_wherever_the_call_arrives(fresh: dict[str, Any]) -> None:
    plans = {"standard": {"ORDER": (0.001, 10)}}
    async with stack(fresh) as first:
        second = await first.another(rate_limits=plans)
        async with new_venue(first) as venue:
            # Hidden from the second engine's own budget is only what it charged at the first, which has none.
            at = seen_through(venue, second)
            for _ in range(10):
                await at.alice.PlaceOrder(at.order(BUY, 1, "570"))
            with pytest.raises(RateLimited):
                await at.alice.PlaceOrder(at.order(BUY, 1, "570"))
            await venue.alice.PlaceOrder(venue.order(BUY, 1, "570"))


async def test_streams_go_on_where_a_venue_is_handed_over(fresh: dict[str, Any]) -> None:
    """At the engine that wrote it no longer, and at the one that writes it now, without a word and without a gap."""
    async with stack(fresh) as first:
        second = await first.another()
        async with new_venue(first) as venue, two_watchers(venue, second) as (watchers, at):
            for reader in watchers:
                await reader.frame()
            seen: list[list[int]] = [[], []]
            for _ in range(3):
                await venue.alice.PlaceOrder(venue.order(BUY, 1, "569"))
                await hand_over(first, second, venue.name)
                await at.alice.PlaceOrder(at.order(BUY, 1, "570"))
            for numbers, reader in zip(seen, watchers, strict=True):
                while not numbers or numbers[-1] < 6:
                    frame = await reader.frame()
                    assert frame.header.kind == FRAME_KIND_UPDATE
                    numbers += [order.version for order in frame.orders]
            assert seen == [[1, 2, 3, 4, 5, 6]] * 2


@asynccontextmanager
async def two_watchers(venue: VenueUnderTest, second: Stack) -> AsyncIterator[Any]:
    request, at = pb.WatchOrdersRequest(venue=venue.name), seen_through(venue, second)
    async with watching(venue.alice, request) as one, watching(at.alice, request) as other:
        yield (one, other), at


async def hand_over(first: Stack, second: Stack, venue: str) -> None:
    """Has the venue's writer give it to the other."""
    before = await writer_of(first.installation, venue)
    holder = first if before == first.engine.address else second
    servicer: Any = holder.engine.servicers[0]

    async def moved() -> bool:
        # On a busy machine the other may be too slow, so that it takes its venue back.
        await servicer._exchange.hand_over(venue)
        return await writer_of(first.installation, venue) not in ("", before)

    await eventually(moved, 30)


async def test_an_engine_that_stops_hands_its_venues_over_and_calls_at_the_other_do_not_fail(
    fresh: dict[str, Any],
) -> None:
    async with stack(fresh) as first, new_venue(first) as venue:
        second = await first.another()
        at = seen_through(venue, second)
        async with watching(at.alice, pb.WatchOrdersRequest(venue=venue.name)) as reader:
            await reader.frame()
            stopping = asyncio.create_task(first.engine.stop())
            loop = asyncio.get_running_loop()
            longest, began = 0.0, loop.time()
            while loop.time() - began < 1.0:
                placed = loop.time()
                await at.alice.PlaceOrder(at.order(BUY, 1, "570"))
                longest = max(longest, loop.time() - placed)
            await stopping
            count = len((await at.alice.ListOrders(pb.ListOrdersRequest(venue=at.name))).orders)
            sequences: list[int] = []
            while len(sequences) < min(count, 50):
                frame = await reader.frame()
                assert frame.header.kind == FRAME_KIND_UPDATE
                sequences += [order.version for order in frame.orders]
            assert sequences == list(range(1, len(sequences) + 1))
        print(f"handover: longest call {longest * 1000:.0f} ms")
        await first.restart()
        venue.service = second.service()


async def test_a_watcher_is_told_to_resume_where_the_engine_that_it_asked_stops(fresh: dict[str, Any]) -> None:
    async with stack(fresh) as first, new_venue(first) as venue:
        second = await first.another()
        at = seen_through(venue, second)
        async with watching(at.alice, pb.WatchOrdersRequest(venue=venue.name)) as reader:
            await reader.frame()
            await venue.alice.PlaceOrder(venue.order(BUY, 1, "570"))
            assert (await reader.frame()).header.sequence == 1
            stopping = asyncio.create_task(second.engine.stop())
            farewell = await reader.frame()
            assert farewell.header.kind == FRAME_KIND_DRAINING
            assert [point.sequence for point in farewell.header.resume] == [1]
            await stopping


async def test_engines_share_the_venues(fresh: dict[str, Any]) -> None:
    async with stack(fresh, venue_lease_s=1.0) as first:
        names = [f"s-{secrets.token_hex(3)}-{number}" for number in range(5)]
        service = first.service()
        for name in names:
            await service.CreateVenue(venue_pb2.CreateVenueRequest(venue=name, instruments=[instrument()]))
        second = await first.another(venue_lease_s=1.0)

        async def shares() -> list[int]:
            counts = [len(await names_of(each)) for each in (first, second)]
            return sorted(counts)

        async def even() -> bool:
            return await shares() == [3, 3]

        await eventually(even, 30)
        for name in names:
            assert (await service.DeleteVenue(venue_pb2.DeleteVenueRequest(venue=name))).deleted


async def names_of(stack: Stack) -> list[str]:
    """The venues that an engine writes, as it knows."""
    servicer: Any = stack.engine.servicers[0]
    return list(servicer._exchange.names)


async def test_a_call_that_was_handed_on_goes_no_further(engines: Engines) -> None:
    _, other = await engines.writer_first()
    proof = {FORWARDER_KEY: other.stack.signer.token(subject="trading-engine", kind="service", scopes=("internal",))}
    token = other.stack.signer.token(accounts=("alice",), scopes=("orders:write", "orders:read"))
    caller = Caller(TradingServiceStub, other.stack.engine.address, token=token, metadata=proof)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller._stub.PlaceOrder(other.order(BUY, 1, "570"), metadata=caller._metadata, timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert b"NOT_WRITER" in dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]
    await caller.channel.close()


async def test_a_stream_that_its_caller_leaves_ends_at_the_writer_too(engines: Engines) -> None:
    writer, other = await engines.writer_first()
    exchange: Any = writer.stack.engine.servicers[0]
    place = await exchange._exchange.locate(writer.name)
    async with watching(other.alice, pb.WatchOrdersRequest(venue=writer.name)) as reader:
        await reader.frame()
        assert len(place.streams._sessions) == 1

    async def ended() -> bool:
        return not place.streams._sessions

    await eventually(ended)
