"""The transactional outbox: a change and its event commit together; a relay publishes what has been committed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from aac.event.v1.event_pb2 import Event
from psycopg.rows import DictRow

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.database import Connection, Database, Transaction
from aac_grpc.common.events import metrics
from aac_grpc.common.events.publisher import EventPublisher, EventRejected, OutgoingEvent, event_headers

BATCH = 500
POLL_S = 1.0
"""Rows are looked for this often without a notification."""
LEASE_S = 10.0
"""A relay that is silent for this long, such as a stopped process, loses its session and with it the lease."""
LEASE_RETRY_S = 2.0
STATEMENT_TIMEOUT_S = 10.0
MAX_PAYLOAD_BYTES = 900_000
"""Kafka takes a million with key and headers; what it would refuse for good must not be committed."""

_log = structlog.get_logger(__name__)


async def add(tx: Transaction, event: Event, topic: str) -> None:
    """Writes an event beside the change that it tells of.

    `event.key` names the aggregate and `event.sequence` is its version, which the caller assigned under the
    aggregate's row lock: that is what keeps a key's events in order. The schema needs `-- include: outbox`.

    Raises:
        ValueError: The event is over `MAX_PAYLOAD_BYTES`.
    """
    payload = event.SerializeToString()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"event {event.event_id} has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} fit Kafka")
    await tx.execute(
        """with added as (
            insert into outbox (event_id, topic, key, version, type, payload) values (%s, %s, %s, %s, %s, %s)
        ) select pg_notify('outbox_' || current_schema(), '')""",
        (event.event_id, topic, event.key, event.sequence, event.type, payload),
    )


class Relay:
    """Publishes a schema's unpublished rows to Kafka, in order for each key; one relay a schema, by lease.

    The lease is an advisory lock of the relay's own session, which PostgreSQL ends when it is silent for `LEASE_S`.
    Were two relays at work for a moment, each would publish the same rows in the same order, and consumers, which keep
    event ids, would see each event once and in order. Whatever Kafka refuses holds up those behind it, and is logged.
    """

    def __init__(self, database: Database, publisher: EventPublisher) -> None:
        """Configures; `run` does the work."""
        self._database = database
        self._publisher = publisher
        schema = database.schema
        self._channel = f"outbox_{schema}"
        self._waiting = metrics.OUTBOX_WAITING.labels(schema)
        self._oldest = metrics.OUTBOX_AGE.labels(schema)
        self._latency = metrics.OUTBOX_LATENCY.labels(schema)

    async def run(self) -> None:
        """Relays until cancelled. Spawn it: `tasks.spawn(relay.run, name="outbox")`."""
        while True:
            try:
                async with await self._database.dedicated() as session:
                    await self._lead(session)
            except (DependencyUnavailable, EventRejected, psycopg.OperationalError, TimeoutError) as error:
                _log.warning("the outbox relay begins again", schema=self._database.schema, error=repr(error))
            await asyncio.sleep(LEASE_RETRY_S / 4)

    async def _lead(self, session: Connection) -> None:
        """Relays for as long as the session holds the lease."""
        await self._execute(session, "select set_config('idle_session_timeout', %s, false)", (f"{LEASE_S:g}s",))
        await self._wait_for_lease(session)
        await self._execute(session, f"listen {self._channel}")
        while True:
            rows = await self._unpublished(session)
            if rows:
                await self._publish(session, rows)
            if len(rows) < BATCH:
                await self._measure(session)
                await self._news(session)

    async def _wait_for_lease(self, session: Connection) -> None:
        question = "select pg_try_advisory_lock(hashtextextended(%s, 0)) as held"
        while True:
            rows = await self._execute(session, question, (self._channel,))
            if rows[0]["held"]:
                return
            await asyncio.sleep(LEASE_RETRY_S)

    async def _unpublished(self, session: Connection) -> list[DictRow]:
        """The oldest rows that wait. What commits late under a lower position is found the next time.

        Along a key the prefix is always whole: a version is visible only after those before it.
        """
        return await self._execute(
            session,
            """select event_id, topic, key, version, type, payload, created_at from outbox
            where published_at is null order by position limit %s""",
            (BATCH,),
        )

    async def _publish(self, session: Connection, rows: Sequence[DictRow]) -> None:
        """Publishes, then marks. A crash between them publishes again."""
        publishing = asyncio.ensure_future(
            self._publisher.publish_all([_outgoing(row) for row in in_key_order(rows)], timeout=None)
        )
        try:
            # While Kafka is away the rows wait; the session is kept awake, and so the lease.
            while not (await asyncio.wait({publishing}, timeout=LEASE_S / 4))[0]:
                await self._measure(session)
            await publishing
        finally:
            publishing.cancel()
        marked = await self._execute(
            session,
            """update outbox set published_at = clock_timestamp() where event_id = any(%s)
            returning extract(epoch from clock_timestamp() - created_at)::float8 as seconds""",
            ([row["event_id"] for row in rows],),
        )
        for row in marked:
            self._latency.observe(row["seconds"])

    async def _measure(self, session: Connection) -> None:
        rows = await self._execute(
            session,
            """select count(*) as waiting, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8
            as age from outbox where published_at is null""",
        )
        self._waiting.set(rows[0]["waiting"])
        self._oldest.set(rows[0]["age"])

    async def _news(self, session: Connection) -> None:
        """Waits for a notification, at most `POLL_S`."""
        async for _ in session.notifies(timeout=POLL_S, stop_after=1):
            pass

    async def _execute(self, session: Connection, sql: str, params: Sequence[Any] = ()) -> list[DictRow]:
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            cursor = await session.execute(sql.encode(), params)
            return await cursor.fetchall() if cursor.description else []


def in_key_order(rows: Sequence[DictRow]) -> list[DictRow]:
    """Rows in the order of their positions, but along each key in that of their versions."""
    by_key: dict[tuple[str, str], list[DictRow]] = {}
    for row in rows:
        by_key.setdefault((row["topic"], row["key"]), []).append(row)
    for same in by_key.values():
        same.sort(key=lambda row: row["version"], reverse=True)
    return [by_key[row["topic"], row["key"]].pop() for row in rows]


def _outgoing(row: DictRow) -> OutgoingEvent:
    return OutgoingEvent(row["topic"], row["key"], bytes(row["payload"]), event_headers(row["event_id"], row["type"]))
