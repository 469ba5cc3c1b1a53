"""Lockout: after some wrong tries in a row a user name has to wait, longer each time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database


@dataclass(frozen=True, slots=True)
class Policy:
    """When a user name is locked, and for how long."""

    tries: int
    """Wrong tries in a row that lock it."""
    window: timedelta
    """Tries longer ago than this are forgotten."""
    wait: timedelta
    """First wait; it doubles with each further wrong try."""
    max_wait: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Tries:
    """What is known of a user name."""

    tries: int
    last_at: datetime
    locked_until: datetime | None = None

    def next(self, now: datetime, policy: Policy) -> "Tries":
        """Returns what is known after one more try, counted as wrong until it turns out right."""
        tries = 1 if now - self.last_at > policy.window else self.tries + 1
        if tries < policy.tries:
            return Tries(tries, now)
        doublings = min(tries - policy.tries, 16)
        return Tries(tries, now, now + min(policy.wait * 2**doublings, policy.max_wait))


class Lockout:
    """Counts tries by user name, known or not."""

    def __init__(self, database: Database, clock: Clock, policy: Policy) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy

    async def charge(self, username: str) -> None:
        """Counts a try before the password is looked at, so that tries at the same time count as well.

        Raises:
            Unauthenticated: LOCKED_OUT, with the time to wait.
        """
        now = self._clock.now()
        async with self._database.transaction() as tx:
            await tx.execute(
                "insert into login_tries (username, tries, last_at) values (%s, 0, %s) on conflict do nothing",
                (username, now),
            )
            cursor = await tx.execute(
                "select tries, last_at, locked_until from login_tries where username = %s for update", (username,)
            )
            row = await cursor.fetchone()
            known = Tries(**row) if row else Tries(0, now)
            locked_until = known.locked_until if known.locked_until and known.locked_until > now else None
            if locked_until is None:
                tried = known.next(now, self._policy)
                await tx.execute(
                    "update login_tries set tries = %s, last_at = %s, locked_until = %s where username = %s",
                    (tried.tries, tried.last_at, tried.locked_until, username),
                )
        if locked_until is not None:
            raise Unauthenticated(
                "too many wrong tries; wait and try again",
                reason="LOCKED_OUT",
                retry_after=(locked_until - now).total_seconds(),
            )

    async def clear(self, username: str) -> None:
        """Forgets the tries of a user name that has signed in."""
        await self._database.execute("delete from login_tries where username = %s", (username,))

    async def forget_old(self) -> None:
        """Removes tries that count no more."""
        before = self._clock.now() - self._policy.window - self._policy.max_wait
        await self._database.execute("delete from login_tries where last_at < %s", (before,))
