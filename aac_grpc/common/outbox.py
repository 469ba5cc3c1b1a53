"""The transactional outbox: a change and its event commit together; a relay publishes what has been committed."""

from aac.event.v1.event_pb2 import Event

from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events.publisher import EventPublisher


async def add(tx: Transaction, event: Event, topic: str) -> None:
    """Writes an event beside the change that it tells of.

    `event.key` names the aggregate and `event.sequence` is its version, which the caller assigned under the
    aggregate's row lock: that is what keeps a key's events in order. The schema needs `-- include: outbox`.
    """
    raise NotImplementedError


class Relay:
    """Publishes a schema's unpublished rows to Kafka, in order for each key; one relay a schema, by lease."""

    def __init__(self, database: Database, publisher: EventPublisher) -> None:
        """Configures; `run` does the work."""

    async def run(self) -> None:
        """Relays until cancelled. Spawn it: `tasks.spawn(relay.run, name="outbox")`."""
        raise NotImplementedError
