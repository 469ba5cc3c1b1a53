"""Following topics without a group: for people who watch, not for effects."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition

from aac_grpc.common.events.reader import Reader, ReceivedEvent

Partition = tuple[str, int]
ADMIN_TIMEOUT_S = 5.0
RETRY_S = 0.1
BATCH = 500
READ_AHEAD_KB = 1024


class EventTail:
    """Reads topics from given offsets, from the beginning or from now on; commits nothing."""

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        *,
        start: Mapping[Partition, int] | None = None,
        from_beginning: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            bootstrap_servers: Kafka.
            topics: Names.
            start: First offset wanted by (topic, partition); the others begin as `from_beginning` says.
            from_beginning: Begin with the oldest message kept, else with the next one.
            config: More librdkafka settings (TLS, SASL).
        """
        self._topics = tuple(topics)
        self._start = dict(start or {})
        self._from_beginning = from_beginning
        self._reader = Reader(
            {
                "bootstrap.servers": bootstrap_servers,
                **(config or {}),
                # librdkafka wants a name; nothing joins or commits.
                "group.id": f"aac-tail-{uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                # librdkafka reads 64 MB ahead by default, for each watcher, however slowly that one reads.
                "queued.max.messages.kbytes": READ_AHEAD_KB,
                "queued.min.messages": BATCH,
                "fetch.max.bytes": READ_AHEAD_KB << 10,
                "message.max.bytes": READ_AHEAD_KB << 10,
            },
            self._assign,
        )

    async def open(self) -> dict[Partition, tuple[int, int]]:
        """Starts reading; returns each partition's first offset kept and the offset that it begins at.

        Raises:
            DependencyUnavailable: Kafka can't be reached.
        """
        return await self._reader.start()

    async def batches(self) -> AsyncIterator[list[ReceivedEvent]]:
        """Messages as they come, in the order of their partition, at most 500 at once; never ends by itself.

        Raises:
            KafkaException: Reading can't go on.
        """
        while True:
            yield await self._reader.take(BATCH)

    async def close(self) -> None:
        """Ends reading."""
        await self._reader.stop()

    def _assign(self, consumer: Consumer) -> dict[Partition, tuple[int, int]]:
        known = consumer.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        points = {}
        for topic in self._topics:
            for partition in known[topic].partitions if topic in known else ():
                first, end = _bounds(consumer, TopicPartition(topic, partition))
                default = first if self._from_beginning else end
                wanted = self._start.get((topic, partition), default)
                points[topic, partition] = first, min(max(first, wanted), end)
        consumer.assign([TopicPartition(topic, partition, at) for (topic, partition), (_, at) in points.items()])
        return points


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """A partition's first offset kept and its next one. A partition may be without a leader for a moment."""
    ends_at = time.monotonic() + ADMIN_TIMEOUT_S
    while True:
        try:
            first, end = consumer.get_watermark_offsets(partition, timeout=ADMIN_TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > ends_at:
                raise
            time.sleep(RETRY_S)
            consumer.list_topics(partition.topic, timeout=ADMIN_TIMEOUT_S)
        else:
            return first, end
