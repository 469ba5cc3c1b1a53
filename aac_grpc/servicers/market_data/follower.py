"""Follows the committed events of a venue: live markets in memory, trades in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aac.trading.v1.venue_pb2 import FollowMarketRequest, GetMarketSnapshotRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, NotFound, Unavailable
from aac_grpc.common.logs import get_logger
from aac_grpc.common.streams import SequenceError
from aac_grpc.common.tasks import Task, Tasks
from aac_grpc.servicers.market_data.repository import TradeRow, TradesRepository
from aac_grpc.servicers.market_data.venue import InstrumentStreams, VenueMarkets

BACKLOG = 20_000
"""Events before the snapshot that are read again, so that streams of the process before resume without a gap."""
KEEP_INTERVAL_S = 0.1
KEEP_AT_ONCE = 5_000
CHECKPOINT_INTERVAL_S = 5.0
RETRY_S = 0.2
SILENCE_S = 15.0
"""The engine sends heartbeats more often than this; a stream that is silent for longer is dead."""

log = get_logger(__name__)


class VenueFollower:
    """One venue as this instance sees it."""

    def __init__(self, venue: str, engine: VenueServiceStub, trades: TradesRepository, tasks: Tasks) -> None:
        self.venue = venue
        self._engine = engine
        self._trades = trades
        self._tasks = tasks
        self._markets: VenueMarkets | None = None
        self._moved = asyncio.Event()
        self._gone = False
        self._unkept: list[TradeRow] = []
        self._kept_sequence = 0
        self._keeping = asyncio.Lock()
        self._running: list[Task] = []

    def start(self) -> None:
        """Begins to follow."""
        self._running = [
            self._tasks.spawn(self._follow, name=f"follow:{self.venue}"),
            self._tasks.spawn(self._keep_regularly, name=f"keep:{self.venue}"),
        ]

    async def stop(self) -> None:
        """Follows no more."""
        for task in self._running:
            await task.cancel()

    @property
    def gone(self) -> bool:
        """The venue was deleted."""
        return self._gone

    @property
    def sequence(self) -> int:
        """The venue's last event that the markets include."""
        return self._markets.sequence if self._markets else 0

    async def markets(self) -> VenueMarkets:
        """The venue's markets, once they are current.

        Raises:
            NotFound: The venue was deleted.
        """
        while self._markets is None or not self._markets.caught_up:
            await self._wait()
        return self._markets

    async def instrument(self, symbol: str) -> InstrumentStreams:
        """One instrument's market and topics.

        Raises:
            NotFound: The venue does not have it.
        """
        found = (await self.markets()).instruments.get(symbol)
        if found is None:
            raise NotFound("instrument", f"{self.venue}/{symbol}")
        return found

    async def reached(self, sequence: int) -> None:
        """Waits until the markets include the venue's events up to a sequence; the call's deadline ends the wait."""
        while self.sequence < sequence:
            await self._wait()

    async def keep(self) -> None:
        """Writes the trades that are not kept yet, so that what follows reads all that the markets show."""
        async with self._keeping:
            markets = self._markets
            if markets is None:
                return
            self._unkept.extend(markets.take_kept())
            sequence = markets.sequence
            if self._unkept:
                await self._trades.keep(self.venue, markets.epoch, sequence, self._unkept)
                self._unkept = []
                self._kept_sequence = sequence

    async def _wait(self) -> None:
        if self._gone:
            raise NotFound("venue", self.venue)
        await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _follow(self) -> None:
        while not self._gone:
            try:
                if self._markets is None:
                    await self._begin()
                await self._follow_events()
            except NotFound:
                self._gone = True
                self._move()
                await self._trades.forget(self.venue)
            except (AacError, TimeoutError, SequenceError) as error:
                log.warning("venue is not followed", venue=self.venue, error=str(error))
                if isinstance(error, SequenceError):
                    self._markets = None  # What we hold does not fit what was committed: begin again.
                await asyncio.sleep(RETRY_S)

    async def _begin(self) -> None:
        snapshot = await self._engine.GetMarketSnapshot(GetMarketSnapshotRequest(venue=self.venue))
        checkpoint = await self._trades.checkpoint(self.venue, snapshot.epoch)
        self._kept_sequence = checkpoint
        after = max(0, min(checkpoint, snapshot.sequence - BACKLOG))

        async def missed(symbol: str, after: int, until: int) -> Sequence[dict[str, Any]]:
            await self.keep()
            return await self._trades.missed(self.venue, symbol, snapshot.epoch, after, until)

        self._markets = VenueMarkets(self.venue, snapshot, after, missed)
        self._move()

    async def _follow_events(self) -> None:
        markets = self._markets
        assert markets is not None
        request = FollowMarketRequest(venue=self.venue, epoch=markets.epoch, after_sequence=markets.sequence)
        responses = aiter(self._engine.FollowMarket(request))
        while True:
            async with asyncio.timeout(SILENCE_S):
                response = await anext(responses, None)
            if response is None:
                raise Unavailable("the engine ended the stream of events")
            if response.header.kind == stream_pb2.FRAME_KIND_GAP:
                # The journal no longer has what we need: begin again with a snapshot.
                await self.keep()
                self._markets = None
                return
            if response.events:
                markets.apply(response.events, response.header.sequence)
                self._move()
                if len(markets.to_keep) >= KEEP_AT_ONCE:
                    await self.keep()  # Back-pressure: the engine waits until PostgreSQL has taken them.

    async def _keep_regularly(self) -> None:
        checkpointed_at = asyncio.get_running_loop().time()
        while not self._gone:
            await asyncio.sleep(KEEP_INTERVAL_S)
            await self.keep()
            now = asyncio.get_running_loop().time()
            if now - checkpointed_at >= CHECKPOINT_INTERVAL_S and self._markets is not None:
                checkpointed_at = now
                await self._checkpoint(self._markets)

    async def _checkpoint(self, markets: VenueMarkets) -> None:
        async with self._keeping:
            if not self._unkept and not markets.to_keep and markets.sequence > self._kept_sequence:
                sequence = markets.sequence
                await self._trades.keep(self.venue, markets.epoch, sequence, [])
                self._kept_sequence = sequence
