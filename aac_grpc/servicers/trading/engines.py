"""The engines that run: each says again and again that it does, and where it is reached."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import psycopg

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.database import Database

CHANNEL = "trading_engine_leases"
"""PostgreSQL's NOTIFY tells on it that a lease was taken or given up; the payload is who did."""


class Engines:
    """The rows of `engines`, and what engines tell each other."""

    def __init__(self, database: Database, instance: str, duration_s: float) -> None:
        """Configures.

        Args:
            database: Holds the rows.
            instance: Name of this one, which its leases carry.
            duration_s: How long it counts as running after it has said so.
        """
        self._database = database
        self._instance = instance
        self._duration_s = duration_s

    async def say(self, address: str) -> None:
        """Says that this engine runs, and where."""
        await self._database.execute(
            """insert into engines (instance, address, expires_at)
            values (%(instance)s, %(address)s, clock_timestamp() + make_interval(secs => %(duration)s))
            on conflict (instance) do update set address = excluded.address, expires_at = excluded.expires_at""",
            {"instance": self._instance, "address": address, "duration": self._duration_s},
        )

    async def leave(self) -> None:
        """Takes no part any more."""
        await self._database.execute("delete from engines where instance = %s", (self._instance,))

    async def others(self) -> set[str]:
        """Returns the names of the other engines that run."""
        rows = await self._database.fetch_all(
            "select instance from engines where expires_at > clock_timestamp() and instance <> %s", (self._instance,)
        )
        return {row["instance"] for row in rows}

    async def purge(self) -> None:
        """Forgets those that have ended long ago."""
        await self._database.execute("delete from engines where expires_at < clock_timestamp() - interval '1 hour'")

    async def news(self) -> AsyncIterator[None]:
        """Yields whenever another engine has taken or given up a lease.

        Raises:
            DependencyUnavailable: PostgreSQL can't be reached any more.
        """
        try:
            async with await self._database.dedicated() as connection:
                await connection.execute(f"listen {CHANNEL}".encode())
                async with aclosing(connection.notifies()) as notices:
                    async for notice in notices:
                        if notice.payload != self._instance:
                            yield
        except psycopg.Error as error:
            raise DependencyUnavailable("postgresql") from error
