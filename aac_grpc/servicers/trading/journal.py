"""A venue's journal in PostgreSQL: one transaction a batch, and what is read back from it."""

import json
import time
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any

from aac_grpc.common.database import Database
from aac_grpc.servicers.trading.batch import Batch, ClientKey, KeyRecord
from aac_grpc.servicers.trading.command_log import ENGINE_VERSION
from aac_grpc.servicers.trading.failpoints import BEFORE_COMMIT, Failpoint
from aac_grpc.servicers.trading.leases import Lease, LeaseLost
from aac_grpc.servicers.trading.live import OrderReference
from aac_grpc.servicers.trading.rows import OrderRow, order_number

_FENCE = """
update leases set batch = %(batch)s, sequence = %(last)s,
    expires_at = clock_timestamp() + make_interval(secs => %(duration)s)
where venue_id = %(venue_id)s and epoch = %(epoch)s and batch = %(batch)s - 1
returning set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true),
    case when current_setting('transaction_timeout', true) is not null
        then set_config('transaction_timeout', %(idle_ms)s, true) end"""
"""Locks, checks and renews the lease. A process that stops now must lose its locks as soon as its lease.

Where it stops before it has sent COMMIT, PostgreSQL waits for more of the pipeline and takes the session for a busy
one: only the limit of the whole transaction, which there is from version 17 on, ends it then.
"""

_JOURNAL = """
insert into journal (venue_id, batch, lease_epoch, engine_version, first_sequence, last_sequence,
    commands, events, chain)
select %(venue_id)s, %(batch)s, %(epoch)s, %(version)s, %(first)s, %(last)s, %(commands)b, %(events)b, %(chain)b
from fence"""

_UPDATED = {
    "orders": (
        "venue_id, order_number",
        "price quantity filled filled_value leaves state cancel_reason version venue_sequence updated_ns",
    ),
    "accounts": (
        "venue_id, account_id",
        "cash cash_held realized_pnl open_orders version venue_sequence",
    ),
    "positions": ("venue_id, account_id, symbol", "quantity quantity_held cost realized_pnl"),
}
"""Tables whose rows change: their keys, and the columns that do."""


def _write(table: str) -> str:
    """The statement that writes a JSON list of rows of a table, if the lease holds."""
    sql = (
        f"insert into {table} select written.* from fence,"  # noqa: S608 - our own table names
        f" json_populate_recordset(null::{table}, %({table})s::json) as written"
    )
    if table not in _UPDATED:
        return sql
    key, columns = _UPDATED[table]
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns.split())
    return f"{sql} on conflict ({key}) do update set {changes}"


@cache
def _commit(tables: tuple[str, ...]) -> str:
    """One statement that writes a batch: the lease, the journal, and rows of these tables."""
    parts = {"fence": _FENCE, "journaled": _JOURNAL} | {f"of_{table}": _write(table) for table in tables}
    written = ", ".join(f"{name} as ({sql})" for name, sql in parts.items())
    return f"with {written} select count(*) as held from fence"  # noqa: S608 - our own text


class Outcome(Enum):
    """What became of a batch."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not committed"
    LOST = "lost"
    """Another instance writes the venue now, and the batch is not in the journal."""


class Journal:
    """The journal of one venue, written under a lease."""

    def __init__(self, database: Database, lease: Lease, duration_s: float, timeout_s: float, failpoint: Failpoint):
        """Configures.

        Args:
            database: The engine's schema.
            lease: The right to write the venue.
            duration_s: What a batch renews the lease by.
            timeout_s: Of one transaction.
            failpoint: For crash tests.
        """
        self._database = database
        self._lease = lease
        self._duration_s = duration_s
        self._timeout_s = timeout_s
        self._failpoint = failpoint

    async def commit(self, batch: Batch) -> None:
        """Writes a batch in one transaction, if the lease holds.

        Raises:
            LeaseLost: It does not hold; nothing was written.
            CommitUnknown: The connection broke during COMMIT; `outcome` tells.
            AacError: Nothing was written.
        """
        named: dict[str, Any] = {
            "venue_id": self._lease.venue_id,
            "epoch": self._lease.epoch,
            "duration": self._duration_s,
            "idle_ms": str(int(self._duration_s * 1000)),
            "batch": batch.number,
            "version": ENGINE_VERSION,
            "first": batch.first_sequence,
            "last": batch.last_sequence,
            "commands": batch.commands,
            "events": batch.events,
            "chain": batch.live.chain,
        }
        began = time.monotonic()
        records = {table: json.dumps(rows) for table, rows in batch.records().items() if rows}
        async with self._database.transaction(pipeline=True, timeout=self._timeout_s) as tx:
            cursor = await tx.execute(_commit(tuple(records)).encode(), named | records)
            fence = await cursor.fetchone()
            if fence is None or not fence["held"]:
                raise LeaseLost(batch.live.name)
            self._failpoint.reach(BEFORE_COMMIT)
        self._lease.sure_until = began + self._duration_s

    async def outcome(self, batch: Batch, timeout_s: float) -> Outcome:
        """Tells whether a batch is committed. Waits for a transaction of it that may still be under way.

        Raises:
            AacError: It can't be told now.
        """
        named = {"venue_id": self._lease.venue_id, "batch": batch.number}
        async with self._database.transaction(timeout=timeout_s) as tx:
            # Whoever has the row locked may be the broken transaction, committing after all.
            cursor = await tx.execute("select epoch from leases where venue_id = %(venue_id)s for update", named)
            lease = await cursor.fetchone()
            cursor = await tx.execute(
                "select lease_epoch from journal where venue_id = %(venue_id)s and batch = %(batch)s", named
            )
            row = await cursor.fetchone()
        if row is not None and row["lease_epoch"] == self._lease.epoch:
            return Outcome.COMMITTED
        if lease is None or lease["epoch"] != self._lease.epoch:
            return Outcome.LOST
        return Outcome.NOT_COMMITTED

    async def find_keys(self, keys: Sequence[ClientKey]) -> dict[ClientKey, KeyRecord]:
        """Returns what client keys hold; those that hold nothing are left out."""
        rows = await self._database.fetch_all(
            """select account_id, kind, key, fingerprint, holder, response from client_keys
            join unnest(%(accounts)s::text[], %(kinds)s::smallint[], %(keys)s::text[]) as wanted (account_id, kind, key)
                using (account_id, kind, key)
            where venue_id = %(venue_id)s""",
            {
                "venue_id": self._lease.venue_id,
                "accounts": [key.account_id for key in keys],
                "kinds": [key.kind for key in keys],
                "keys": [key.key for key in keys],
            },
        )
        found = {}
        for row in rows:
            key = ClientKey(row["account_id"], row["kind"], row["key"])
            found[key] = KeyRecord(key, bytes(row["fingerprint"]), row["holder"], bytes(row["response"]))
        return found

    async def find_orders(self, references: Sequence[OrderReference]) -> list[OrderRow]:
        """Returns the orders that references name, live or not."""
        rows = await self._database.fetch_all(
            """select * from orders where venue_id = %(venue_id)s and order_number = any(%(numbers)s)
            union all
            select orders.* from orders
            join unnest(%(accounts)s::text[], %(client_ids)s::text[]) as wanted (account_id, client_order_id)
                on orders.account_id = wanted.account_id and orders.client_order_id = wanted.client_order_id
            where venue_id = %(venue_id)s""",
            {
                "venue_id": self._lease.venue_id,
                "numbers": [order_number(reference.order_id) for reference in references if reference.order_id],
                "accounts": [reference.account_id for reference in references if reference.client_order_id],
                "client_ids": [reference.client_order_id for reference in references if reference.client_order_id],
            },
        )
        return [OrderRow.of_record(row) for row in rows]
