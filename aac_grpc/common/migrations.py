"""Numbered SQL files of a service, applied once each, in order, under an advisory lock.

A file of `<package>/migrations/` is named `0001_what_it_does.sql`. A line `-- include: outbox` (or `inbox`) stands for
the shared DDL of that name in `aac_grpc/common/sql/`. What was applied must not change any more.
"""

from aac_grpc.common.database import Database


class MigrationError(Exception):
    """A migration is misnamed, was changed after it was applied, or failed."""


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
    raise NotImplementedError
