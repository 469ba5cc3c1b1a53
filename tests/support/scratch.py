"""A schema of one's own, with what events need in it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources

from aac_grpc.common.database import Database


@asynccontextmanager
async def scratch_database(url: str, *, effects: str) -> AsyncIterator[Database]:
    """A new schema with inbox, outbox and a table `effects` of the given columns; dropped at the end."""
    opened = Database(url, schema=f"test_{secrets.token_hex(4)}", timeout=5)
    await opened.open()
    for name in ("inbox", "outbox"):
        await opened.execute(resources.files("aac_grpc.common.sql").joinpath(f"{name}.sql").read_text())
    await opened.execute(f"create table effects ({effects})")
    yield opened
    await opened.execute(f"drop schema {opened.schema} cascade")
    await opened.close()
