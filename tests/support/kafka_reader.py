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
        self._assigned = False

    def close(self) -> None:
        """Closes the consumer."""
        self._consumer.close()

    async def read_until(self, fact: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Reads until something is so; returns whether it is so in time."""
        return await asyncio.to_thread(self._read_until, fact, seconds)

    async def read_to_end(self, quiet_s: float = 1.5, seconds: float = 60.0) -> None:
        """Reads until nothing new has come for a while."""
        await asyncio.to_thread(self._read_to_end, quiet_s, seconds)

    def _read_until(self, fact: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                return False
            self._poll()
        return True

    def _read_to_end(self, quiet_s: float, seconds: float) -> None:
        deadline, heard = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < min(deadline, heard + quiet_s):
            if self._poll():
                heard = time.monotonic()

    def _poll(self) -> int:
        if not self._assigned:
            self._assign()
        read = 0
        for message in self._consumer.consume(500, POLL_S):
            if message.error():
                continue
            event = Event.FromString(message.value())
            if self._venue and event.venue != self._venue:
                continue
            assert message.key().decode() == event.key
            read += 1
            self.deliveries += 1
            known = self.events.setdefault(event.event_id, event)
            if known is not event and known != event:
                self.conflicting.add(event.event_id)
        return read

    def _assign(self) -> None:
        known = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in self._topics
                for partition in known[topic].partitions
            ]
        )
        self._assigned = True
