"""The venues that there are: names, numbers, numberings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aac_grpc.common.database import Database

_PURGED = (
    "journal",
    "journal_accounts",
    "snapshots",
    "instruments",
    "orders",
    "executions",
    "accounts",
    "positions",
    "ledger",
    "client_keys",
    "relays",
    "leases",
)


@dataclass(frozen=True, slots=True)
class VenueRow:
    """One venue."""

    venue_id: int
    """Its number, which rows carry; a venue that is deleted and made again gets another."""
    name: str
    epoch: int
    """Numbering of its events; it survives restarts and failover."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A venue and its lease, as the database has it."""

    venue: VenueRow
    epoch: int
    """Counts who wrote it."""
    holder: str
    """Who has the lease, or had it last."""
    address: str
    """Where the holder is reached; empty where it does not say."""
    left_s: float
    """Seconds until the lease ends; 0 where it is free."""
    lapses: bool
    """It ends, or has ended, by time, and not because it was given up."""

    @property
    def free(self) -> bool:
        """Any engine may take it."""
        return self.left_s <= 0


class VenueTable:
    """The rows of `venues`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str) -> VenueRow | None:
        """Returns a venue by its id."""
        row = await self._database.fetch_one("select * from venues where venue = %s and deleted_at is null", (name,))
        return None if row is None else _row(row)

    async def create(self, name: str) -> VenueRow:
        """Makes a venue, or finds the one that there is."""
        async with self._database.transaction() as tx:
            # The creation's time as numbering: another database, or the same name made again, has another.
            cursor = await tx.execute(
                """insert into venues (venue, epoch)
                values (%s, (extract(epoch from clock_timestamp()) * 1000000)::bigint)
                on conflict (venue) where deleted_at is null do nothing returning *""",
                (name,),
            )
            created = await cursor.fetchone()
            if created is not None:
                await tx.execute("insert into leases (venue_id) values (%s)", (created["venue_id"],))
                await tx.execute("insert into relays (venue_id) values (%s)", (created["venue_id"],))
                return _row(created)
        found = await self.find(name)
        if found is None:
            return await self.create(name)
        return found

    async def all(self) -> list[dict[str, Any]]:
        """Returns all venues by id, each with the sequence of its last committed event."""
        return await self._database.fetch_all(
            "select venues.*, leases.sequence from venues join leases using (venue_id)"
            " where deleted_at is null order by venue"
        )

    async def holders(self, name: str | None = None) -> Sequence[Held]:
        """Returns who may write the venues.

        Args:
            name: Only this venue; None for all.
        """
        rows = await self._database.fetch_all(
            """select venues.*, leases.epoch as lease_epoch, holder, coalesce(address, '') as address,
                isfinite(leases.expires_at) as lapses,
                extract(epoch from greatest(leases.expires_at, clock_timestamp()) - clock_timestamp())::float8 as left_s
            from venues join leases using (venue_id) left join engines on instance = holder
            where deleted_at is null and (%(name)s::text is null or venue = %(name)s) order by venue_id""",
            {"name": name},
        )
        return [
            Held(_row(row), row["lease_epoch"], row["holder"], row["address"], row["left_s"], row["lapses"])
            for row in rows
        ]

    async def delete(self, venue_id: int, lease_epoch: int) -> bool:
        """Ends a venue that this instance writes: its name is free, its lease is void, its rows are purged later."""
        async with self._database.transaction() as tx:
            cursor = await tx.execute(
                "update leases set epoch = epoch + 1, expires_at = 'infinity' where venue_id = %s and epoch = %s",
                (venue_id, lease_epoch),
            )
            if not cursor.rowcount:
                return False
            await tx.execute("update venues set deleted_at = now() where venue_id = %s", (venue_id,))
        return True

    async def purge(self) -> None:
        """Removes what deleted venues left, in small transactions."""
        rows = await self._database.fetch_all("select venue_id from venues where deleted_at is not null")
        for row in rows:
            for table in _PURGED:
                await self._database.delete_in_batches(table, "venue_id = %s", (row["venue_id"],))
            await self._database.execute("delete from venues where venue_id = %s", (row["venue_id"],))


def _row(record: dict[str, Any]) -> VenueRow:
    return VenueRow(record["venue_id"], record["venue"], record["epoch"], record["created_at"])
