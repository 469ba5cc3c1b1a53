"""The database of a service: its own schema and role, transactions, deadlines."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping

import psycopg
import pytest

from aac_grpc.client.errors import DeadlineExceeded, Overloaded
from aac_grpc.common.database import Database


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    opened = Database(backends["DATABASE_URL"], schema=f"test_{secrets.token_hex(4)}", pool_size=3, timeout=5)
    await opened.open()
    await opened.execute("create table things (id int primary key, name text)")
    yield opened
    role = f"aac_{opened.schema}"
    await opened.close()
    async with await psycopg.AsyncConnection.connect(backends["DATABASE_URL"], autocommit=True) as connection:
        await connection.execute(f"drop schema {opened.schema} cascade".encode())
        await connection.execute(f"drop role if exists {role}".encode())


async def count(database: Database) -> int:
    row = await database.fetch_one("select count(*) as n from things")
    assert row is not None
    return int(row["n"])


async def test_a_service_has_a_schema_and_a_role_of_its_own(database: Database) -> None:
    row = await database.fetch_one("select current_schema() as schema, current_user as role")
    assert row == {"schema": database.schema, "role": f"aac_{database.schema}"}


async def test_one_service_cannot_read_another_ones_tables(database: Database, backends: Mapping[str, str]) -> None:
    other = Database(backends["DATABASE_URL"], schema=f"{database.schema}_other")
    await other.open()
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await other.fetch_all(f"select * from {database.schema}.things")
    finally:
        await other.execute(f"drop schema {other.schema}")
        await other.close()


async def test_opening_twice_at_the_same_time_makes_one_schema(backends: Mapping[str, str]) -> None:
    schema = f"test_{secrets.token_hex(4)}"
    several = [Database(backends["DATABASE_URL"], schema=schema) for _ in range(4)]
    await asyncio.gather(*(one.open() for one in several))
    await several[0].execute(f"drop schema {schema}")
    await asyncio.gather(*(one.close() for one in several))


async def test_a_block_that_ends_is_committed_and_one_that_raises_is_not(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("insert into things values (1, 'a')")
    with pytest.raises(LookupError):
        async with database.transaction() as tx:
            await tx.execute("insert into things values (2, 'b')")
            raise LookupError
    assert await count(database) == 1


async def test_a_failed_statement_that_was_passed_over_does_not_commit_in_silence(database: Database) -> None:
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        async with database.transaction() as tx:
            await tx.execute("insert into things values (1, 'a')")
            with pytest.raises(psycopg.errors.UniqueViolation):
                await tx.execute("insert into things values (1, 'b')")
    assert await count(database) == 0


async def test_a_savepoint_inside_a_transaction_can_fail_alone(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("insert into things values (1, 'a')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with tx.transaction():
                await tx.execute("insert into things values (1, 'b')")
        await tx.execute("insert into things values (2, 'c')")
    assert await count(database) == 2


async def test_a_pipelined_batch_is_one_transaction(database: Database) -> None:
    async with database.transaction(pipeline=True) as tx:
        for number in range(20):
            await tx.execute("insert into things values (%s, 'x')", (number,))
        cursor = await tx.execute("select count(*) as n from things")
        assert (await cursor.fetchone()) == {"n": 20}
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with database.transaction(pipeline=True) as tx:
            await tx.execute("insert into things values (100, 'x')")
            await tx.execute("insert into things values (0, 'x')")
    assert await count(database) == 20


async def test_rows_of_a_batch_go_in_by_unnest(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("insert into things select * from unnest(%s::int[], %s::text[])", ([1, 2, 3], ["a", "b", "c"]))
    assert await count(database) == 3


async def test_a_statement_over_its_time_ends_and_the_connection_serves_on(database: Database) -> None:
    for _ in range(4):
        with pytest.raises(DeadlineExceeded):
            async with database.transaction(timeout=0.1) as tx:
                await tx.execute("insert into things values (1, 'a')")
                await tx.execute("select pg_sleep(5)")
    assert await count(database) == 0


async def test_a_cancelled_handler_gives_its_connection_back(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as tx:
            await tx.execute("insert into things values (1, 'a')")
            await tx.execute("select pg_sleep(5)")

    for _ in range(6):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await count(database) == 0


async def test_a_pool_with_all_connections_busy_says_overloaded(
    backends: Mapping[str, str], database: Database
) -> None:
    narrow = Database(backends["DATABASE_URL"], schema=database.schema, pool_size=1, acquire_timeout=0.1)
    await narrow.open()
    try:
        async with narrow.connection():
            with pytest.raises(Overloaded):
                await narrow.fetch_one("select 1 as one")
        assert await narrow.fetch_one("select 1 as one") == {"one": 1}
    finally:
        await narrow.close()


async def test_callers_in_a_hurry_do_not_shut_the_others_out(database: Database) -> None:
    for _ in range(10):
        with pytest.raises(DeadlineExceeded):
            async with database.transaction(timeout=0.02) as tx:
                await tx.execute("select pg_sleep(1)")
    assert await count(database) == 0


async def test_errors_of_sql_reach_the_caller_as_they_are(database: Database) -> None:
    for _ in range(10):
        with pytest.raises(psycopg.errors.UndefinedTable):
            await database.fetch_all("select * from nothing")
    assert await count(database) == 0
