"""Numbered SQL files of a service, applied once each, in order, under an advisory lock.

A file of `<package>` is named `0001_what_it_does.sql`. A line `-- include: outbox` (or `inbox`, `changes`) stands for
the shared DDL of that name in `aac_grpc/common/sql/`. What was applied must not change any more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

import psycopg

from aac_grpc.common.database import Database

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_INCLUDE = re.compile(r"^-- include: (\w+)\s*$", re.MULTILINE)
_SHARED = "aac_grpc.common.sql"
_LOCK = "select pg_advisory_xact_lock(hashtextextended('aac.migrations.' || current_schema(), 0))"
_TABLE = """create table if not exists schema_migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
)"""

TIMEOUT_S = 120.0
"""For one migration; PostgreSQL's own statement timeout is off meanwhile."""


class MigrationError(Exception):
    """A migration is misnamed, was changed after it was applied, or failed."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, its includes expanded."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether a file changed after it was applied."""
        return sha256(self.sql.encode()).hexdigest()


def read_migrations(package: str) -> list[Migration]:
    """Reads a package's migrations in the order of their numbers.

    Raises:
        MigrationError: A name breaks the rule, a number is missing or double, or an include does not exist.
    """
    files = sorted(
        (entry for entry in resources.files(package).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    migrations = []
    for number, entry in enumerate(files, 1):
        match = _NAME.fullmatch(entry.name)
        if match is None or int(match[1]) != number:
            raise MigrationError(f"{package}: {entry.name} should be named {number:04d}_what_it_does.sql")
        migrations.append(Migration(entry.name, _INCLUDE.sub(_shared, entry.read_text(encoding="utf-8"))))
    return migrations


def _shared(match: re.Match[str]) -> str:
    try:
        return resources.files(_SHARED).joinpath(f"{match[1]}.sql").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MigrationError(f"there is no shared DDL {match[1]!r}") from None


async def migrate(database: Database, package: str) -> list[str]:
    """Applies the migrations in `package` that the database's schema does not have yet.

    Args:
        database: Opened.
        package: Import path of the folder, such as "aac_grpc.servicers.auth.migrations".

    Returns:
        Names of the files that were applied now.

    Raises:
        MigrationError: See there; the failed file and those after it are not applied.
    """
    return [one.name for one in read_migrations(package) if await _apply(database, one)]


async def _apply(database: Database, migration: Migration) -> bool:
    """Applies one migration in a transaction of its own; False where it was applied before."""
    async with database.transaction(timeout=TIMEOUT_S) as tx:
        await tx.execute("set local statement_timeout = 0")
        await tx.execute(_LOCK)
        await tx.execute(_TABLE)
        cursor = await tx.execute("select checksum from schema_migrations where name = %s", (migration.name,))
        row = await cursor.fetchone()
        if row is not None:
            _check_unchanged(migration, row)
            return False
        try:
            await tx.execute(migration.sql.encode())
        except psycopg.Error as error:
            raise MigrationError(f"{migration.name}: {error}") from error
        await tx.execute(
            "insert into schema_migrations (name, checksum) values (%s, %s)", (migration.name, migration.checksum)
        )
    return True


def _check_unchanged(migration: Migration, applied: Mapping[str, object]) -> None:
    if applied["checksum"] != migration.checksum:
        raise MigrationError(f"{migration.name} was changed after it was applied; add another file instead")
