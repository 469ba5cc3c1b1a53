"""PostgreSQL: one pool, one schema and one role for a service."""

import asyncio
import select
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from aac_grpc.client.errors import (
    AacError,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidRequest,
    Overloaded,
    UnknownOutcome,
)
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.call import find_call
from aac_grpc.common.schema import prepare_schema

Connection = AsyncConnection[DictRow]
Transaction = Connection
"""What `Database.transaction` gives: a psycopg connection inside a transaction; rows are dicts."""

Params = Sequence[Any] | Mapping[str, Any] | None

CONNECT_TIMEOUT_S = 2
IDLE_IN_TRANSACTION_MS = 10_000
"""A process that stops in the middle of a transaction loses it, and its locks, after this time."""
GRACE_S = 0.25
"""How long a statement that is out of time may take to be cancelled before its connection is closed."""
MARGIN_S = 0.02
"""Work ends this long before the call's own deadline, so that the caller still gets an answer."""

SLOW_S = 1.0
"""Work that was out of time earlier does not count against the server."""
DELETED_AT_ONCE = 5000

_GONE = ("08", "57P")
"""SQLSTATE prefixes that say that the server is away or going away."""


class CommitUnknown(UnknownOutcome):
    """The connection broke while COMMIT was under way: the transaction is there as a whole, or not at all.

    Look up something that the transaction wrote (a batch id, a client key) to learn which.
    """


class _Attempt:
    """One use of a connection, and how far it came."""

    connection: Connection | None = None
    committing = False


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
        breaker: Breaker | None = None,
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            url: libpq URL or conninfo.
            schema: Name of the schema, such as "trading_engine"; also of the service's role where one can be made.
            pool_size: Connections at most.
            acquire_timeout: Seconds to wait for a free connection.
            timeout: Seconds for a statement or transaction outside a call, and at most within one.
            max_lifetime: Seconds after which a connection is replaced.
            application: Shown in pg_stat_activity.
            breaker: Of PostgreSQL; default one of its own.
        """
        self.schema = schema
        self._url = url
        self._acquire_timeout = acquire_timeout
        self._timeout = timeout
        self._breaker = breaker or Breaker("postgresql")
        self._role: str | None = None
        self._in_use = 0
        self._size = pool_size
        self._returning: set[asyncio.Task[None]] = set()
        self._options = {
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": application or schema,
        }
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            kwargs=self._options,
            configure=self._configure,
            min_size=1,
            max_size=pool_size,
            max_lifetime=max_lifetime,
            # After this the next request makes the next attempt; the pool's own pauses grow to minutes.
            reconnect_timeout=acquire_timeout,
            open=False,
        )

    async def open(self) -> None:
        """Makes role and schema where they are missing, and opens the pool.

        Raises:
            DependencyUnavailable: PostgreSQL can't be reached.
        """
        try:
            async with asyncio.timeout(self._timeout):
                async with await self._connect() as connection:
                    self._role = await prepare_schema(connection, self.schema)
                await self._pool.open(wait=True, timeout=self._timeout)
        except (TimeoutError, psycopg.OperationalError, PoolTimeout) as error:
            raise DependencyUnavailable("postgresql") from error

    async def close(self) -> None:
        """Closes the pool."""
        if self._returning:
            await asyncio.wait(self._returning, timeout=GRACE_S)
        await self._pool.close(timeout=5)

    async def ping(self) -> None:
        """Raises DependencyUnavailable unless PostgreSQL answers in a second."""
        try:
            async with asyncio.timeout(1), await self._connect() as connection:
                await connection.execute("select 1")
        except (TimeoutError, psycopg.Error) as error:
            raise DependencyUnavailable("postgresql") from error

    async def dedicated(self) -> Connection:
        """A connection outside the pool, for what lives in a session (LISTEN, advisory locks). The caller closes it.

        Raises:
            DependencyUnavailable: PostgreSQL can't be reached.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._connect()
                await self._configure(connection)
        except (TimeoutError, psycopg.Error) as error:
            raise DependencyUnavailable("postgresql") from error
        return connection

    @asynccontextmanager
    async def transaction(self, *, pipeline: bool = False, timeout: float | None = None) -> AsyncIterator[Transaction]:
        """Runs the block in one transaction: committed at its end, rolled back when it raises.

        Args:
            pipeline: Send statements without waiting for one another's results (psycopg pipeline mode): a batch of
                inserts costs one round trip. Results are there when fetched; an error shows at the next fetch or at
                the end.
            timeout: Seconds for the whole block; default as for the call being served.

        Raises:
            DependencyUnavailable: No connection, or it broke before COMMIT: nothing was committed.
            CommitUnknown: The connection broke during COMMIT.
            DeadlineExceeded: The time was up before COMMIT began; nothing was committed.
            Overloaded: All connections of the pool stayed busy.
        """
        async with self._attempt(timeout) as attempt:
            connection = await self._acquire(attempt)
            try:
                async with connection.pipeline() if pipeline else nullcontext():
                    await connection.execute("begin")
                    yield connection
                    attempt.committing = True
                    cursor = await connection.execute("commit")
                if cursor.statusmessage != "COMMIT":
                    attempt.committing = False
                    raise psycopg.errors.InFailedSqlTransaction("a statement failed and its error was passed over")
            finally:
                await self._end(connection)

    @asynccontextmanager
    async def connection(self, *, timeout: float | None = None) -> AsyncIterator[Connection]:
        """A pooled connection in autocommit mode, for several statements that are no transaction.

        Raises:
            DependencyUnavailable, DeadlineExceeded, Overloaded: As for `transaction`.
        """
        async with self._attempt(timeout) as attempt:
            yield await self._acquire(attempt)

    async def fetch_all(self, sql: str, params: Params = None) -> list[dict[str, Any]]:
        """All rows of one statement in a transaction of its own."""
        async with self.connection() as connection:
            cursor = await connection.execute(sql.encode(), params)
            return await cursor.fetchall()

    async def fetch_one(self, sql: str, params: Params = None) -> dict[str, Any] | None:
        """The first row of one statement, or None."""
        async with self.connection() as connection:
            cursor = await connection.execute(sql.encode(), params)
            return await cursor.fetchone()

    async def execute(self, sql: str, params: Params = None) -> int:
        """Runs one statement in a transaction of its own and returns how many rows it touched."""
        async with self.connection() as connection:
            return (await connection.execute(sql.encode(), params)).rowcount

    async def delete_in_batches(self, table: str, condition: str, params: Sequence[Any] = ()) -> int:
        """Deletes rows in small transactions; returns how many.

        Args:
            table: Its name.
            condition: SQL that holds for what is to go.
            params: Of the condition.
        """
        sql = (
            f"delete from {table} where ctid = any(array("  # noqa: S608 - our own table names
            f"select ctid from {table} where {condition} limit {DELETED_AT_ONCE}))"
        )
        total = deleted = await self.execute(sql, params)
        while deleted == DELETED_AT_ONCE:
            deleted = await self.execute(sql, params)
            total += deleted
        return total

    @asynccontextmanager
    async def _attempt(self, timeout: float | None) -> AsyncIterator[_Attempt]:
        """Deadline, breaker, errors and the connection's way back to the pool around one use of the database."""
        self._breaker.check()
        attempt = _Attempt()
        began = time.monotonic()
        seconds = self._seconds(timeout)
        limit = asyncio.timeout(seconds)
        try:
            # psycopg asks the server to cancel when its task is cancelled, and waits for it; the second one, for a
            # server that does not answer, makes it close the connection at once.
            async with asyncio.timeout(seconds + GRACE_S) as last:
                try:
                    async with limit:
                        yield attempt
                finally:
                    await self._release(attempt)
        except Exception as error:
            mapped = _mapped(error, attempt, limit.expired() or last.expired())
            self._record(mapped, time.monotonic() - began)
            if mapped is error:
                raise
            raise mapped from error
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()

    def _seconds(self, timeout: float | None) -> float:
        call = find_call()
        remaining = call.time_remaining() if call is not None else None
        own = self._timeout if timeout is None else timeout
        return own if remaining is None else max(0.0, min(own, remaining - MARGIN_S))

    def _record(self, error: Exception, seconds: float) -> None:
        if isinstance(error, DeadlineExceeded | CommitUnknown) and seconds < SLOW_S:
            # A caller in such a hurry says nothing about the server.
            self._breaker.abandoned()
        elif isinstance(error, DependencyUnavailable | UnknownOutcome | DeadlineExceeded):
            self._breaker.failed()
        else:
            self._breaker.succeeded()

    async def _acquire(self, attempt: _Attempt) -> Connection:
        """Takes a connection that is not known to be broken."""
        ends_at = time.monotonic() + self._acquire_timeout
        while True:
            try:
                connection = await self._pool.getconn(timeout=ends_at - time.monotonic())
            except PoolTimeout as error:
                busy = self._in_use >= self._size
                raise (Overloaded() if busy else DependencyUnavailable("postgresql")) from error
            if not _is_stale(connection):
                attempt.connection = connection
                self._in_use += 1
                return connection
            await connection.close()
            await self._pool.putconn(connection)

    async def _release(self, attempt: _Attempt) -> None:
        if attempt.connection is None:
            return
        self._in_use -= 1
        # In a task of its own: were it cancelled half-way, the pool would be one connection short for good.
        task = asyncio.create_task(self._pool.putconn(attempt.connection))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)
        await asyncio.shield(task)

    async def _end(self, connection: Connection) -> None:
        """Rolls back what is neither committed nor rolled back yet; closes a connection that can't."""
        if connection.closed or connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        try:
            async with asyncio.timeout(GRACE_S):
                await connection.execute("rollback")
        except (psycopg.Error, TimeoutError):
            await connection.close()

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(self._url, **self._options)  # type: ignore[arg-type]

    async def _configure(self, connection: Connection) -> None:
        settings = {
            "search_path": self.schema,
            "statement_timeout": str(int(self._timeout * 1000)),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        }
        if self._role is not None:
            settings["role"] = self._role
        await connection.execute(
            "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) as setting(name, value)",
            (list(settings), list(settings.values())),
        )


def _is_stale(connection: Connection) -> bool:
    """An idle connection has nothing to read, unless the server closed it or says goodbye."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _mapped(error: Exception, attempt: _Attempt, out_of_time: bool) -> Exception:
    """The error that says what a failure means to the caller."""
    if isinstance(error, AacError):
        return error
    if isinstance(error, TimeoutError) and out_of_time:
        return CommitUnknown() if attempt.committing else DeadlineExceeded()
    if not isinstance(error, psycopg.Error):
        return error
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        # Texts come from callers, and the contract has no rule against the one character that PostgreSQL can't store.
        return InvalidRequest("a text holds the character U+0000, which can't be stored")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return CommitUnknown() if attempt.committing else DeadlineExceeded()
    broken = attempt.connection is not None and attempt.connection.closed
    if broken or (error.sqlstate or "").startswith(_GONE):
        return CommitUnknown() if attempt.committing else DependencyUnavailable("postgresql")
    return error
