"""Who may write a venue: a row that expires, with an epoch that only grows. A stopped process loses it."""

from collections.abc import Sequence
from dataclasses import dataclass

from aac_grpc.client.errors import Unavailable
from aac_grpc.common.database import Database


class LeaseLost(Unavailable):
    """Another instance writes the venue, or it is gone; this one's memory of it means nothing any more."""

    default_message = "this instance does not write the venue any more; try again"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a venue."""

    venue_id: int
    epoch: int


class Leases:
    """The leases of this instance."""

    def __init__(self, database: Database, holder: str, duration_s: float) -> None:
        """Configures.

        Args:
            database: Holds the rows.
            holder: Name of this instance; no other process has it.
            duration_s: How long a lease lives without being renewed.
        """
        self._database = database
        self.holder = holder
        self.duration_s = duration_s

    async def acquire(self, venue_id: int) -> Lease | None:
        """Takes a venue's lease if it is free; waits for a transaction that holds the row, never for the lease."""
        row = await self._database.fetch_one(
            """update leases set epoch = epoch + 1, holder = %(holder)s,
                expires_at = clock_timestamp() + make_interval(secs => %(duration)s)
            where venue_id = %(venue_id)s and (expires_at < clock_timestamp() or holder = %(holder)s)
            returning epoch""",
            {"venue_id": venue_id, "holder": self.holder, "duration": self.duration_s},
        )
        return None if row is None else Lease(venue_id, row["epoch"])

    async def renew(self, leases: Sequence[Lease]) -> set[int]:
        """Renews leases and returns the numbers of the venues whose leases are lost.

        A row that is locked is being renewed by its batch.
        """
        rows = await self._database.fetch_all(
            """with held as (
                select leases.venue_id from leases
                join unnest(%(venue_ids)s::bigint[], %(epochs)s::bigint[]) as mine (venue_id, epoch)
                    using (venue_id, epoch)
                for update of leases skip locked
            ), renewed as (
                update leases set expires_at = clock_timestamp() + make_interval(secs => %(duration)s)
                from held where leases.venue_id = held.venue_id
            )
            select venue_id from leases
            join unnest(%(venue_ids)s::bigint[], %(epochs)s::bigint[]) as mine (venue_id, epoch)
                using (venue_id, epoch)""",
            {
                "venue_ids": [lease.venue_id for lease in leases],
                "epochs": [lease.epoch for lease in leases],
                "duration": self.duration_s,
            },
        )
        return {lease.venue_id for lease in leases} - {row["venue_id"] for row in rows}

    async def release(self, lease: Lease) -> None:
        """Gives a lease up, so that another instance need not wait until it expires."""
        await self._database.execute(
            "update leases set expires_at = '-infinity' where venue_id = %s and epoch = %s",
            (lease.venue_id, lease.epoch),
        )
