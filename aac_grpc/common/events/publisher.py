"""Publishing to Kafka: idempotent, acknowledged by all in-sync replicas, in order for each key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aac.event.v1.event_pb2 import Event


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """One message for a topic."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def outgoing(event: Event, topic: str) -> OutgoingEvent:
    """Frames a domain event: its own key; headers event_id, type, content-type."""
    raise NotImplementedError


class EventPublisher:
    """The process's Kafka producer, on a thread of its own."""

    def __init__(self, bootstrap_servers: str, *, config: Mapping[str, str] | None = None) -> None:
        """Configures; nothing is opened yet. `config` adds librdkafka settings (TLS, SASL)."""

    async def start(self) -> None:
        """Starts the thread and makes the platform's topics where they are missing, in the background."""

    async def stop(self, timeout: float = 10.0) -> None:
        """Flushes what is under way, at most `timeout` seconds, and ends the thread."""

    async def publish(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None, *, timeout: float = 10.0
    ) -> None:
        """Publishes one message and returns when Kafka has it for good.

        Raises:
            DependencyUnavailable: Kafka did not take it in time. It may still arrive: consumers deduplicate by event id.
        """
        raise NotImplementedError

    async def publish_all(self, events: Sequence[OutgoingEvent], *, timeout: float = 10.0) -> None:
        """Publishes a batch in order and returns when Kafka has all of it; for what is over, see `publish`."""
        raise NotImplementedError
