"""Leases of instances in PostgreSQL, by the database's clock, which all registries share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from aac_grpc.client.errors import InvalidField
from aac_grpc.common.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Report:
    """What an instance says of itself."""

    serving: int = 0
    """As in `aac.registry.v1.ServingState`."""
    breakers: Sequence[Mapping[str, Any]] = ()
    """Those that are not closed: target, state as in `aac.registry.v1.BreakerState`, since_ns."""

    @property
    def columns(self) -> dict[str, Any]:
        """As they are stored."""
        return {"serving": self.serving, "breakers": Jsonb(list(self.breakers))}


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service."""

    instance_id: str
    service: str
    address: str
    admin_address: str
    version: str
    workers: int
    registered_at: datetime
    lease_expires_at: datetime
    renewed_at: datetime
    serving: int
    breakers: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who is there, as of one change."""

    epoch: int
    sequence: int
    instances: Sequence[Instance] = ()
    """By service, then by registration time."""


_COLUMNS = ", ".join(field.name for field in fields(Instance))


class Leases:
    """Who holds a lease; each change of who does gets the next sequence."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease = {"lease": lease_s}

    async def register(self, instance: Mapping[str, Any], report: Report) -> None:
        """Gives an instance a lease, or renews it; one that had its address before is gone.

        An instance of the same name that was elsewhere before, as a pod that was started again, is where it says now.

        Raises:
            InvalidField: An instance of another service has the name.
        """
        async with self._database.transaction() as tx:
            cursor = await tx.execute(
                """delete from instances where service = %(service)s and address = %(address)s
                and instance_id <> %(instance_id)s""",
                instance,
            )
            replaced = cursor.rowcount
            cursor = await tx.execute(
                """insert into instances
                    (instance_id, service, address, admin_address, version, workers, lease_expires_at)
                values (%(instance_id)s, %(service)s, %(address)s, %(admin_address)s, %(version)s, %(workers)s,
                    now() + %(lease)s * interval '1 second')
                on conflict (instance_id) do update set address = excluded.address,
                    admin_address = excluded.admin_address, version = excluded.version, workers = excluded.workers,
                    registered_at = now()
                where instances.service = excluded.service
                and (instances.address, instances.admin_address, instances.version, instances.workers)
                    is distinct from (excluded.address, excluded.admin_address, excluded.version, excluded.workers)""",
                {**instance, **self._lease},
            )
            placed = cursor.rowcount
            if not await self._renew(tx, instance["instance_id"], instance["service"], report):
                raise InvalidField("instance.instance_id", "an instance of another service has this id; choose another")
            await _count(tx, replaced + placed)

    async def renew(self, instance_id: str, service: str, report: Report) -> bool:
        """Renews the lease of a service's instance and notes what it says; False where it has none."""
        async with self._database.transaction() as tx:
            return await self._renew(tx, instance_id, service, report)

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
        rows = await self._database.fetch_all(
            f"select {_COLUMNS} from instances order by service, registered_at, instance_id"  # noqa: S608 - our columns
        )
        return Snapshot(epoch, sequence, [Instance(**row) for row in rows])

    async def _renew(self, tx: Transaction, instance_id: str, service: str, report: Report) -> bool:
        cursor = await tx.execute(
            """update instances set lease_expires_at = now() + %(lease)s * interval '1 second', renewed_at = now(),
                serving = %(serving)s, breakers = %(breakers)s
            where instance_id = %(instance_id)s and service = %(service)s""",
            {"instance_id": instance_id, "service": service, **self._lease, **report.columns},
        )
        return cursor.rowcount > 0


async def _count(tx: Transaction, changed: int) -> None:
    """Numbers a change where there was one; the row's lock puts changes in order."""
    if changed:
        await tx.execute("update membership set sequence = sequence + 1")
