"""A corner of the embedded PostgreSQL for each service: a schema, and a role that may enter nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from aac_grpc.common.schema import ROLE_PREFIX


async def make_corners(url: str, services: Iterable[str], secret: Callable[[str], str]) -> Mapping[str, str]:
    """Makes what is missing, and returns each service's own URL.

    Args:
        url: Of the database's owner, a superuser.
        services: Names, such as "trading-engine".
        secret: Gives the installation's secret of a name.
    """
    urls: dict[str, str] = {}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for service in services:
            schema = service.replace("-", "_")
            role, password = ROLE_PREFIX + schema, secret(f"postgres_{schema}")
            await _make_corner(connection, schema, role, password)
            urls[service] = _as_user(url, role, password)
    return urls


async def _make_corner(connection: psycopg.AsyncConnection[object], schema: str, role: str, password: str) -> None:
    found = await connection.execute("select 1 from pg_roles where rolname = %s", (role,))
    verb = "alter" if await found.fetchone() else "create"
    await connection.execute(SQL("{} role {} login password {}").format(SQL(verb), Identifier(role), Literal(password)))
    await connection.execute(
        SQL("create schema if not exists {} authorization {}").format(Identifier(schema), Identifier(role))
    )


def _as_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))
