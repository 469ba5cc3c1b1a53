"""Who may write a venue: a row that expires, with an epoch that only grows. A stopped process loses it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from aac_grpc.client.errors import NotWriter
from aac_grpc.common.database import Database
from aac_grpc.servicers.trading.engines import CHANNEL


class LeaseLost(NotWriter):
    """Another instance writes the venue, or it is gone; this one's memory of it means nothing any more."""


@dataclass(slots=True)
class Lease:
    """The right to write a venue.

    Attributes:
        venue_id: Of the venue.
        epoch: Counts who wrote it.
        sure_until: Until then nobody else can have taken it, on this machine's monotonic clock. A process that was
            stopped for longer must look before it tells what it has in memory.
    """

    venue_id: int
    epoch: int
    sure_until: float = field(default=0.0, compare=False)


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

    async def acquire(self, venue_id: int, gone: int | None = None) -> Lease | None:
        """Takes a venue's lease if it is free; waits for a transaction that holds the row, never for the lease.

        Args:
            venue_id: The venue.
            gone: An epoch whose holder's process has ended: its lease is free before it expires.
        """
        began = time.monotonic()
        row = await self._database.fetch_one(
            """with taken as (
                update leases set epoch = epoch + 1, holder = %(holder)s,
                    expires_at = clock_timestamp() + make_interval(secs => %(duration)s)
                where venue_id = %(venue_id)s
                    and (expires_at < clock_timestamp() or holder = %(holder)s or epoch = %(gone)s)
                returning epoch
            )
            select epoch, pg_notify(%(channel)s, %(holder)s) from taken""",
            {
                "venue_id": venue_id,
                "holder": self.holder,
                "duration": self.duration_s,
                "gone": gone,
                "channel": CHANNEL,
            },
        )
        return None if row is None else Lease(venue_id, row["epoch"], began + self.duration_s)

    async def renew(self, leases: Sequence[Lease]) -> set[int]:
        """Renews leases and returns the numbers of the venues whose leases are lost.

        A row that is locked is being renewed by its batch.
        """
        began = time.monotonic()
        rows = await self._database.fetch_all(
            """with held as (
                select leases.venue_id from leases
                join unnest(%(venue_ids)s::bigint[], %(epochs)s::bigint[]) as mine (venue_id, epoch)
                    using (venue_id, epoch)
                for update of leases skip locked
            ), renewed as (
                update leases set expires_at = clock_timestamp() + make_interval(secs => %(duration)s)
                from held where leases.venue_id = held.venue_id returning leases.venue_id
            )
            select venue_id, venue_id in (select venue_id from renewed) as renewed from leases
            join unnest(%(venue_ids)s::bigint[], %(epochs)s::bigint[]) as mine (venue_id, epoch)
                using (venue_id, epoch)""",
            {
                "venue_ids": [lease.venue_id for lease in leases],
                "epochs": [lease.epoch for lease in leases],
                "duration": self.duration_s,
            },
        )
        held = {row["venue_id"]: row["renewed"] for row in rows}
        for lease in leases:
            if held.get(lease.venue_id):
                lease.sure_until = began + self.duration_s
        return {lease.venue_id for lease in leases} - set(held)

    async def release(self, lease: Lease) -> None:
        """Gives a lease up, so that another instance need not wait until it expires."""
        await self._database.execute(
            """with freed as (
                update leases set expires_at = '-infinity'
                where venue_id = %(venue_id)s and epoch = %(epoch)s returning venue_id
            )
            select pg_notify(%(channel)s, %(holder)s) from freed""",
            {"venue_id": lease.venue_id, "epoch": lease.epoch, "channel": CHANNEL, "holder": self.holder},
        )
