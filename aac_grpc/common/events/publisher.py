"""Publishing to Kafka: idempotent, acknowledged by all in-sync replicas, in order for each key.

librdkafka's client runs beside the event loop: `produce` only queues, and one thread polls for acknowledgements and
hands them to the loop in batches. (`confluent_kafka.aio` can't send headers.)
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from aac.event.v1.event_pb2 import Event
from confluent_kafka import KafkaError, KafkaException, Producer
from prometheus_client import Counter

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.events import metrics
from aac_grpc.common.topics import TOPICS, Topic, ensure_topics

CONTENT_TYPE = "application/protobuf; proto=aac.event.v1.Event"
POLL_S = 0.1
TOPICS_RETRY_S = 1.0

_log = structlog.get_logger(__name__)
_kafka_log = logging.getLogger("confluent_kafka")


class EventRejected(Exception):
    """Kafka will never take this message, such as one that is too large."""


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """One message for a topic."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def outgoing(event: Event, topic: str) -> OutgoingEvent:
    """Frames a domain event: its own key; headers event_id, type, content-type."""
    return OutgoingEvent(topic, event.key, event.SerializeToString(), event_headers(event.event_id, event.type))


def event_headers(event_id: str, type_: str) -> dict[str, str]:
    """The headers of every event, by which consumers tell it apart before they parse it."""
    return {"event_id": event_id, "type": type_, "content-type": CONTENT_TYPE}


class _Batch:
    """Messages that one caller waits for. Lives on the loop; the polling thread only carries it."""

    __slots__ = ("error", "future", "waiting")

    def __init__(self, size: int, future: asyncio.Future[None]) -> None:
        self.waiting = size
        self.future = future
        self.error: Exception | None = None

    def settle(self, error: Exception | None) -> None:
        """Notes one message's fate."""
        self.waiting -= 1
        self.error = self.error or error
        if self.waiting == 0 and not self.future.done():
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self.error)


class EventPublisher:
    """The process's Kafka producer.

    A message that Kafka does not take at once stays queued until it does, so that nothing overtakes it; how many may
    wait is bounded. While Kafka is away `publish` fails at its deadline, then fast.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        config: Mapping[str, str] | None = None,
        topics: Iterable[Topic] = TOPICS,
        max_in_flight: int = 10_000,
        breaker: Breaker | None = None,
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            bootstrap_servers: Kafka.
            config: More librdkafka settings, for all clients (TLS, SASL).
            topics: Made at the start where they are missing.
            max_in_flight: Messages that are queued or on their way at most.
            breaker: Of Kafka; default one of its own.
        """
        self.config: dict[str, str] = {"bootstrap.servers": bootstrap_servers, **(config or {})}
        self._topics = tuple(topics)
        self._places = asyncio.Semaphore(max_in_flight)
        self._max_in_flight = max_in_flight
        self._breaker = breaker or Breaker("kafka")
        self._ready = asyncio.Event()
        self._making_topics: asyncio.Task[None] | None = None
        self._stopping = threading.Event()
        self._acknowledged: list[tuple[_Batch, KafkaError | None, str]] = []
        self._broken = False
        self._published: dict[str, Counter] = {}

    async def start(self) -> None:
        """Starts the thread, and in the background makes the platform's topics where they are missing."""
        self._loop = asyncio.get_running_loop()
        self._producer = self._make_producer()
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()
        self._making_topics = asyncio.create_task(self._make_topics(), name="kafka-topics")

    async def stop(self, timeout: float = 10.0) -> None:
        """Flushes what is under way, at most `timeout` seconds, and ends the thread."""
        if self._making_topics is None:
            return
        self._making_topics.cancel()
        await asyncio.wait({self._making_topics})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for _ in range(self._max_in_flight):
                    await self._places.acquire()
        self._producer.purge()
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    async def ready(self) -> None:
        """Waits until the platform's topics are there."""
        await self._ready.wait()

    async def ping(self) -> None:
        """Raises DependencyUnavailable unless a broker answers in a second."""
        try:
            await asyncio.to_thread(partial(self._producer.list_topics, timeout=1.0))
        except KafkaException as error:
            raise DependencyUnavailable("kafka") from error

    async def publish(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None, *, timeout: float = 10.0
    ) -> None:
        """Publishes one message and returns when Kafka has it for good.

        Raises:
            DependencyUnavailable: Kafka did not take it in time. It may still arrive: consumers keep event ids.
            EventRejected: Kafka will never take it.
        """
        await self.publish_all([OutgoingEvent(topic, key, value, headers or {})], timeout=timeout)

    async def publish_all(self, events: Sequence[OutgoingEvent], *, timeout: float | None = 10.0) -> None:
        """Publishes a batch in order and returns when Kafka has all of it.

        Args:
            events: In the order that each key must keep.
            timeout: Seconds; None waits until Kafka is back, which is right for whoever would only publish the same
                again (a relay).

        Raises:
            DependencyUnavailable: Kafka did not take all in time. What is queued may still arrive.
            EventRejected: Kafka will never take one of them; the others are taken.
        """
        if not events:
            return
        if timeout is None:
            await self._send(events)
            return
        with self._breaker.guard(DependencyUnavailable):
            try:
                async with asyncio.timeout(timeout):
                    await self._send(events)
            except TimeoutError as error:
                raise DependencyUnavailable("kafka") from error

    async def _send(self, events: Sequence[OutgoingEvent]) -> None:
        batch = _Batch(len(events), self._loop.create_future())
        for event in events:
            await self._places.acquire()
            metrics.IN_FLIGHT.inc()
            try:
                await self._enqueue(event, batch)
            except BaseException:
                self._settled(1)
                raise
        await batch.future

    async def _enqueue(self, event: OutgoingEvent, batch: _Batch) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(event.headers.items())
        acknowledge = partial(self._on_delivery, batch)
        while True:
            try:
                self._producer.produce(
                    event.topic, value=event.value, key=event.key, headers=headers, on_delivery=acknowledge
                )
                return
            except BufferError:
                # librdkafka's own queue is full by bytes; it empties as Kafka acknowledges.
                await asyncio.sleep(0.005)
            except KafkaException as error:
                self._acknowledge([(batch, error.args[0], event.topic)])
                return

    def _on_delivery(self, batch: _Batch, error: KafkaError | None, message: Any) -> None:
        """Called by `poll`, on its thread."""
        self._acknowledged.append((batch, error, message.topic()))

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_S)
            if self._broken:
                self._replace()
            self._hand_over()
        self._producer.poll(0)
        self._hand_over()

    def _on_error(self, error: KafkaError) -> None:
        """Called by `poll`. An idempotent producer that lost its order can never go on."""
        if error.fatal():
            self._broken = True

    def _hand_over(self) -> None:
        """Gives the loop all acknowledgements of one poll at once: waking it costs more than an acknowledgement."""
        if self._acknowledged:
            taken, self._acknowledged = self._acknowledged, []
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._acknowledge, taken)

    def _replace(self) -> None:
        """Goes on with a new client; whoever waits for a message of the old one is told."""
        _log.error("the Kafka producer can't go on and is replaced")
        broken, self._producer, self._broken = self._producer, self._make_producer(), False
        for _ in range(2):  # the loop may just have put one more in
            broken.purge()
            broken.flush(0.5)

    def _acknowledge(self, taken: Sequence[tuple[_Batch, KafkaError | None, str]]) -> None:
        for batch, error, topic in taken:
            batch.settle(None if error is None else _failure(error))
            if error is None:
                self._count(topic)
            else:
                metrics.PUBLISH_FAILURES.inc()
        self._settled(len(taken))

    def _settled(self, count: int) -> None:
        metrics.IN_FLIGHT.dec(count)
        for _ in range(count):
            self._places.release()

    def _count(self, topic: str) -> None:
        counter = self._published.get(topic)
        if counter is None:
            counter = self._published[topic] = metrics.PUBLISHED.labels(topic)
        counter.inc()

    def _make_producer(self) -> Producer:
        return Producer(
            {
                **self.config,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "lz4",
                "batch.size": 16384,
                "linger.ms": 2,
                # Never given up here: whatever follows along a key must not overtake it.
                "message.timeout.ms": 0,
                "queue.buffering.max.messages": self._max_in_flight * 2,
                "queue.buffering.max.kbytes": 65536,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "socket.timeout.ms": 10_000,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
            },
            logger=_kafka_log,
        )

    async def _make_topics(self) -> None:
        while True:
            try:
                made = await ensure_topics(self.config, self._topics)
            except DependencyUnavailable as error:
                _log.warning("topics can't be made yet", error=str(error.__cause__))
                await asyncio.sleep(TOPICS_RETRY_S)
            else:
                self._ready.set()
                if made:
                    _log.info("topics made", topics=made)
                return


def _failure(error: KafkaError) -> Exception:
    if error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL) or error.retriable():
        return DependencyUnavailable("kafka")
    return EventRejected(error.str())
