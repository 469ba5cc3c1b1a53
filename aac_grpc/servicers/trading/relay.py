"""From the journal to Kafka: the journal is the outbox, and the relay notes how far it was delivered."""

import asyncio
from collections.abc import Sequence

import structlog
from aac.trading.v1.journal_pb2 import JournalBatch

from aac_grpc.client.errors import AacError
from aac_grpc.common.database import Database
from aac_grpc.common.events import EventPublisher, OutgoingEvent, outgoing
from aac_grpc.servicers.trading.domain_events import DomainEvents
from aac_grpc.servicers.trading.failpoints import AFTER_PUBLISH, Failpoint
from aac_grpc.servicers.trading.order_changes import changes_in

_BATCHES = 32
"""Journal rows that are published at once."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

_log = structlog.get_logger(__name__)


class KafkaRelay:
    """Publishes one venue's committed events, in order. While Kafka is away it waits, and then catches up."""

    def __init__(
        self, database: Database, publisher: EventPublisher, venue_id: int, mapper: DomainEvents, failpoint: Failpoint
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._venue_id = venue_id
        self._mapper = mapper
        self._failpoint = failpoint
        self._news = asyncio.Event()
        self._news.set()

    def wake(self) -> None:
        """There is a new batch."""
        self._news.set()

    async def run(self) -> None:
        """Relays until cancelled."""
        position: int | None = None
        pause = _FIRST_PAUSE_S
        while True:
            await self._news.wait()
            try:
                if position is None:
                    position = await self._position()
                position = await self._relay(position)
                pause = _FIRST_PAUSE_S
            except AacError as error:
                _log.warning("relay waits", venue_id=self._venue_id, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _relay(self, position: int) -> int:
        """Publishes the next batches; returns up to which one all is delivered and noted."""
        self._news.clear()
        try:
            rows = await self._database.fetch_all(
                "select batch, events from journal where venue_id = %s and batch > %s order by batch limit %s",
                (self._venue_id, position, _BATCHES),
            )
            if not rows:
                return position
            self._news.set()
            events = [event for row in rows for event in self._events(row["events"])]
            # What is queued stays queued while Kafka is away; to give up would only queue the same again.
            await self._publisher.publish_all(events, timeout=None)
            self._failpoint.reach(AFTER_PUBLISH)
            last: int = rows[-1]["batch"]
            await self._database.execute(
                "update relays set batch = %(batch)s where venue_id = %(venue_id)s and batch < %(batch)s",
                {"batch": last, "venue_id": self._venue_id},
            )
        except AacError:
            self._news.set()
            raise
        return last

    def _events(self, events: bytes) -> Sequence[OutgoingEvent]:
        return [
            outgoing(event, topic)
            for message, changes in changes_in(JournalBatch.FromString(events).events)
            for topic, event in self._mapper.of(message, changes)
        ]

    async def _position(self) -> int:
        row = await self._database.fetch_one("select batch from relays where venue_id = %s", (self._venue_id,))
        return 0 if row is None else int(row["batch"])
