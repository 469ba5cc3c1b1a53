"""Consuming from Kafka: each event takes effect once, in the transaction that notes its id."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg
import structlog
from aac.event.v1.event_pb2 import Event
from confluent_kafka import Consumer
from google.protobuf.message import DecodeError

from aac_grpc.client.errors import DeadlineExceeded, Overloaded, Unavailable
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import metrics
from aac_grpc.common.events.deadletters import DeadLetters, Parked
from aac_grpc.common.events.publisher import EventPublisher
from aac_grpc.common.events.reader import Reader, ReceivedEvent

EventHandler = Callable[[Event, Transaction], Awaitable[None]]
"""Writes an event's effect with the given transaction. It is called in order for each key, and may be called again for
an event whose transaction was rolled back. What it raises: a dependency that is away is waited for; anything else is
tried three times and then parks the event's key on "<topic>.dlq"."""

ATTEMPTS = 3
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
TIMEOUT_S = 30.0
"""For one transaction."""
WAITED_FOR = (
    Unavailable,
    DeadlineExceeded,
    Overloaded,
    psycopg.OperationalError,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)
"""Failures that say nothing about the event."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came, and what it holds."""

    message: ReceivedEvent
    event_id: str
    event: Event | None
    """None where the bytes are no event."""

    @property
    def place(self) -> tuple[str, str]:
        """Topic and key: what stays in order, and what is parked."""
        return self.message.topic, self.message.key


class EventConsumer:
    """One consumer group's member: reads topics, and lets a handler write their events' effects.

    The service's migrations must say `-- include: inbox`.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        *,
        group: str,
        handler: EventHandler,
        database: Database,
        publisher: EventPublisher,
        types: Sequence[str] | None = None,
        batch: int = 200,
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            bootstrap_servers: Kafka.
            topics: Names, see `topics.py`.
            group: Consumer group, also the name in the inbox; the service's name as a rule.
            handler: Writes the effect of one event.
            database: Holds the inbox and the effects.
            publisher: Takes dead letters.
            types: Event types to handle; others are passed over. None means all.
            batch: Events in one transaction at most.
        """
        self._topics = list(topics)
        self._group = group
        self._handler = handler
        self._database = database
        self._publisher = publisher
        self._types = frozenset(types) if types is not None else None
        self._batch = batch
        self._dead_letters = DeadLetters(database, publisher, group)
        self._config = {
            **publisher.config,
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 10_000,
            "auto.commit.interval.ms": 1000,
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": 10_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "allow.auto.create.topics": False,
        }

    async def run(self) -> None:
        """Consumes until cancelled. Spawn it: `tasks.spawn(consumer.run, name="events")`."""
        await self._publisher.ready()
        reader = Reader(self._config, self._subscribe)
        await reader.start()
        try:
            while True:
                messages = await reader.take(self._batch)
                metrics.CONSUMER_LAG.labels(self._group).set(reader.lag)
                await self._handle(messages)
                reader.store(messages)
        finally:
            await reader.stop()

    def _subscribe(self, consumer: Consumer) -> None:
        consumer.subscribe(self._topics)

    async def _handle(self, messages: Sequence[ReceivedEvent]) -> None:
        """Brings a batch to effect; returns when nothing of it is left to do."""
        incoming = [one for message in messages if (one := self._read(message)) is not None]
        if not incoming:
            return
        try:
            await self._apply(incoming)
        except Exception as error:
            _log.warning("a batch of events failed; they are tried one by one", group=self._group, error=repr(error))
            metrics.RETRIES.labels(self._group).inc()
            for one in incoming:
                await self._apply_alone(one)

    def _read(self, message: ReceivedEvent) -> Incoming | None:
        """Parses a message; None where its type is not wanted."""
        headers = message.headers
        if self._types is not None and headers.get("type", "") and headers["type"] not in self._types:
            return None
        try:
            event = Event.FromString(message.value)
        except DecodeError:
            return Incoming(message, headers.get("event_id", ""), None)
        if not event.event_id:
            return Incoming(message, headers.get("event_id", ""), None)
        if self._types is not None and event.type not in self._types:
            return None
        return Incoming(message, event.event_id, event)

    async def _apply(self, incoming: Sequence[Incoming]) -> None:
        """Writes effects and inbox in one transaction; events of parked keys go the way of their key."""
        async with self._database.transaction(timeout=TIMEOUT_S) as tx:
            parked = await self._dead_letters.parked(tx)
            wanted = [one for one in incoming if one.place not in parked]
            fresh = await self._claim(tx, wanted)
            for one in wanted:
                if one.event is None:
                    raise DecodeError("not an aac.event.v1.Event with an id")
                if one.event_id in fresh:
                    fresh.discard(one.event_id)
                    await self._handler(one.event, tx)
                    fate = "handled"
                else:
                    fate = "duplicate"
                metrics.CONSUMED.labels(one.message.topic, fate).inc()
        if later := [one for one in incoming if one.place in parked]:
            await self._dead_letters.divert(
                [(one.message, Parked(one.place, one.event_id, parked[one.place])) for one in later]
            )

    async def _claim(self, tx: Transaction, incoming: Sequence[Incoming]) -> set[str]:
        """Notes ids in the inbox; returns those that were not there. Waits for another member that notes the same."""
        cursor = await tx.execute(
            """insert into inbox (consumer, event_id) select %s, unnest(%s::text[])
            on conflict do nothing returning event_id""",
            (self._group, [one.event_id for one in incoming if one.event is not None]),
        )
        return {row["event_id"] for row in await cursor.fetchall()}

    async def _apply_alone(self, one: Incoming) -> None:
        """Brings one event to effect, or parks its key. Waits as long as something else is at fault."""
        pause, failures = FIRST_PAUSE_S, 0
        while True:
            try:
                await self._apply([one])
                return
            except WAITED_FOR as error:
                _log.warning("an event waits", group=self._group, event_id=one.event_id, error=repr(error))
            except Exception as error:
                failures += 1
                if failures == ATTEMPTS or one.event is None:
                    _log.exception("a key is parked", group=self._group, event_id=one.event_id, key=one.place[1])
                    await self._park(one, error)
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _park(self, one: Incoming, error: Exception) -> None:
        """Parks an event's key; waits until both Kafka and the database took it."""
        parked = Parked(one.place, one.event_id, f"{type(error).__name__}: {error}"[:1000])
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._dead_letters.park(one.message, parked)
                return
            except WAITED_FOR as failure:
                _log.warning("a key can't be parked yet", group=self._group, error=repr(failure))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
