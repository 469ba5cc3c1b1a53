"""Follows the committed events of a venue: live markets in memory, trades in PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aac.trading.v1.venue_pb2 import FollowMarketRequest, GetMarketSnapshotRequest
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, DependencyUnavailable, NotFound, Unavailable
from aac_grpc.common.streams import SequenceError
from aac_grpc.common.tasks import Task, Tasks
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.servicers.market_data.repository import TradesRepository
from aac_grpc.servicers.market_data.trade_keeper import TradeKeeper
from aac_grpc.servicers.market_data.venue import InstrumentStreams, VenueMarkets

BACKLOG = 20_000
"""Events before the snapshot that are read again, so that streams of the process before resume without a gap."""
RETRY_S = 0.2
KEEP_INTERVAL_S = 0.1
SILENCE_S = 15.0
"""The engine sends heartbeats more often than this; a stream that is silent for longer is dead."""
PATIENCE_S = 1.5
"""How long a unary call waits for markets that are not current, before it is told that the engine is away."""

_log = structlog.get_logger(__name__)

Listener = Callable[["VenueFollower"], None]


class VenueFollower:
    """One venue as this instance sees it.

    Attributes:
        venue: Its id.
        gone: The venue was deleted.
    """

    def __init__(self, venue: str, engine: VenueServiceStub, trades: TradesRepository, tasks: Tasks) -> None:
        self.venue = venue
        self.gone = False
        self._engine = engine
        self._trades = trades
        self._tasks = tasks
        self._keeper: TradeKeeper | None = None
        self._shown: VenueMarkets | None = None
        self._complaint = ""
        self._moved = asyncio.Event()
        self._listeners: dict[Listener, None] = {}
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
    def current(self) -> VenueMarkets | None:
        """The venue's markets, unless they are not current."""
        keeper = self._keeper
        return keeper.markets if keeper is not None and keeper.markets.caught_up and not self.gone else None

    @property
    def listened(self) -> bool:
        """Streams read its topics."""
        return bool(self._listeners)

    def listen(self, listener: Listener) -> None:
        """Has `listener` called when other topics have taken the place of the present ones, or the venue is gone."""
        self._listeners[listener] = None

    def unlisten(self, listener: Listener) -> None:
        """Calls it no more."""
        self._listeners.pop(listener, None)

    async def markets(self, patience: float | None = PATIENCE_S) -> VenueMarkets:
        """The venue's markets, once they are current.

        Args:
            patience: Seconds to wait at most; None waits as long as it takes.

        Raises:
            NotFound: The venue was deleted.
            DependencyUnavailable: They do not become current in time.
        """
        try:
            async with asyncio.timeout(patience):
                while (markets := self.current) is None:
                    await self._wait()
        except TimeoutError:
            raise DependencyUnavailable("trading-engine", retry_after=patience) from None
        return markets

    async def instrument(self, symbol: str) -> InstrumentStreams:
        """One instrument's market and topics.

        Raises:
            NotFound: The venue does not have it, or was deleted.
            DependencyUnavailable: The venue's markets do not become current in time.
        """
        return (await self.markets()).instrument(symbol)

    async def reached(self, sequence: int) -> None:
        """Waits until the markets include the venue's events up to a sequence; the call's deadline ends the wait."""
        while (markets := self.current) is None or markets.sequence < sequence:
            await self._wait()

    async def keep(self) -> int:
        """Writes the trades that are not kept yet, so that what follows reads all that the markets show.

        Returns:
            The epoch of the markets.
        """
        markets = await self.markets()
        if (keeper := self._keeper) is not None:
            await keeper.keep()
        return markets.epoch

    async def _wait(self) -> None:
        if self.gone:
            raise NotFound("venue", self.venue)
        await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _follow(self) -> None:
        while not self.gone:
            try:
                if self._keeper is None:
                    self._keeper = await self._begin()
                await self._follow_events(self._keeper)
            except NotFound as error:
                if self.venue != DEFAULT_VENUE:
                    self._end()
                else:  # It can't be deleted: the engine has not made it yet.
                    await self._pause(error)
            except (AacError, TimeoutError, SequenceError) as error:
                if isinstance(error, SequenceError):
                    self._keeper = None  # What we hold does not fit what was committed: begin again.
                await self._pause(error)

    def _end(self) -> None:
        self.gone = True
        self._move()
        self._tell()

    async def _pause(self, error: Exception) -> None:
        complaint = str(error) or type(error).__name__
        if complaint != self._complaint:  # Said once, however often it is tried again.
            self._complaint = complaint
            _log.warning("venue is not followed", venue=self.venue, error=complaint)
        await asyncio.sleep(RETRY_S)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener(self)

    async def _begin(self) -> TradeKeeper:
        snapshot = await self._engine.GetMarketSnapshot(GetMarketSnapshotRequest(venue=self.venue))
        checkpoint = await self._trades.checkpoint(self.venue, snapshot.epoch)
        after = max(0, min(checkpoint, snapshot.sequence - BACKLOG))

        async def missed(symbol: str, after: int, until: int) -> Sequence[dict[str, Any]]:
            await keeper.keep()
            return await self._trades.missed(self.venue, symbol, snapshot.epoch, after, until)

        keeper = TradeKeeper(VenueMarkets(self.venue, snapshot, after, missed), self._trades, checkpoint)
        return keeper

    async def _follow_events(self, keeper: TradeKeeper) -> None:
        markets = keeper.markets
        request = FollowMarketRequest(venue=self.venue, epoch=markets.epoch, after_sequence=markets.sequence)
        call = self._engine.FollowMarket(request)
        responses = aiter(call)
        try:
            while True:
                self._show(markets)
                async with asyncio.timeout(SILENCE_S):
                    response = await anext(responses, None)
                if response is None:
                    raise Unavailable("the engine ended the stream of events")
                header = response.header
                if header.kind == stream_pb2.FRAME_KIND_GAP:
                    markets.skip_to(header.epoch, header.sequence)
                if response.events:
                    markets.apply(response.events)
                    self._move()
                    # Where PostgreSQL is slower than the engine, the engine waits.
                    await keeper.keep_up()
        finally:
            call.cancel()

    def _show(self, markets: VenueMarkets) -> None:
        """Tells those who listen once other markets are current."""
        if markets.caught_up and markets is not self._shown:
            self._shown = markets
            self._complaint = ""
            self._move()
            self._tell()

    async def _keep_regularly(self) -> None:
        while not self.gone:
            await asyncio.sleep(KEEP_INTERVAL_S)
            if (keeper := self._keeper) is not None:
                try:
                    await keeper.keep(at_rest=True)
                    await keeper.roll_up()
                except AacError as error:
                    await self._pause(error)
