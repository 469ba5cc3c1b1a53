"""Dead letters: an event that can't be handled parks its key, so that nothing of that key overtakes it; others flow."""

from dataclasses import dataclass

from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import metrics
from aac_grpc.common.events.publisher import EventPublisher, OutgoingEvent
from aac_grpc.common.events.reader import ReceivedEvent
from aac_grpc.common.topics import dead_letters


@dataclass(frozen=True, slots=True)
class Parked:
    """Why a message goes to the dead letters."""

    place: tuple[str, str]
    """Topic and key."""
    event_id: str
    reason: str


class DeadLetters:
    """The parked keys of one consumer group, in its schema, and the way to the dead-letter topics."""

    def __init__(self, database: Database, publisher: EventPublisher, group: str) -> None:
        self._database = database
        self._publisher = publisher
        self._group = group

    async def parked(self, tx: Transaction) -> dict[tuple[str, str], str]:
        """Topic and key of what is parked, and the reason."""
        cursor = await tx.execute("select topic, key, reason from parked_keys where consumer = %s", (self._group,))
        return {(row["topic"], row["key"]): row["reason"] for row in await cursor.fetchall()}

    async def park(self, message: ReceivedEvent, parked: Parked) -> None:
        """Publishes the message that can't be handled, then parks its key. A crash between them repeats the first.

        Raises:
            DependencyUnavailable: Kafka or PostgreSQL is away; to be tried again.
        """
        await self._publish(message, parked)
        topic, key = parked.place
        await self._database.execute(
            """insert into parked_keys (consumer, topic, key, event_id, reason) values (%s, %s, %s, %s, %s)
            on conflict (consumer, topic, key) do nothing""",
            (self._group, topic, key, parked.event_id, parked.reason),
        )

    async def divert(self, message: ReceivedEvent, parked: Parked) -> None:
        """Publishes a later message of a parked key.

        Raises:
            DependencyUnavailable: Kafka or PostgreSQL is away; to be tried again.
        """
        await self._publish(message, parked)
        topic, key = parked.place
        await self._database.execute(
            "update parked_keys set events = events + 1 where consumer = %s and topic = %s and key = %s",
            (self._group, topic, key),
        )

    async def _publish(self, message: ReceivedEvent, parked: Parked) -> None:
        topic, key = parked.place
        headers = {
            **message.headers,
            "dlq-reason": parked.reason,
            "dlq-group": self._group,
            "dlq-origin": f"{topic}/{message.partition}/{message.offset}",
        }
        await self._publisher.publish_all([OutgoingEvent(dead_letters(topic), key, message.value, headers)], timeout=10)
        metrics.CONSUMED.labels(topic, "parked").inc()
