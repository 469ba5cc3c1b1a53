"""The venues that this instance follows: `main` always, others from the first question about them."""

import asyncio

import structlog
from aac.trading.v1.venue_pb2 import ListVenuesRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

from aac_grpc.client.errors import AacError, NotFound, Overloaded
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.servicers.market_data.follower import VenueFollower
from aac_grpc.servicers.market_data.repository import TradesRepository

SWEEP_INTERVAL_S = 60.0

_log = structlog.get_logger(__name__)


class Venues:
    """Followers by venue."""

    def __init__(self, engine: VenueServiceStub, trades: TradesRepository, tasks: Tasks, limit: int) -> None:
        """Follows nothing yet.

        Args:
            engine: The trading engine's venues.
            trades: Where trades are kept.
            tasks: Owner of the background work.
            limit: Venues at most; the one that was asked about longest ago and that no stream reads is dropped first.
        """
        self._engine = engine
        self._trades = trades
        self._tasks = tasks
        self._limit = limit
        self._followers: dict[str, VenueFollower] = {}
        self._opening = asyncio.Lock()
        self._names: frozenset[str] = frozenset()
        self._named_at = float("-inf")

    def start(self) -> None:
        """Begins to follow the default venue, and to remove what deleted venues left."""
        self._open(DEFAULT_VENUE)
        self._tasks.spawn(self._sweep_regularly, name="forget deleted venues")

    def known(self, venue: str) -> VenueFollower | None:
        """The follower of a venue, if it is followed already."""
        follower = self._followers.pop(venue, None)
        if follower is None or follower.gone:
            return None
        self._followers[venue] = follower  # The most recently asked for stand last.
        return follower

    async def follower(self, venue: str) -> VenueFollower:
        """The follower of a venue, which may not be current yet.

        Raises:
            NotFound: There is no such venue.
            Overloaded: Streams read as many venues as this instance may follow.
        """
        if (follower := self.known(venue)) is not None:
            return follower
        if venue == DEFAULT_VENUE:
            return self._open(venue)
        asked_at = asyncio.get_running_loop().time()
        async with self._opening:
            if (follower := self.known(venue)) is not None:
                return follower
            if self._named_at < asked_at:  # else one who waited before us has had the engine asked since we came
                await self._ask()
            if venue not in self._names:
                raise NotFound("venue", venue)
            await self._make_room()
            return self._open(venue)

    async def _ask(self) -> None:
        began_at = asyncio.get_running_loop().time()
        answer = await self._engine.ListVenues(ListVenuesRequest())
        self._names, self._named_at = frozenset(known.venue for known in answer.venues), began_at

    def _open(self, venue: str) -> VenueFollower:
        follower = self._followers[venue] = VenueFollower(venue, self._engine, self._trades, self._tasks)
        follower.start()
        return follower

    async def _make_room(self) -> None:
        while len(self._followers) >= self._limit:
            idle = (name for name, one in self._followers.items() if name != DEFAULT_VENUE and not one.listened)
            if (oldest := next(idle, None)) is None:
                raise Overloaded(f"streams read {len(self._followers)} venues already")
            await self._followers.pop(oldest).stop()

    async def sweep(self) -> None:
        """Removes what is kept of venues that were deleted."""
        kept = await self._trades.kept()  # Before the venues, so that one made in between is safe.
        answer = await self._engine.ListVenues(ListVenuesRequest())
        living = {(known.venue, known.epoch) for known in answer.venues}
        for venue, epoch in kept:
            if (venue, epoch) not in living:
                await self._trades.forget(venue, epoch)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            try:
                await self.sweep()
            except AacError as error:
                _log.warning("deleted venues are not swept", error=str(error))
