"""The feeder: puts a source's rows into a venue at a stated speed, from where the venue stands.

At a pace it plays run after run. As fast as it can it plays one, since repeating it would fill the disk.

The venue journals each row, so that after a restart of either side the run goes on with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import structlog
from aac.trading.v1 import venue_pb2 as pb
from aac.trading.v1.venue_pb2_grpc import VenueServiceStub
from aac.type.v1 import stream_pb2
from grpc import aio
from pydantic import Field

from aac_grpc.client.errors import AacError, Draining, NotFound, Unavailable
from aac_grpc.client.retry import RetryPolicy, is_retryable
from aac_grpc.common import logs
from aac_grpc.common.breaker import Breakers
from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.outgoing import OutgoingStream
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.types import DEFAULT_VENUE
from aac_grpc.feeds.lobster import LobsterDay
from aac_grpc.feeds.messages import instrument_message
from aac_grpc.feeds.pacing import paced
from aac_grpc.feeds.simulator import Simulator
from aac_grpc.feeds.source import Source

FEED = "feed"
"""Name of the feeder's identity in the mesh."""
IN_FLIGHT = 2
"""Messages that may wait for the venue's answer."""

_BACKOFF = RetryPolicy(first_backoff_s=0.2, longest_backoff_s=2.0)
_PATIENCE = 20
"""Failures in a row after which a run is given up."""
_LOG_EVERY_S = 30.0

_log = structlog.get_logger("feed")

OnProgress = Callable[[pb.FeedRun], None]
"""Told how far the run has come, after each answer."""


class FeedSettings(ServiceSettings):
    """What the feeder is told by its environment."""

    feed_day: str = Field(
        default="", description="Recorded day as LOBSTER writes it: a zip, folder or CSV; empty simulates."
    )
    feed_symbol: str = Field(
        default="", description="Which recording of several; empty takes the one with the deepest book."
    )
    feed_seed: int = Field(default=7, description="Seed of the simulated flow.")
    feed_speed: float = Field(
        default=10.0, ge=0, description="Times as fast as recorded; 0 is as fast as it can, once."
    )
    feed_venue: str = Field(default=DEFAULT_VENUE, description="Venue that the flow enters.")

    def source(self) -> Source:
        """Opens the recorded day, or makes the simulator. Blocks.

        Raises:
            FileNotFoundError: There is no such recording.
            ValueError: A file is not what it says it is.
        """
        if self.feed_day:
            return LobsterDay.open(Path(self.feed_day), self.feed_symbol or None)
        return Simulator(self.feed_seed)


class Feeder:
    """Feeds one instrument of a source into a venue."""

    def __init__(self, venues: VenueServiceStub, source: Source, symbol: str, venue: str, speed: float) -> None:
        """Prepares.

        Args:
            venues: The trading engine, with the identity of a service.
            source: Where the rows come from.
            symbol: Which instrument of it.
            venue: Isolated market.
            speed: Times as fast as recorded; 0 is as fast as it can.
        """
        self._venues = venues
        self._source = source
        self._symbol = symbol
        self._venue = venue
        self._speed = speed

    def run_id(self, number: int) -> str:
        """Names a run: the same source gives the same names, so that a restarted feeder finds its runs."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", self._source.title)[:40].strip("-")
        return f"{self._symbol}.{name}.{number}"[-64:]

    async def play_on(self) -> None:
        """Plays run after run until cancelled, as fast as it can only one; waits for a venue that is away."""
        number, failures = 0, 0
        while True:
            try:
                number = number or await self._latest_run() or 1
                _log.info("run", symbol=self._symbol, run_id=self.run_id(number), source=self._source.title)
                run = await self.play(self.run_id(number), _Diary())
                _log.info("run ended", **_figures(run))
                if not self._speed:
                    _log.info("the day is over, the feed idles: at this speed it is played once", symbol=self._symbol)
                    return
                number, failures = number + 1, 0
            except AacError as error:
                failures += 1
                _log.warning("the feed waits for the venue", symbol=self._symbol, error=str(error))
                await asyncio.sleep(_BACKOFF.pause(failures, error, 1.0))

    async def play(self, run_id: str, on_progress: OnProgress) -> pb.FeedRun:
        """Plays a run from where the venue stands to its end; goes on where the venue went away for a while.

        Raises:
            AacError: The venue refused the run, or was away for long.
        """
        run, failures = pb.FeedRun(last_row=-1), 0
        while True:
            reached = run.last_row
            try:
                async with contextlib.aclosing(self._one_call(run_id)) as answers:
                    async for run in answers:
                        on_progress(run)
                return run
            except AacError as error:
                failures = 1 if run.last_row != reached else failures + 1
                if not is_retryable(error) or failures > _PATIENCE:
                    raise
                await asyncio.sleep(_BACKOFF.pause(failures, error, 1.0))

    async def _one_call(self, run_id: str) -> AsyncGenerator[pb.FeedRun, None]:
        """Opens the run and sends what the venue does not have; yields each answer."""
        stream: OutgoingStream = self._venues.Feed()  # type: ignore[assignment]  # what the mesh's stubs give
        try:
            await stream.write(pb.FeedRequest(open=self._opening(run_id)))
            run = await _answer(stream)
            yield run
            rows = await asyncio.to_thread(self._source.rows, self._symbol, run.last_row + 1)
            in_flight = 0
            async with contextlib.aclosing(paced(rows, self._speed)) as chunks:
                async for chunk in chunks:
                    await stream.write(pb.FeedRequest(rows=chunk))
                    in_flight += 1
                    if in_flight == IN_FLIGHT:
                        in_flight -= 1
                        yield await _answer(stream)
            for _ in range(in_flight):
                yield await _answer(stream)
            await stream.done_writing()
        finally:
            stream.cancel()

    def _opening(self, run_id: str) -> pb.FeedOpen:
        instrument = self._source.instrument(self._symbol, self._venue)
        return pb.FeedOpen(
            venue=self._venue,
            run_id=run_id,
            account_id=f"flow-{self._symbol}",
            instrument=instrument_message(instrument),
        )

    async def _latest_run(self) -> int:
        """The highest number of a run that the venue knows; 0 where it knows none. Runs are numbered without holes."""
        known, unknown = 0, 1
        while await self._exists(unknown):
            known, unknown = unknown, unknown * 2
        while unknown - known > 1:
            middle = (known + unknown) // 2
            known, unknown = (middle, unknown) if await self._exists(middle) else (known, middle)
        return known

    async def _exists(self, number: int) -> bool:
        try:
            await self._venues.GetFeedRun(pb.GetFeedRunRequest(venue=self._venue, run_id=self.run_id(number)))
        except NotFound:
            return False
        return True


class _Diary:
    """Logs how far a run has come, now and then."""

    def __init__(self) -> None:
        self._next_at = time.monotonic() + _LOG_EVERY_S

    def __call__(self, run: pb.FeedRun) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _LOG_EVERY_S
            _log.info("progress", **_figures(run))


def _figures(run: pb.FeedRun) -> dict[str, object]:
    return {field.name: getattr(run, field.name) for field in pb.FeedRun.DESCRIPTOR.fields}


async def _answer(stream: OutgoingStream) -> pb.FeedRun:
    """The next answer to rows.

    Raises:
        AacError: The stream failed, or the venue said goodbye.
    """
    while (response := await stream.read()) is not aio.EOF:
        if response.header.kind == stream_pb2.FRAME_KIND_DRAINING:
            raise Draining
        if response.HasField("run"):
            return response.run  # type: ignore[no-any-return]  # a FeedResponse
    raise Unavailable("the venue ended the feed")


@contextlib.asynccontextmanager
async def venue_service(settings: ServiceSettings) -> AsyncIterator[VenueServiceStub]:
    """The trading engine's internal service, with the feeder's identity."""
    channels, tasks = Channels(FEED, settings, SystemClock(), Breakers()), Tasks()
    tasks.spawn(channels.follow, name="endpoints")
    try:
        yield channels.stub(VenueServiceStub, "trading-engine")
    finally:
        await tasks.stop()
        await channels.close()


async def feed(settings: FeedSettings) -> None:
    """Feeds every instrument of the source until cancelled."""
    source = await asyncio.to_thread(settings.source)
    async with venue_service(settings) as venues, asyncio.TaskGroup() as group:
        for symbol in source.symbols:
            feeder = Feeder(venues, source, symbol, settings.feed_venue, settings.feed_speed)
            group.create_task(feeder.play_on(), name=f"feed {symbol}")
        await asyncio.Event().wait()  # A process that ended would be started again.


def run() -> None:
    """Feeds until SIGTERM or SIGINT; the process that `aac serve feed` starts."""
    settings = FeedSettings()
    writer = logs.configure(FEED, settings.instance_id, level=settings.log_level, json=settings.log_json)

    async def until_told() -> None:
        feeding = asyncio.current_task()
        assert feeding is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, feeding.cancel)
        await feed(settings)

    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(until_told())
    finally:
        writer.close()
