"""A Kafka consumer on a thread of its own: it hands batches to the event loop, and waits when that is behind."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from aac_grpc.client.errors import DependencyUnavailable

Prepared = TypeVar("Prepared")

POLL_S = 0.1
FETCH = 500
LAG_EVERY_S = 2.0

_log = structlog.get_logger(__name__)
_kafka_log = logging.getLogger("confluent_kafka")


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A message where it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]


class Reader(Generic[Prepared]):
    """Reads on a thread, at most `limit` messages (and one fetch) ahead of whoever takes them.

    Attributes:
        lag: Messages of the assigned partitions that were not read yet, as last seen.
    """

    def __init__(
        self, config: Mapping[str, Any], prepare: Callable[[Consumer], Prepared], *, limit: int = 2000
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            config: librdkafka settings.
            prepare: Subscribes or assigns, on the thread; what it returns is what `start` returns.
            limit: Messages that wait to be taken at most; over it partitions pause, and membership is kept.
        """
        self.lag = 0
        self._config = {**config, "enable.auto.offset.store": False, "enable.partition.eof": False}
        self._prepare = prepare
        self._limit = limit
        self._queue: asyncio.Queue[list[ReceivedEvent] | Exception] = asyncio.Queue()
        self._rest: list[ReceivedEvent] = []
        self._handed = self._taken = 0
        self._stopping = threading.Event()
        self._effective: deque[dict[tuple[str, int], int]] = deque()
        self._thread: threading.Thread | None = None

    async def start(self) -> Prepared:
        """Starts the thread and waits until it is prepared.

        Raises:
            DependencyUnavailable: Kafka can't be reached.
        """
        self._loop = asyncio.get_running_loop()
        prepared: asyncio.Future[Prepared] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(prepared,), name="kafka-reader", daemon=True)
        self._thread.start()
        try:
            return await prepared
        except KafkaException as error:
            raise DependencyUnavailable("kafka") from error

    async def take(self, most: int) -> list[ReceivedEvent]:
        """The next messages, in the order of their partitions: at least one, at most `most`.

        Raises:
            KafkaException: The consumer can't go on.
        """
        if not self._rest:
            self._rest = await self._next()
        while len(self._rest) < most and not self._queue.empty():
            self._rest += await self._next()
        taken, self._rest = self._rest[:most], self._rest[most:]
        self._taken += len(taken)
        return taken

    def store(self, messages: Sequence[ReceivedEvent]) -> None:
        """Notes that everything up to these messages took effect; committed within about a second, and at the end."""
        self._effective.append({(one.topic, one.partition): one.offset + 1 for one in messages})

    async def stop(self) -> None:
        """Commits what was stored, leaves the group and ends the thread."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def _next(self) -> list[ReceivedEvent]:
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _run(self, prepared: "asyncio.Future[Prepared]") -> None:
        try:
            consumer = Consumer(self._config, logger=_kafka_log)
            try:
                self._tell(_resolve, prepared, self._prepare(consumer))
                self._read(consumer)
                self._store(consumer)
            finally:
                consumer.close()
        except Exception as error:
            self._tell(_fail, prepared, error)
            self._tell(self._queue.put_nowait, error)

    def _read(self, consumer: Consumer) -> None:
        paused = False
        lag_at = time.monotonic()
        while not self._stopping.is_set():
            waiting = self._handed - self._taken
            if waiting > self._limit or (paused and waiting > self._limit // 2):
                # Again in each round: a rebalance brings partitions that are not paused.
                consumer.pause(consumer.assignment())
                paused = True
            elif paused:
                consumer.resume(consumer.assignment())
                paused = False
            self._store(consumer)
            batch = [_received(message) for message in consumer.consume(FETCH, POLL_S) if _is_good(message)]
            if batch:
                self._handed += len(batch)
                self._tell(self._queue.put_nowait, batch)
            if time.monotonic() >= lag_at:
                lag_at = time.monotonic() + LAG_EVERY_S
                self.lag = _lag(consumer)

    def _store(self, consumer: Consumer) -> None:
        """Tells the client what took effect. Only this thread calls it: two in it at once can block each other."""
        offsets: dict[tuple[str, int], int] = {}
        while self._effective:
            offsets.update(self._effective.popleft())
        for (topic, partition), offset in offsets.items():
            # The partition may have gone to another member; that one reads them again, and the inbox knows them.
            with contextlib.suppress(KafkaException):
                consumer.store_offsets(offsets=[TopicPartition(topic, partition, offset)])

    def _tell(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)


def _is_good(message: Message) -> bool:
    """Tells messages from errors. Those that librdkafka mends by itself are only logged.

    Raises:
        KafkaException: It can't go on.
    """
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise KafkaException(error)
    _log.warning("reading from Kafka", error=error.str())
    return False


def _received(message: Message) -> ReceivedEvent:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return ReceivedEvent(
        topic, partition, offset, _text(message.key()), _bytes(message.value()), _headers(message.headers())
    )


def _headers(headers: Any) -> dict[str, str]:
    return {name: _text(value) for name, value in headers or ()}


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: str | bytes | None) -> str:
    return _bytes(value).decode(errors="replace")


def _lag(consumer: Consumer) -> int:
    with contextlib.suppress(KafkaException):
        lag = 0
        for here in consumer.position(consumer.assignment()):
            _, end = consumer.get_watermark_offsets(here, cached=True)
            if here.offset >= 0 and end > here.offset:
                lag += end - here.offset
        return lag
    return 0


def _resolve(future: "asyncio.Future[Prepared]", value: Prepared) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Prepared]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
