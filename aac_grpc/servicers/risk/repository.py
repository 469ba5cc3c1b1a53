"""Limits of accounts: in PostgreSQL, and in memory where orders are judged."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from aac.event.v1.event_pb2 import Event, LimitsEvent
from aac.risk.v1.risk_pb2 import Limits
from psycopg.types.json import Jsonb

from aac_grpc.client.errors import VersionClash
from aac_grpc.common import outbox
from aac_grpc.common.cache import Cache
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database, Transaction
from aac_grpc.common.event_types import EventType
from aac_grpc.common.topics import RISK
from aac_grpc.common.types import to_timestamp


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What is set for an account in a venue."""

    own: Limits
    effective: Limits
    """Its own, else the defaults."""
    version: int
    """0 where nothing was ever set."""


class LimitsRepository:
    """Limits by venue and account, over the platform's defaults."""

    def __init__(self, database: Database, cache: Cache, clock: Clock, defaults: Limits, ttl_s: float) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._defaults = defaults
        self._ttl_s = ttl_s

    async def effective(self, venue: str, account_id: str) -> Limits:
        """Returns the limits in force, from memory where they are known there."""

        async def load() -> dict[str, Any]:
            own: dict[str, Any] = (await self._read(venue, account_id))["own"]
            return own

        own = await self._cache.get_or_load(_key(venue, account_id), load, ttl=self._ttl_s)
        return self._over_defaults(Limits(**cast(dict[str, Any], own)))

    async def get(self, venue: str, account_id: str) -> AccountLimits:
        """Returns what is set, as it stands in the database."""
        row = await self._read(venue, account_id)
        own = Limits(**row["own"])
        return AccountLimits(own, self._over_defaults(own), row["version"])

    async def set(
        self, tx: Transaction, venue: str, account_id: str, own: Limits, *, expected_version: int, actor: str
    ) -> AccountLimits:
        """Replaces an account's own limits whole, and tells of it on Kafka.

        Args:
            tx: The transaction of the change; call `forget` after it.
            venue: Isolated market.
            account_id: Whose.
            own: Fields left out fall back to the defaults.
            expected_version: What the caller read; 0 means any.
            actor: Who sets them.

        Raises:
            VersionClash: Another version is in force.
        """
        place = {"venue": venue, "account": account_id}
        await tx.execute(
            "insert into limits (venue, account_id) values (%(venue)s, %(account)s) on conflict do nothing", place
        )
        cursor = await tx.execute(
            "select version from limits where venue = %(venue)s and account_id = %(account)s for update", place
        )
        row = await cursor.fetchone()
        version: int = row["version"] if row else 0
        if expected_version not in (0, version):
            raise VersionClash("limits", account_id, expected=expected_version, actual=version)
        now = self._clock.now()
        fields = {field.name: value for field, value in own.ListFields()}
        await tx.execute(
            """update limits set own = %(own)s, version = %(version)s, updated_at = %(now)s
            where venue = %(venue)s and account_id = %(account)s""",
            {**place, "own": Jsonb(fields), "version": version + 1, "now": now},
        )
        event = _limits_event(venue, account_id, version + 1, actor)
        event.occurred_at.CopyFrom(to_timestamp(now))
        await outbox.add(tx, event, RISK)
        return AccountLimits(own, self._over_defaults(own), version + 1)

    async def forget(self, venue: str, account_id: str) -> None:
        """Drops what memories hold of an account's limits, here and in other instances."""
        await self._cache.invalidate(_key(venue, account_id))

    async def _read(self, venue: str, account_id: str) -> dict[str, Any]:
        row = await self._database.fetch_one(
            "select own, version from limits where venue = %s and account_id = %s", (venue, account_id)
        )
        return row or {"own": {}, "version": 0}

    def _over_defaults(self, own: Limits) -> Limits:
        effective = Limits()
        effective.CopyFrom(self._defaults)
        effective.MergeFrom(own)
        return effective


def _limits_event(venue: str, account_id: str, version: int, actor: str) -> Event:
    return Event(
        event_id=str(uuid4()),
        type=EventType.LIMITS_SET,
        source="risk-management",
        key=f"{venue}/{account_id}",
        sequence=version,
        venue=venue,
        limits=LimitsEvent(account_id=account_id, version=version, actor=actor),
    )


def _key(venue: str, account_id: str) -> str:
    return f"limits:{venue}/{account_id}"
