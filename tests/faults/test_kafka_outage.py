"""Kafka slow, down and back: changes go on, their events wait and arrive in order, and effects are not doubled."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from aac.event.v1.event_pb2 import Event

from aac_grpc.backends.kafka import Kafka
from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common import outbox
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import EventConsumer, EventPublisher, metrics
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.topics import Topic
from tests.faults.outages import Server, server
from tests.support.scratch import scratch_database

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
async def kafka() -> AsyncIterator[Server]:
    async with server(Kafka) as running:
        yield running


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    columns = "n bigint generated always as identity, key text, version bigint"
    async with scratch_database(backends["DATABASE_URL"], effects=columns) as opened:
        yield opened


@pytest.fixture
async def publisher(kafka: Server) -> AsyncIterator[EventPublisher]:
    made = EventPublisher(kafka.url, topics=[Topic(f"test.{secrets.token_hex(4)}", partitions=3)])
    await made.start()
    await asyncio.wait_for(made.ready(), 30)
    yield made
    await made.stop(timeout=2)


@pytest.fixture
async def flow(kafka: Server, publisher: EventPublisher, database: Database) -> AsyncIterator["Flow"]:
    tasks = Tasks()
    running = Flow(kafka, publisher, database, tasks)
    yield running
    await tasks.stop(grace=20)


class Flow:
    """Changes of five aggregates on one side, their effects on the other."""

    def __init__(self, kafka: Server, publisher: EventPublisher, database: Database, tasks: Tasks) -> None:
        self.topic = publisher._topics[0].name
        self._database = database
        self._written = 0
        tasks.spawn(outbox.Relay(database, publisher).run, name="outbox")
        consumer = EventConsumer(
            kafka.url, [self.topic], group=self.topic, handler=self._effect, database=database, publisher=publisher
        )
        tasks.spawn(consumer.run, name="consumer")

    async def change(self, count: int) -> None:
        """Commits changes; none waits for Kafka."""
        for _ in range(count):
            key, version = f"main/{self._written % 5}", self._written // 5 + 1
            async with self._database.transaction() as tx:
                event = Event(event_id=f"{key}-{version}", type="aac.test", key=key, sequence=version)
                await outbox.add(tx, event, self.topic)
            self._written += 1

    async def _effect(self, event: Event, tx: Transaction) -> None:
        await tx.execute("insert into effects (key, version) values (%s, %s)", (event.key, event.sequence))

    async def settle(self, seconds: float) -> None:
        """Waits until every change took effect, and checks that each did so once and in order."""
        await until(self._is_settled, seconds)
        for key in range(5):
            rows = await self._database.fetch_all(
                "select version from effects where key = %s order by n", (f"main/{key}",)
            )
            assert [row["version"] for row in rows] == list(range(1, self._written // 5 + 1))

    async def waiting(self) -> int:
        """Rows that Kafka does not have."""
        row = await self._database.fetch_one("select count(*) as n from outbox where published_at is null")
        assert row is not None
        return int(row["n"])

    async def _is_settled(self) -> bool:
        row = await self._database.fetch_one("select count(*) as n from effects")
        return row is not None and row["n"] >= self._written


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def test_while_kafka_is_down_changes_commit_and_their_events_wait_then_arrive_once_and_in_order(
    kafka: Server, flow: Flow, database: Database
) -> None:
    await flow.change(50)
    await flow.settle(30)
    kafka.kill()
    began = time.monotonic()
    await flow.change(100)
    assert time.monotonic() - began < 20
    assert await flow.waiting() == 100
    await until(lambda: _metric_shows(database, 100), 10)
    await kafka.start()
    await flow.change(50)
    await flow.settle(60)
    await until(lambda: _metric_shows(database, 0), 10)


async def _metric_shows(database: Database, waiting: int) -> bool:
    return metrics.OUTBOX_WAITING.labels(database.schema)._value.get() == waiting


async def test_a_kafka_that_stops_for_a_while_loses_and_doubles_nothing(kafka: Server, flow: Flow) -> None:
    await flow.change(20)
    await flow.settle(30)
    for _ in range(2):
        kafka.freeze()
        try:
            await flow.change(50)
            await asyncio.sleep(2)
        finally:
            kafka.thaw()
        await flow.change(50)
    await flow.settle(60)


async def test_publishing_to_a_dead_kafka_fails_in_time_and_works_again_when_it_is_back(
    kafka: Server, publisher: EventPublisher
) -> None:
    topic = publisher._topics[0].name
    await publisher.publish(topic, "a", b"1")
    kafka.kill()
    began = time.monotonic()
    for _ in range(6):
        with pytest.raises(DependencyUnavailable):
            await publisher.publish(topic, "a", b"2", timeout=0.3)
    assert time.monotonic() - began < 15
    await kafka.start()

    async def works() -> bool:
        try:
            await publisher.publish(topic, "a", b"3", timeout=2)
        except DependencyUnavailable:
            return False
        return True

    await until(works, 30)
