"""Leases of instances in PostgreSQL, by the database's clock, which all registries share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from aac_grpc.common.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service."""

    instance_id: str
    service: str
    address: str
    admin_address: str
    version: str
    registered_at: datetime
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who is there, as of one change."""

    epoch: int
    sequence: int
    instances: Sequence[Instance] = ()
    """By service, then by registration time."""


class Leases:
    """Who holds a lease; each change of who does gets the next sequence."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease = {"lease": lease_s}

    async def register(self, instance: Mapping[str, str]) -> None:
        """Gives an instance a lease, or renews it; one that had its address before is gone."""
        async with self._database.transaction() as tx:
            cursor = await tx.execute(
                """delete from instances where service = %(service)s and address = %(address)s
                and instance_id <> %(instance_id)s""",
                instance,
            )
            replaced = cursor.rowcount
            cursor = await tx.execute(
                """insert into instances (instance_id, service, address, admin_address, version, lease_expires_at)
                values (%(instance_id)s, %(service)s, %(address)s, %(admin_address)s, %(version)s,
                    now() + %(lease)s * interval '1 second')
                on conflict (instance_id) do nothing""",
                {**instance, **self._lease},
            )
            added = cursor.rowcount
            await self._renew(tx, instance["instance_id"], instance["service"])
            await _count(tx, replaced + added)

    async def renew(self, instance_id: str, service: str) -> bool:
        """Renews the lease of a service's instance; False where it has none."""
        async with self._database.transaction() as tx:
            return await self._renew(tx, instance_id, service)

    async def remove(self, instance_id: str, service: str) -> None:
        """Ends the lease of a service's instance."""
        async with self._database.transaction() as tx:
            cursor = await tx.execute(
                "delete from instances where instance_id = %s and service = %s", (instance_id, service)
            )
            await _count(tx, cursor.rowcount)

    async def remove_expired(self) -> None:
        """Ends the leases that were not renewed in time."""
        async with self._database.transaction() as tx:
            cursor = await tx.execute("delete from instances where lease_expires_at < now()")
            await _count(tx, cursor.rowcount)

    async def extend_all(self) -> None:
        """Gives everybody one more lease, because nobody could renew while the registry or its database was away."""
        await self._database.execute(
            """update instances
            set lease_expires_at = greatest(lease_expires_at, now() + %(lease)s * interval '1 second')""",
            self._lease,
        )

    async def sequence(self) -> tuple[int, int]:
        """Epoch and sequence of the last change."""
        row = await self._database.fetch_one("select epoch, sequence from membership")
        return (row["epoch"], row["sequence"]) if row else (0, 0)

    async def snapshot(self) -> Snapshot:
        """Who is there; a change made meanwhile is seen again under its own sequence."""
        epoch, sequence = await self.sequence()
        rows = await self._database.fetch_all("select * from instances order by service, registered_at, instance_id")
        return Snapshot(epoch, sequence, [Instance(**row) for row in rows])

    async def _renew(self, tx: Transaction, instance_id: str, service: str) -> bool:
        cursor = await tx.execute(
            """update instances set lease_expires_at = now() + %(lease)s * interval '1 second'
            where instance_id = %(instance_id)s and service = %(service)s""",
            {"instance_id": instance_id, "service": service, **self._lease},
        )
        return cursor.rowcount > 0


async def _count(tx: Transaction, changed: int) -> None:
    """Numbers a change where there was one; the row's lock puts changes in order."""
    if changed:
        await tx.execute("update membership set sequence = sequence + 1")
