"""Consuming from Kafka: each event takes effect once, in the transaction that notes its id."""

from collections.abc import Awaitable, Callable, Sequence

from aac.event.v1.event_pb2 import Event

from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events.publisher import EventPublisher

EventHandler = Callable[[Event, Transaction], Awaitable[None]]
"""Writes an event's effect with the given transaction. It is called in order for each key, and may be called again for
an event whose transaction was rolled back. What it raises: a dependency that is away is waited for; anything else is
tried three times and then parks the event's key on "<topic>.dlq"."""


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

    async def run(self) -> None:
        """Consumes until cancelled. Spawn it: `tasks.spawn(consumer.run, name="events")`."""
        raise NotImplementedError
