"""A plain consumer of the platform's Kafka topics: confluent's client, the contract's messages, nothing of ours."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable

from aac.event.v1.event_pb2 import Event
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

POLL_S = 0.1


class KafkaReader:
    """Reads topics from their beginning, and keeps each event once by its id."""

    def __init__(self, bootstrap_servers: str, topics: Iterable[str], *, venue: str = "") -> None:
        """Opens a consumer.

        Args:
            bootstrap_servers: Kafka's addresses.
            topics: What to read.
            venue: Keep only this venue's events; empty keeps all.
        """
        self.events: dict[str, Event] = {}
        """By event id, in the order of arrival."""
        self.deliveries = 0
        """Messages read, redelivered ones included."""
        self.conflicting: set[str] = set()
        """Ids under which different events came."""
        self._venue = venue
        self._topics = tuple(topics)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"test-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "topic.metadata.refresh.interval.ms": 1000,
            }
        )
        self._next: dict[tuple[str, int], int] = {}
        """The offset after what was read, by topic and partition."""

    def close(self) -> None:
        """Closes the consumer."""
        self._consumer.close()

    async def read_until(self, fact: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Reads until something is so; returns whether it is so in time."""
        return await asyncio.to_thread(self._read_until, fact, seconds)

    async def read_to_end(self, seconds: float = 60.0) -> bool:
        """Reads all that is there now, other venues' events too; returns whether that was done in time."""
        return await asyncio.to_thread(self._read_to_end, seconds)

    def _read_until(self, fact: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                return False
            self._poll()
        return True

    def _read_to_end(self, seconds: float) -> bool:
        ends = {
            (partition.topic, partition.partition): self._consumer.get_watermark_offsets(partition, timeout=10)[1]
            for partition in self._partitions()
        }
        # Not "until nothing of ours comes": what other venues published may lie before the rest of it for long.
        return self._read_until(lambda: all(self._next[of] >= end for of, end in ends.items()), seconds)

    def _poll(self) -> None:
        self._partitions()
        for message in self._consumer.consume(500, POLL_S):
            if message.error():
                continue
            self._next[message.topic(), message.partition()] = message.offset() + 1
            if self._venue and not message.key().startswith(f"{self._venue}/".encode()):
                continue
            event = Event.FromString(message.value())
            assert message.key().decode() == event.key
            self.deliveries += 1
            known = self.events.setdefault(event.event_id, event)
            if known is not event and known != event:
                self.conflicting.add(event.event_id)

    def _partitions(self) -> list[TopicPartition]:
        """What is read, assigned with the first call."""
        if not self._next:
            known = self._consumer.list_topics(timeout=10).topics
            self._next = {(topic, partition): 0 for topic in self._topics for partition in known[topic].partitions}
            self._consumer.assign([TopicPartition(*of, OFFSET_BEGINNING) for of in self._next])
        return [TopicPartition(*of) for of in self._next]
