"""Events from a committed change to their effect elsewhere: in order, once, and never lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources

import pytest
from aac.event.v1.event_pb2 import Event

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common import outbox
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import (
    EventConsumer,
    EventPublisher,
    EventRejected,
    EventTail,
    OutgoingEvent,
    ReceivedEvent,
    consumer,
    outgoing,
)
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.topics import Topic

Consume = Callable[..., EventConsumer]


@pytest.fixture
async def topic(publisher: EventPublisher) -> str:
    return publisher._topics[0].name


@pytest.fixture
async def publisher(backends: Mapping[str, str]) -> AsyncIterator[EventPublisher]:
    topic = Topic(f"test.{secrets.token_hex(4)}", partitions=3)
    made = EventPublisher(backends["KAFKA_BOOTSTRAP_SERVERS"], topics=[topic])
    await made.start()
    await asyncio.wait_for(made.ready(), 20)
    yield made
    await made.stop(timeout=5)


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    opened = Database(backends["DATABASE_URL"], schema=f"test_{secrets.token_hex(4)}", timeout=5)
    await opened.open()
    for name in ("inbox", "outbox"):
        await opened.execute(resources.files("aac_grpc.common.sql").joinpath(f"{name}.sql").read_text())
    await opened.execute("create table effects (n bigint generated always as identity, event_id text, key text)")
    yield opened
    await opened.execute(f"drop schema {opened.schema} cascade")
    await opened.close()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    owner = Tasks()
    yield owner
    await owner.stop(grace=15)


def event(number: int, key: str = "main/a", type_: str = "aac.test") -> Event:
    return Event(event_id=f"{key}-{number}", type=type_, key=key, sequence=number, venue="main")


async def write(event: Event, tx: Transaction) -> None:
    """The effect of an event: a row."""
    await tx.execute("insert into effects (event_id, key) values (%s, %s)", (event.event_id, event.key))


async def effects(database: Database, key: str = "") -> list[str]:
    rows = await database.fetch_all("select event_id, key from effects order by n")
    return [row["event_id"] for row in rows if not key or row["key"] == key]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


@dataclass
class Tail:
    """Everything that a topic holds, read from its beginning."""

    tail: EventTail
    seen: list[ReceivedEvent] = field(default_factory=list)

    async def read(self, count: int) -> list[ReceivedEvent]:
        async with asyncio.timeout(20):
            async for batch in self.tail.batches():
                self.seen += batch
                if len(self.seen) >= count:
                    break
        return self.seen


@asynccontextmanager
async def reading(backends: Mapping[str, str], *topics: str) -> AsyncIterator[Tail]:
    tail = EventTail(backends["KAFKA_BOOTSTRAP_SERVERS"], topics, from_beginning=True)
    await tail.open()
    try:
        yield Tail(tail)
    finally:
        await tail.close()


async def test_a_published_event_is_protobuf_with_headers_under_its_key(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([outgoing(event(1), topic)])
    async with reading(backends, topic) as tail:
        (one,) = await tail.read(1)
    assert Event.FromString(one.value) == event(1)
    assert one.key == "main/a"
    assert one.headers["event_id"] == "main/a-1"
    assert one.headers["type"] == "aac.test"
    assert one.headers["content-type"].startswith("application/protobuf")


async def test_a_large_batch_keeps_the_order_of_each_key(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    batch = [outgoing(event(number, f"main/{number % 7}"), topic) for number in range(20_000)]
    await publisher.publish_all(batch, timeout=30)
    async with reading(backends, topic) as tail:
        seen = await tail.read(len(batch))
    for key in range(7):
        mine = [one.headers["event_id"] for one in seen if one.key == f"main/{key}"]
        assert mine == [f"main/{key}-{number}" for number in range(key, 20_000, 7)]


async def test_a_message_that_kafka_never_takes_is_told_apart(publisher: EventPublisher, topic: str) -> None:
    with pytest.raises(EventRejected):
        await publisher.publish(topic, "a", b"x" * 2_000_000)
    await publisher.publish(topic, "a", b"x")


async def test_with_no_kafka_a_publisher_fails_at_its_deadline_and_then_fast() -> None:
    publisher = EventPublisher("127.0.0.1:1", topics=[])
    await publisher.start()
    loop = asyncio.get_running_loop()
    try:
        for _ in range(5):
            with pytest.raises(DependencyUnavailable):
                await publisher.publish("t", "a", b"x", timeout=0.1)
        began = loop.time()
        with pytest.raises(DependencyUnavailable):
            await publisher.publish("t", "a", b"x", timeout=5)
        assert loop.time() - began < 0.05
    finally:
        await publisher.stop(timeout=0.1)


async def test_a_tail_goes_on_from_the_offset_that_it_is_given(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([outgoing(event(number), topic) for number in range(10)])
    async with reading(backends, topic) as tail:
        seen = await tail.read(10)
    partition = seen[0].partition
    again = EventTail(backends["KAFKA_BOOTSTRAP_SERVERS"], [topic], start={(topic, partition): 7})
    points = await again.open()
    try:
        assert points[topic, partition] == (0, 7)
        assert [one.offset for one in await Tail(again).read(3)] == [7, 8, 9]
    finally:
        await again.close()


@pytest.fixture
def consume(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, tasks: Tasks
) -> Consume:
    """Runs a consumer of the test's topic."""

    def start(handler: consumer.EventHandler = write, group: str = topic, **options: object) -> EventConsumer:
        made = EventConsumer(
            backends["KAFKA_BOOTSTRAP_SERVERS"],
            [topic],
            group=group,
            handler=handler,
            database=database,
            publisher=publisher,
            **options,  # type: ignore[arg-type]
        )
        tasks.spawn(made.run, name=group)
        return made

    return start


async def test_each_event_takes_effect_once_though_kafka_delivers_it_twice(
    publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    for _ in range(2):
        await publisher.publish_all([outgoing(event(number), topic) for number in range(1, 301)])
    await publisher.publish_all([outgoing(event(999), topic)])
    consume()
    await until(lambda: _contains(database, "main/a-999"))
    assert await effects(database) == [f"main/a-{number}" for number in [*range(1, 301), 999]]


async def _contains(database: Database, event_id: str) -> bool:
    return event_id in await effects(database)


async def test_a_consumer_that_restarts_goes_on_where_its_effects_ended(
    publisher: EventPublisher, topic: str, database: Database, consume: Consume, tasks: Tasks
) -> None:
    await publisher.publish_all([outgoing(event(number), topic) for number in range(1, 51)])
    consume()
    await until(lambda: _contains(database, "main/a-50"))
    await tasks.stop(grace=15)
    await publisher.publish_all([outgoing(event(number), topic) for number in range(51, 101)])
    tasks._stopping = False
    consume()
    await until(lambda: _contains(database, "main/a-100"))
    assert await effects(database) == [f"main/a-{number}" for number in range(1, 101)]


async def test_two_members_of_a_group_share_the_work_and_no_effect_is_doubled(
    publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    consume()
    consume()
    for number in range(40):
        await publisher.publish_all([outgoing(event(number, f"main/{key}"), topic) for key in range(10)])
    await until(lambda: _count(database, 400))
    for key in range(10):
        assert await effects(database, f"main/{key}") == [f"main/{key}-{number}" for number in range(40)]


async def _count(database: Database, wanted: int) -> bool:
    return len(await effects(database)) >= wanted


async def test_a_poison_message_parks_its_key_with_the_reason_and_others_flow(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    async def handler(event: Event, tx: Transaction) -> None:
        await write(event, tx)
        if event.event_id == "main/bad-2":
            raise ValueError("cannot be applied")

    for number in range(1, 5):
        await publisher.publish_all(
            [outgoing(event(number, "main/bad"), topic), outgoing(event(number, "main/good"), topic)]
        )
    consume(handler)
    await until(lambda: _contains(database, "main/good-4"))
    async with reading(backends, f"{topic}.dlq") as tail:
        dead = await tail.read(3)
    assert [one.headers["event_id"] for one in dead] == ["main/bad-2", "main/bad-3", "main/bad-4"]
    assert dead[0].headers["dlq-reason"] == "ValueError: cannot be applied"
    assert dead[0].headers["dlq-origin"].startswith(f"{topic}/")
    assert dead[0].value == event(2, "main/bad").SerializeToString()
    assert await effects(database, "main/bad") == ["main/bad-1"]
    assert await effects(database, "main/good") == [f"main/good-{number}" for number in range(1, 5)]
    await until(lambda: _parked(database, 3))


async def _parked(database: Database, events: int) -> bool:
    row = await database.fetch_one("select key, event_id, events from parked_keys")
    return row == {"key": "main/bad", "event_id": "main/bad-2", "events": events}


async def test_bytes_that_are_no_event_park_their_key(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    await publisher.publish(topic, "main/odd", b"\xff\xff\xff")
    await publisher.publish_all([outgoing(event(1, "main/good"), topic)])
    consume()
    await until(lambda: _contains(database, "main/good-1"))
    async with reading(backends, f"{topic}.dlq") as tail:
        (dead,) = await tail.read(1)
    assert dead.key == "main/odd"
    assert "DecodeError" in dead.headers["dlq-reason"]


async def test_a_failure_that_says_nothing_about_the_event_is_waited_for(
    publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    failures = 6

    async def handler(event: Event, tx: Transaction) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise DependencyUnavailable("risk-management")
        await write(event, tx)

    await publisher.publish_all([outgoing(event(1), topic)])
    consume(handler)
    await until(lambda: _contains(database, "main/a-1"))
    assert await database.fetch_all("select * from parked_keys") == []


async def test_only_the_types_asked_for_are_handled(
    publisher: EventPublisher, topic: str, database: Database, consume: Consume
) -> None:
    await publisher.publish_all([outgoing(event(1, type_="aac.other"), topic), outgoing(event(2), topic)])
    consume(types=["aac.test"])
    await until(lambda: _contains(database, "main/a-2"))
    assert await effects(database) == ["main/a-2"]


async def test_a_change_and_its_event_commit_together_and_the_event_reaches_kafka(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, tasks: Tasks
) -> None:
    tasks.spawn(outbox.Relay(database, publisher).run, name="outbox")
    with pytest.raises(LookupError):
        async with database.transaction() as tx:
            await outbox.add(tx, event(1), topic)
            raise LookupError
    async with database.transaction() as tx:
        await outbox.add(tx, event(2), topic)
    async with reading(backends, topic) as tail:
        (one,) = await tail.read(1)
    assert one.headers["event_id"] == "main/a-2"
    await until(lambda: _published(database))


async def _published(database: Database) -> bool:
    row = await database.fetch_one("select count(*) as n from outbox where published_at is null")
    return row == {"n": 0}


async def test_a_row_that_commits_late_is_not_skipped(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, tasks: Tasks
) -> None:
    tasks.spawn(outbox.Relay(database, publisher).run, name="outbox")
    async with database.transaction() as late:
        await outbox.add(late, event(1, "main/late"), topic)
        async with database.transaction() as early:
            await outbox.add(early, event(1, "main/early"), topic)
        async with reading(backends, topic) as tail:
            await tail.read(1)
    async with reading(backends, topic) as tail:
        assert {one.key for one in await tail.read(2)} == {"main/early", "main/late"}


async def test_versions_of_a_key_that_change_at_the_same_time_leave_in_order(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, tasks: Tasks
) -> None:
    await database.execute("create table things (key text primary key, version bigint)")
    await database.execute("insert into things select 'main/' || n, 0 from generate_series(0, 3) n")
    for _ in range(2):
        tasks.spawn(outbox.Relay(database, publisher).run, name="outbox")

    async def change(number: int) -> None:
        key = f"main/{number % 4}"
        async with database.transaction() as tx:
            cursor = await tx.execute(
                "update things set version = version + 1 where key = %s returning version", (key,)
            )
            row = await cursor.fetchone()
            assert row is not None
            await outbox.add(tx, event(row["version"], key), topic)

    for _ in range(10):
        await asyncio.gather(*(change(number) for number in range(20)))
    async with reading(backends, topic) as tail:
        seen = await tail.read(200)
    for key in range(4):
        mine = [one.headers["event_id"] for one in seen if one.key == f"main/{key}"]
        assert list(dict.fromkeys(mine)) == [f"main/{key}-{version}" for version in range(1, 51)]


async def test_an_event_too_large_for_kafka_is_refused_before_it_is_committed(database: Database, topic: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        async with database.transaction() as tx:
            await outbox.add(tx, Event(event_id="1", type="x" * 1_000_000), topic)


async def test_a_batch_may_hold_raw_messages_for_several_topics(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([OutgoingEvent(topic, "a", b"1"), OutgoingEvent(f"{topic}.dlq", "a", b"2")])
    async with reading(backends, topic, f"{topic}.dlq") as tail:
        assert {one.value for one in await tail.read(2)} == {b"1", b"2"}
