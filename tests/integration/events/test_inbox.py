"""Events and their effects: each once, in order, and a poison message stops only its key."""

from collections.abc import Callable, Mapping

import pytest
from aac.event.v1.event_pb2 import Event

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.events import EventConsumer, EventHandler, EventPublisher, outgoing
from aac_grpc.common.tasks import Tasks
from tests.integration.events.flow import effects, event, reading, until, write

Consume = Callable[..., EventConsumer]


@pytest.fixture
def consume(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str, database: Database, tasks: Tasks
) -> Consume:
    """Runs a consumer of the test's topic."""

    def start(handler: EventHandler = write, group: str = topic, **options: object) -> EventConsumer:
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
