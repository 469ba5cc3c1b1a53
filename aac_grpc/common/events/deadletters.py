"""Dead letters: an event that can't be handled parks its key, so that nothing of that key overtakes it; others flow."""

from collections import Counter
from collections.abc import Sequence
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
        await self._publish([(message, parked)])
        topic, key = parked.place
        await self._database.execute(
            """insert into parked_keys (consumer, topic, key, event_id, reason) values (%s, %s, %s, %s, %s)
            on conflict (consumer, topic, key) do nothing""",
            (self._group, topic, key, parked.event_id, parked.reason),
        )

    async def divert(self, later: Sequence[tuple[ReceivedEvent, Parked]]) -> None:
        """Publishes later messages of parked keys, in their order.

        Raises:
            DependencyUnavailable: Kafka or PostgreSQL is away; to be tried again.
        """
        await self._publish(later)
        counts = Counter(parked.place for _, parked in later)
        await self._database.execute(
            """update parked_keys set events = events + more.count
            from unnest(%s::text[], %s::text[], %s::bigint[]) as more(topic, key, count)
            where consumer = %s and parked_keys.topic = more.topic and parked_keys.key = more.key""",
            ([topic for topic, _ in counts], [key for _, key in counts], list(counts.values()), self._group),
        )

    async def _publish(self, messages: Sequence[tuple[ReceivedEvent, Parked]]) -> None:
        await self._publisher.publish_all([self._dead_letter(message, parked) for message, parked in messages])
        for _, parked in messages:
            metrics.CONSUMED.labels(parked.place[0], "parked").inc()

    def _dead_letter(self, message: ReceivedEvent, parked: Parked) -> OutgoingEvent:
        topic, key = parked.place
        headers = {
            **message.headers,
            "dlq-reason": parked.reason,
            "dlq-group": self._group,
            "dlq-origin": f"{topic}/{message.partition}/{message.offset}",
        }
        return OutgoingEvent(dead_letters(topic), key, message.value, headers)
