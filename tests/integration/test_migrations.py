"""Numbered SQL files: applied once, in order, by one instance however many start."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from aac_grpc.common.database import Database
from aac_grpc.common.migrations import MigrationError, migrate, read_migrations

Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Writes files into an importable folder and names it."""
    name = f"migrations_{secrets.token_hex(4)}"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(**files: str) -> str:
        for file, sql in files.items():
            (folder / f"{file.removeprefix('_')}.sql").write_text(sql)
        return name

    return write


@pytest.fixture
async def database(backends: Mapping[str, str]) -> AsyncIterator[Database]:
    opened = Database(backends["DATABASE_URL"], schema=f"test_{secrets.token_hex(4)}", timeout=5)
    await opened.open()
    yield opened
    await opened.execute(f"drop schema {opened.schema} cascade")
    await opened.close()


async def test_files_are_applied_once_and_in_order(database: Database, package: Package) -> None:
    folder = package(
        _0001_make="create table a (x int);", _0002_more="insert into a values (1); insert into a values (2);"
    )
    assert await migrate(database, folder) == ["0001_make.sql", "0002_more.sql"]
    assert await migrate(database, folder) == []
    package(_0003_rest="alter table a add column y int")
    assert await migrate(database, folder) == ["0003_rest.sql"]
    assert await database.fetch_all("select x, y from a order by x") == [{"x": 1, "y": None}, {"x": 2, "y": None}]


async def test_instances_that_start_together_apply_each_file_once(database: Database, package: Package) -> None:
    folder = package(_0001_make="create table a (x int); insert into a values (1);")
    applied = await asyncio.gather(*(migrate(database, folder) for _ in range(5)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, 1]
    assert await database.fetch_all("select x from a") == [{"x": 1}]


async def test_a_failed_file_leaves_nothing_of_itself(database: Database, package: Package) -> None:
    folder = package(_0001_make="create table a (x int);", _0002_bad="create table b (x int); selekt;")
    with pytest.raises(MigrationError, match="0002_bad"):
        await migrate(database, folder)
    tables = await database.fetch_all("select tablename from pg_tables where schemaname = current_schema()")
    assert {row["tablename"] for row in tables} == {"a", "schema_migrations"}


async def test_a_file_that_was_applied_must_not_change(database: Database, package: Package) -> None:
    folder = package(_0001_make="create table a (x int);")
    await migrate(database, folder)
    package(_0001_make="create table a (x bigint);")
    with pytest.raises(MigrationError, match="was changed"):
        await migrate(database, folder)


async def test_shared_tables_are_included_by_name(database: Database, package: Package) -> None:
    folder = package(_0001_make="-- include: outbox\n-- include: inbox\ncreate table mine (x int);")
    await migrate(database, folder)
    tables = await database.fetch_all("select tablename from pg_tables where schemaname = current_schema()")
    assert {row["tablename"] for row in tables} >= {"outbox", "inbox", "parked_keys", "mine"}


def test_a_misnamed_or_missing_number_is_refused(package: Package) -> None:
    folder = package(_0001_make="select 1", _0003_more="select 1")
    with pytest.raises(MigrationError, match="0002_what_it_does"):
        read_migrations(folder)
    with pytest.raises(MigrationError, match="no shared DDL 'nonsense'"):
        read_migrations(package(_0002_odd="-- include: nonsense\n"))
