"""The venues that this instance follows: `main` always, others from the first question about them."""

import asyncio

from aac.trading.v1.venue_pb2 import ListVenuesRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

from aac_grpc.client.errors import NotFound
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.servicers.market_data.follower import VenueFollower
from aac_grpc.servicers.market_data.repository import TradesRepository


class Venues:
    """Followers by venue."""

    def __init__(self, engine: VenueServiceStub, trades: TradesRepository, tasks: Tasks, limit: int) -> None:
        """Follows nothing yet.

        Args:
            engine: The trading engine's venues.
            trades: Where trades are kept.
            tasks: Owner of the background work.
            limit: Venues at most; the one that was asked about longest ago is dropped first.
        """
        self._engine = engine
        self._trades = trades
        self._tasks = tasks
        self._limit = limit
        self._followers: dict[str, VenueFollower] = {}
        self._opening = asyncio.Lock()

    def start(self) -> None:
        """Begins to follow the default venue."""
        self._open(DEFAULT_VENUE)

    async def follower(self, venue: str) -> VenueFollower:
        """The follower of a venue, which may not be current yet.

        Raises:
            NotFound: There is no such venue.
        """
        follower = self._followers.pop(venue, None)
        if follower is not None and not follower.gone:
            self._followers[venue] = follower  # The most recently asked for stand last.
            return follower
        if venue == DEFAULT_VENUE:
            return self._open(venue)
        async with self._opening:
            if (follower := self._followers.get(venue)) is not None:
                return follower
            answer = await self._engine.ListVenues(ListVenuesRequest())
            if venue not in {known.venue for known in answer.venues}:
                raise NotFound("venue", venue)
            await self._make_room()
            return self._open(venue)

    def _open(self, venue: str) -> VenueFollower:
        follower = self._followers[venue] = VenueFollower(venue, self._engine, self._trades, self._tasks)
        follower.start()
        return follower

    async def _make_room(self) -> None:
        while len(self._followers) >= self._limit:
            oldest = next(name for name in self._followers if name != DEFAULT_VENUE)
            await self._followers.pop(oldest).stop()
