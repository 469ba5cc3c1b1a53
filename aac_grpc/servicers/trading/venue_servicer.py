"""Isolated venues, the flow into them, and their committed events out of them: for services of the mesh."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from aac.trading.v1 import venue_pb2 as pb
from aac.trading.v1.venue_pb2_grpc import VenueServiceServicer
from aac.type.v1.market_pb2 import BookLevel
from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING

from aac_grpc.client.errors import InvalidField, NotFound, WrongState
from aac_grpc.common.call import current_call
from aac_grpc.common.peers import Peers
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.streams.frames import now_header
from aac_grpc.common.types import DEFAULT_VENUE, to_timestamp
from aac_grpc.domain.orders import Side
from aac_grpc.domain.state import Market
from aac_grpc.servicers.trading.exchange import Exchange
from aac_grpc.servicers.trading.feed_requests import find_run
from aac_grpc.servicers.trading.feeding import FeedSession, until
from aac_grpc.servicers.trading.following import FollowedMarket, Following
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.open_venue import OpenVenue
from aac_grpc.servicers.trading.repository import Repository
from aac_grpc.servicers.trading.routing import Router
from aac_grpc.servicers.trading.sharing import Sharing
from aac_grpc.servicers.trading.venue_requests import SetUpVenue
from aac_grpc.servicers.trading.vocabulary import instrument_message


class VenueServicer(Servicer, VenueServiceServicer):
    """Venues and what flows through them."""

    def __init__(
        self,
        exchange: Exchange,
        sharing: Sharing,
        router: Router,
        peers: Peers,
        repository: Repository,
        chunk_rows: int,
    ) -> None:
        self._exchange = exchange
        self._sharing = sharing
        self._router = router
        self._peers = peers
        self._repository = repository
        self._chunk_rows = chunk_rows

    async def start(self) -> None:
        """Opens the main venue, unless another engine writes it."""
        await self._sharing.start()

    async def drain(self) -> None:
        """Hands all venues over to other engines, where there are any."""
        await self._sharing.leave()

    async def stop(self) -> None:
        """Gives all venues back."""
        await self._exchange.stop()

    async def CreateVenue(self, request: pb.CreateVenueRequest, context: Any) -> pb.CreateVenueResponse:
        SetUpVenue(request, 0, 0)
        await self._exchange.create(request.venue)

        async def set_up(venue: OpenVenue) -> pb.CreateVenueResponse:
            created_ns = int(venue.row.created_at.timestamp() * 1e6) * 1000
            return await venue.writer.submit(SetUpVenue(request, venue.row.epoch, created_ns))

        return await self._router.ask(request.venue, request, set_up)

    async def DeleteVenue(self, request: pb.DeleteVenueRequest, context: Any) -> pb.DeleteVenueResponse:
        async def delete(venue: OpenVenue) -> pb.DeleteVenueResponse:
            return pb.DeleteVenueResponse(deleted=await self._exchange.delete(venue))

        if request.venue == DEFAULT_VENUE:
            raise WrongState(f"venue {request.venue!r} can't be removed")
        try:
            return await self._router.ask(request.venue, request, delete, pb.DeleteVenueResponse(deleted=True))
        except NotFound:
            return pb.DeleteVenueResponse(deleted=False)

    async def ListVenues(self, request: pb.ListVenuesRequest, context: Any) -> pb.ListVenuesResponse:
        response = pb.ListVenuesResponse()
        for row in await self._exchange.all():
            instruments = await self._repository.instruments(row["venue_id"], row["venue"])
            response.venues.add(
                venue=row["venue"],
                epoch=row["epoch"],
                sequence=row["sequence"],
                instruments=map(instrument_message, instruments),
                created_at=to_timestamp(row["created_at"]),
            )
        return response

    async def Feed(
        self, request_iterator: AsyncIterator[pb.FeedRequest], context: Any
    ) -> AsyncIterator[pb.FeedResponse]:
        messages = aiter(request_iterator)
        first = await anext(messages, None)
        if first is None:
            return
        if not first.HasField("open") or first.rows:
            raise InvalidField("open", "the first message opens the run and carries no rows")
        draining = asyncio.Event()
        current_call().on_drain(draining.set)

        rows, name = until(draining, messages), first.open.venue or DEFAULT_VENUE

        def feed(venue: OpenVenue) -> AsyncGenerator[pb.FeedResponse, None]:
            return FeedSession(venue, self._chunk_rows).run(first.open, rows)

        async with aclosing(self._router.converse(name, first, rows, feed)) as answers:
            async for response in answers:
                yield response
        if draining.is_set():
            header = now_header(FRAME_KIND_DRAINING)
            header.venue = name
            yield pb.FeedResponse(header=header)

    async def FollowMarket(self, request: pb.FollowMarketRequest, context: Any) -> AsyncIterator[Any]:
        following = Following(self._router, self._peers, FollowedMarket(request))
        async with aclosing(following.frames()) as frames:
            async for encoded in frames:
                yield encoded

    async def GetMarketSnapshot(
        self, request: pb.GetMarketSnapshotRequest, context: Any
    ) -> pb.GetMarketSnapshotResponse:
        async def look(venue: OpenVenue) -> pb.GetMarketSnapshotResponse:
            return await venue.writer.inspect(lambda live: _market_snapshot(live, venue.row.epoch))

        return await self._router.ask(request.venue, request, look)

    async def GetFeedRun(self, request: pb.GetFeedRunRequest, context: Any) -> pb.GetFeedRunResponse:
        async def look(venue: OpenVenue) -> pb.GetFeedRunResponse:
            return pb.GetFeedRunResponse(run=await venue.writer.inspect(lambda live: find_run(live, request.run_id)))

        return await self._router.ask(request.venue, request, look)


def _market_snapshot(live: LiveVenue, epoch: int) -> pb.GetMarketSnapshotResponse:
    response = pb.GetMarketSnapshotResponse(epoch=epoch, sequence=live.venue.sequence)
    for symbol in sorted(live.venue.instruments):
        market = live.venue.market(symbol)
        assert market is not None
        response.instruments.append(_instrument_snapshot(market))
    return response


def _instrument_snapshot(market: Market) -> pb.InstrumentSnapshot:
    instrument = market.instrument

    def levels(side: Side) -> list[BookLevel]:
        return [
            BookLevel(price=instrument.from_ticks(price), quantity=instrument.from_lots(quantity), orders=orders)
            for price, quantity, orders in market.book.levels(side)
        ]

    return pb.InstrumentSnapshot(
        instrument=instrument_message(instrument),
        bids=levels(Side.BUY),
        asks=levels(Side.SELL),
        depth_sequence=market.depth_sequence,
        trade_sequence=market.trade_sequence,
        last_price=instrument.from_ticks(market.last_price) if market.last_price else "",
        last_quantity=instrument.from_lots(market.last_quantity) if market.last_quantity else "",
    )
