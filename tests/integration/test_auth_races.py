"""What happens at the same moment in auth-service has one outcome."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.server import Server
from tests.integration.services import DEMO, auth_serving, sign_in


@pytest.fixture
async def server(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with auth_serving(installation) as server:
        yield server


async def test_who_is_disabled_while_signing_in_has_no_session(server: Server) -> None:
    database, (username, _) = server.resources.database, DEMO
    before = await database.fetch_one("select count(*) from sessions")
    async with database.transaction() as tx:
        await tx.execute("update users set disabled = true where username = %s", (username,))
        signing_in = asyncio.create_task(sign_in(server.address, *DEMO))
        # It has read the user as enabled, and waits for the row to open the session.
        async with asyncio.timeout(20):
            while not await _waits(server):  # noqa: ASYNC110 - in the database
                await asyncio.sleep(0.05)
    with pytest.raises(Unauthenticated):
        await signing_in
    assert await database.fetch_one("select count(*) from sessions") == before
    await database.execute("update users set disabled = false where username = %s", (username,))


async def _waits(server: Server) -> bool:
    row = await server.resources.database.fetch_one("select count(*) as waiting from pg_locks where not granted")
    assert row is not None
    return bool(row["waiting"])
