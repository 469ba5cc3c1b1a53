"""PostgreSQL slow, down and back: what callers get, how soon, and what was committed."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from aac_grpc.backends.postgres import Postgres
from aac_grpc.client.errors import AacError, DeadlineExceeded, DependencyUnavailable
from aac_grpc.common.database import CommitUnknown, Database
from tests.faults.outages import Server, server


@pytest.fixture(scope="module")
async def postgres() -> AsyncIterator[Server]:
    async with server(Postgres) as running:
        yield running


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[Database]:
    opened = Database(postgres.url, schema="faults", pool_size=4, acquire_timeout=1, timeout=3)
    await opened.open()
    await opened.execute("create table if not exists things (id int primary key)")
    await opened.execute("truncate things")
    yield opened
    await opened.close()


async def ids(database: Database) -> set[int]:
    return {row["id"] for row in await database.fetch_all("select id from things")}


async def until_it_answers(database: Database, seconds: float) -> float:
    """How long it takes until a query works again."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            try:
                await database.fetch_one("select 1 as one")
            except AacError:
                await asyncio.sleep(0.05)
            else:
                return time.monotonic() - began


async def test_connections_that_a_restart_broke_fail_nobody(postgres: Server, database: Database) -> None:
    await asyncio.gather(*(database.fetch_one("select pg_sleep(0.05)") for _ in range(4)))
    postgres.kill()
    await postgres.start()
    for number in range(8):
        await database.execute("insert into things values (%s)", (number,))
    assert await ids(database) == set(range(8))


async def test_a_kill_in_a_transaction_is_an_unavailable_dependency_and_commits_nothing(
    postgres: Server, database: Database
) -> None:
    with pytest.raises(DependencyUnavailable) as failure:
        async with database.transaction() as tx:
            await tx.execute("insert into things values (1)")
            postgres.kill()
            await tx.execute("insert into things values (2)")
    assert failure.value.metadata == {"dependency": "postgresql"}
    await postgres.start()
    await until_it_answers(database, 10)
    assert await ids(database) == set()


async def test_while_it_is_down_callers_fail_at_once_and_it_comes_back_by_itself(
    postgres: Server, database: Database
) -> None:
    postgres.kill()
    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            await database.fetch_one("select 1 as one")
    began = time.monotonic()
    with pytest.raises(DependencyUnavailable):
        await database.fetch_one("select 1 as one")
    assert time.monotonic() - began < 1
    await asyncio.sleep(3)
    await postgres.start()
    assert await until_it_answers(database, 10) < 8


async def test_a_server_that_does_not_answer_costs_a_caller_its_deadline_and_no_more(
    postgres: Server, database: Database
) -> None:
    await database.fetch_one("select 1 as one")
    postgres.freeze()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises((DeadlineExceeded, DependencyUnavailable)):
                async with database.transaction(timeout=0.5) as tx:
                    await tx.execute("insert into things values (1)")
            assert time.monotonic() - began < 4
    finally:
        postgres.thaw()
    await until_it_answers(database, 10)
    assert await ids(database) == set()


async def test_an_answer_to_commit_that_does_not_come_is_an_unknown_outcome_that_can_be_looked_up(
    postgres: Server, database: Database
) -> None:
    for number in range(3):
        try:
            with pytest.raises(CommitUnknown):
                async with database.transaction(timeout=0.5, pipeline=number == 2) as tx:
                    await tx.execute("insert into things values (%s), (%s)", (number * 2, number * 2 + 1))
                    postgres.freeze()
        finally:
            postgres.thaw()
        await until_it_answers(database, 10)
        await asyncio.sleep(0.2)
        here = {one for one in await ids(database) if one // 2 == number}
        assert here in (set(), {number * 2, number * 2 + 1})


async def test_a_kill_at_commit_is_never_told_as_a_success_that_is_not_there(
    postgres: Server, database: Database
) -> None:
    acknowledged: set[int] = set()
    unknown: set[int] = set()

    async def write(number: int) -> None:
        try:
            async with database.transaction() as tx:
                await tx.execute("insert into things values (%s)", (number,))
        except CommitUnknown:
            unknown.add(number)
        except AacError:
            pass
        else:
            acknowledged.add(number)

    async def keep_writing(first: int) -> None:
        for number in range(first, first + 4000):
            await write(number)

    writers = [asyncio.ensure_future(keep_writing(first)) for first in range(0, 40_000, 10_000)]
    await asyncio.sleep(0.7)
    postgres.kill()
    await asyncio.wait(writers, timeout=1)
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    await postgres.start()
    await until_it_answers(database, 10)
    here = await ids(database)
    assert len(acknowledged) > 100
    assert acknowledged <= here
    assert here - acknowledged <= unknown
