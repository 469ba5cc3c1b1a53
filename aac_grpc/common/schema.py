"""A service's own corner of PostgreSQL: a schema, and a role that owns it and nothing else."""

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

ROLE_PREFIX = "aac_"
_LOCK = 0x41414353
"""Advisory lock under which schemas and roles are made; services start at the same time."""


async def prepare_schema(connection: AsyncConnection[DictRow], schema: str) -> str | None:
    """Makes the schema where it is missing, owned by a role of its own where the connected user may make roles.

    Args:
        connection: In autocommit mode.
        schema: Name of the schema.

    Returns:
        The role to take on; None where the connected user owns the schema itself, as with credentials for each service.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        role = ROLE_PREFIX + schema
        if await _may_make_roles(connection):
            await _make_role(connection, role)
            await connection.execute(
                SQL("create schema if not exists {} authorization {}").format(Identifier(schema), Identifier(role))
            )
        elif await _owner(connection, schema) is None:
            await connection.execute(SQL("create schema {}").format(Identifier(schema)))
        return role if await _owner(connection, schema) == role else None


async def _may_make_roles(connection: AsyncConnection[DictRow]) -> bool:
    cursor = await connection.execute(
        "select rolsuper or rolcreaterole as may from pg_roles where rolname = current_user"
    )
    row = await cursor.fetchone()
    return bool(row and row["may"])


async def _make_role(connection: AsyncConnection[DictRow], role: str) -> None:
    cursor = await connection.execute("select 1 from pg_roles where rolname = %s", (role,))
    if await cursor.fetchone() is None:
        await connection.execute(SQL("create role {} nologin").format(Identifier(role)))
    cursor = await connection.execute("select pg_has_role(current_user, %s, 'MEMBER') as member", (role,))
    row = await cursor.fetchone()
    if not (row and row["member"]):
        await connection.execute(SQL("grant {} to current_user").format(Identifier(role)))


async def _owner(connection: AsyncConnection[DictRow], schema: str) -> str | None:
    cursor = await connection.execute(
        "select pg_get_userbyid(nspowner) as owner from pg_namespace where nspname = %s", (schema,)
    )
    row = await cursor.fetchone()
    return str(row["owner"]) if row else None
