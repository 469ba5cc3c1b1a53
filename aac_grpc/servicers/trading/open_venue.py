"""A venue that this instance writes: its memory, journal, writer, streams and relay, from lease to release."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from aac_grpc.client.errors import AacError
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database
from aac_grpc.common.events import EventPublisher
from aac_grpc.common.tasks import Task, Tasks
from aac_grpc.domain.instruments import Instrument
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.domain_events import DomainEvents
from aac_grpc.servicers.trading.failpoints import Failpoint
from aac_grpc.servicers.trading.journal import Journal
from aac_grpc.servicers.trading.leases import Lease
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.memory import Memory
from aac_grpc.servicers.trading.recovery import Snapshot, recover, save_snapshot
from aac_grpc.servicers.trading.relay import KafkaRelay
from aac_grpc.servicers.trading.risk import RiskCheck
from aac_grpc.servicers.trading.settings import TradingSettings
from aac_grpc.servicers.trading.venue_streams import VenueStreams
from aac_grpc.servicers.trading.venue_table import VenueRow
from aac_grpc.servicers.trading.writer import VenueWriter

_log = structlog.get_logger(__name__)

FINISH_S = 2.0
"""How long a batch under way may take to end before it is given up."""


@dataclass(frozen=True, slots=True)
class Means:
    """What open venues share."""

    database: Database
    publisher: EventPublisher
    risk: RiskCheck
    clock: Clock
    tasks: Tasks
    settings: TradingSettings
    failpoint: Failpoint


class OpenVenue:
    """A venue under this instance's lease."""

    def __init__(self, row: VenueRow, lease: Lease, live: LiveVenue, means: Means) -> None:
        """Takes over a venue that was just recovered."""
        self.row = row
        self.lease = lease
        self._means = means
        settings, database = means.settings, means.database
        self._memory = Memory(live, self._recover)
        journal = Journal(database, lease, settings.venue_lease_s, settings.commit_timeout_s, means.failpoint)
        self.streams = VenueStreams(row, self._memory, database)
        self.writer = VenueWriter(
            self._memory, journal, means.risk, means.clock, settings, self._committed, means.failpoint
        )
        mapper = DomainEvents(row.name, row.epoch, self._instrument)
        self._relay = KafkaRelay(database, means.publisher, row.venue_id, mapper, means.failpoint)
        self._saved = live.venue.sequence
        self._saving: asyncio.Task[None] | None = None
        self._tasks: list[Task] = []

    @classmethod
    async def open(cls, row: VenueRow, lease: Lease, means: Means) -> "OpenVenue":
        """Recovers a venue and begins to write it."""
        live = await recover(means.database, row.venue_id, row.name)
        venue = cls(row, lease, live, means)
        venue._start()
        _log.info("venue opened", venue=row.name, epoch=lease.epoch, sequence=live.venue.sequence)
        return venue

    @property
    def closed(self) -> bool:
        """This instance does not write it any more."""
        return self.writer.closed

    async def finish(self, reason: AacError) -> None:
        """Takes no more requests and lets the batch under way end, so that what is saved then is all that there is."""
        self.writer.finish(reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._tasks[0].wait()

    async def close(self, reason: AacError) -> None:
        """Ends the writer and the relay, and tells all who wait."""
        self.writer.close(reason)
        self.streams.close()
        for task in self._tasks:
            await task.cancel()
        if self._saving is not None:
            await asyncio.wait({self._saving})

    async def save(self) -> None:
        """Saves a snapshot, if anything happened since the last one. Only once the writer has ended."""
        live = self._memory.live
        if self._memory.is_trusted and live.venue.sequence > self._saved:
            await save_snapshot(self._means.database, Snapshot.take(live))

    def _start(self) -> None:
        tasks, name = self._means.tasks, self.row.name
        self._tasks = [
            tasks.spawn(self._write, name=f"writer of {name}", restart=False),
            tasks.spawn(self._relay.run, name=f"relay of {name}"),
        ]

    async def _write(self) -> None:
        try:
            await self.writer.run()
        except Exception:
            # The venue is opened again by the next one who asks for it; the process is well.
            _log.exception("writer failed", venue=self.row.name)

    def _committed(self, batch: Batch) -> None:
        self.streams.publish(batch)
        self._relay.wake()
        behind = batch.last_sequence - self._saved
        if behind >= self._means.settings.snapshot_events and (self._saving is None or self._saving.done()):
            # Copied now: the next batch may begin before the task does.
            self._saving = asyncio.create_task(self._save(Snapshot.take(batch.live)))

    async def _save(self, snapshot: Snapshot) -> None:
        try:
            await save_snapshot(self._means.database, snapshot)
        except AacError as error:
            _log.warning("snapshot failed", venue=self.row.name, error=str(error))
        else:
            self._saved = snapshot.sequence

    async def _recover(self) -> LiveVenue:
        return await recover(self._means.database, self.row.venue_id, self.row.name)

    def _instrument(self, symbol: str) -> Instrument:
        instrument = self._memory.live.instrument(symbol)
        assert instrument is not None
        return instrument
