"""Removes rows whose time is over from the tables that services share the shape of, a few at a time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from prometheus_client import Counter

from aac_grpc.client.errors import AacError
from aac_grpc.common.database import Database
from aac_grpc.common.settings import ServiceSettings

EVERY_S = 600.0
_TIME_OF = {"outbox": "published_at", "inbox": "handled_at", "client_keys": "created_at"}
_KEPT_DAYS: Mapping[str, Callable[[ServiceSettings], float]] = {
    "outbox": lambda settings: settings.outbox_kept_days,
    "inbox": lambda settings: settings.inbox_kept_days,
    "client_keys": lambda settings: settings.client_keys_kept_days,
}

PRUNED = Counter("aac_pruned_rows_total", "Rows that were removed because their time was over.", ["schema", "table"])

_log = structlog.get_logger("pruning")


class Pruning:
    """Looks after some of one schema's tables. Several instances may do so: each row is removed by one of them."""

    def __init__(self, database: Database, settings: ServiceSettings, tables: Sequence[str]) -> None:
        """Configures; `run` does the work.

        Args:
            database: The schema.
            settings: How long rows are kept.
            tables: Of "outbox" (what is not published stays), "inbox" and "client_keys".
        """
        self._database = database
        self._kept = {table: _KEPT_DAYS[table](settings) for table in tables}

    async def run(self) -> None:
        """Prunes again and again until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            for table in self._kept:
                try:
                    await self.prune(table)
                except AacError as error:
                    _log.warning("not pruned", schema=self._database.schema, table=table, error=str(error))

    async def prune(self, table: str) -> None:
        """Removes what is too old in one table, each batch in a transaction of its own.

        Raises:
            AacError: The database is away.
        """
        removed = await self._database.delete_in_batches(
            table, f"{_TIME_OF[table]} < now() - %s * interval '1 day'", (self._kept[table],)
        )
        PRUNED.labels(self._database.schema, table).inc(removed)
