"""A change and its event commit together; the event reaches Kafka, in order, whatever commits late."""

import asyncio
from collections.abc import Mapping

import pytest
from aac.event.v1.event_pb2 import Event

from aac_grpc.common import outbox
from aac_grpc.common.database import Database
from aac_grpc.common.events import EventPublisher
from aac_grpc.common.tasks import Tasks
from tests.integration.events.flow import event, reading, until


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
