"""PostgreSQL: one pool, one schema and one role for a service."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from aac_grpc.client.errors import UnknownOutcome

Transaction = AsyncConnection[DictRow]
"""What `Database.transaction` gives: a psycopg connection inside a transaction; rows are dicts."""

Params = Sequence[Any] | Mapping[str, Any] | None


class CommitUnknown(UnknownOutcome):
    """The connection broke while COMMIT was under way: the transaction is there as a whole, or not at all.

    Look up something that the transaction wrote (a batch id, a client key) to learn which.
    """


class Database:
    """A service's own schema in PostgreSQL.

    `search_path` is the schema alone. Every wait has a deadline: that of the call being served, else `timeout`.
    A failure to reach PostgreSQL opens the breaker; while it is open, work fails at once.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str,
        pool_size: int = 10,
        acquire_timeout: float = 2.0,
        timeout: float = 10.0,
        max_lifetime: float = 1800.0,
        application: str = "",
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            url: libpq URL or conninfo.
            schema: Name of the schema, such as "trading_engine"; also of the service's role where one can be made.
            pool_size: Connections at most.
            acquire_timeout: Seconds to wait for a free connection.
            timeout: Seconds for a statement or transaction outside a call.
            max_lifetime: Seconds after which a connection is replaced.
            application: Shown in pg_stat_activity.
        """

    async def open(self) -> None:
        """Makes role and schema where they are missing, and opens the pool.

        Raises:
            DependencyUnavailable: PostgreSQL can't be reached.
        """

    async def close(self) -> None:
        """Closes the pool."""

    async def ping(self) -> None:
        """Raises DependencyUnavailable unless PostgreSQL answers in a second."""

    @asynccontextmanager
    async def transaction(self, *, pipeline: bool = False, timeout: float | None = None) -> AsyncIterator[Transaction]:
        """Runs the block in one transaction: committed at its end, rolled back when it raises.

        Args:
            pipeline: Send statements without waiting for one another's results (psycopg pipeline mode): a batch of
                inserts costs one round trip. Results are still there when fetched.
            timeout: Seconds for the whole block; default as for the call being served.

        Raises:
            DependencyUnavailable: No connection, or it broke before COMMIT: nothing was committed.
            CommitUnknown: The connection broke during COMMIT.
            DeadlineExceeded: The time was up before COMMIT began; nothing was committed.
        """
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def connection(self, *, timeout: float | None = None) -> AsyncIterator[Transaction]:
        """A pooled connection in autocommit mode, for several statements that are no transaction."""
        raise NotImplementedError
        yield

    async def fetch_all(self, sql: str, params: Params = None) -> list[dict[str, Any]]:
        """All rows of one statement in a transaction of its own."""
        raise NotImplementedError

    async def fetch_one(self, sql: str, params: Params = None) -> dict[str, Any] | None:
        """The first row of one statement, or None."""
        raise NotImplementedError

    async def execute(self, sql: str, params: Params = None) -> int:
        """Runs one statement in a transaction of its own and returns how many rows it touched."""
        raise NotImplementedError
