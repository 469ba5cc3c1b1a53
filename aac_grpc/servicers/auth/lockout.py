"""Lockout: after some wrong tries in a row at a user name an address has to wait, longer each time.

By name and address together, so that nobody locks out others by guessing at their names (OWASP Authentication Cheat
Sheet). Guesses from many addresses, and at many names, are bounded by the pace of all tries at a name, and from an
address.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.clock import Clock
from aac_grpc.common.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Policy:
    """When an address is locked out of a user name, and for how long."""

    tries: int
    """Wrong tries in a row that lock it out."""
    window: timedelta
    """Tries longer ago than this are forgotten."""
    wait: timedelta
    """First wait; it doubles with each further wrong try."""
    max_wait: timedelta = timedelta(minutes=15)
    tries_in_all: int = 100
    """Wrong tries that a name, and an address, may see at once; they come back within `window`."""

    @property
    def interval(self) -> timedelta:
        """Between tries at a pace that can be kept up."""
        return self.window / self.tries_in_all


@dataclass(frozen=True, slots=True)
class Tries:
    """What is known of an address at a user name."""

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
    """Counts tries by user name, known or not, and by address."""

    def __init__(self, database: Database, clock: Clock, policy: Policy) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy

    async def charge(self, username: str, address: str) -> None:
        """Counts a try before the password is looked at, so that tries at the same time count as well.

        Raises:
            Unauthenticated: LOCKED_OUT, with the time to wait.
        """
        now = self._clock.now()
        async with self._database.transaction() as tx:
            until = await self._try(tx, username, address, now) or await self._pace(tx, username, address, now)
            if until is not None:  # and nothing of this try counts
                raise Unauthenticated(
                    "too many wrong tries; wait and try again",
                    reason="LOCKED_OUT",
                    retry_after=(until - now).total_seconds(),
                )

    async def clear(self, username: str, address: str) -> None:
        """Forgets the tries of an address at a user name that has signed in, and the last one of all."""
        async with self._database.transaction() as tx:
            await tx.execute("delete from login_tries where username = %s and address = %s", (username, address))
            await tx.execute(
                "update login_paces set reaches = reaches - %s where subject = any(%s)",
                (self._policy.interval, _subjects(username, address)),
            )

    async def forget_old(self) -> None:
        """Removes tries that count no more."""
        now = self._clock.now()
        before = now - self._policy.window - self._policy.max_wait
        await self._database.execute("delete from login_tries where last_at < %s", (before,))
        await self._database.execute("delete from login_paces where reaches < %s", (now,))

    async def _try(self, tx: Transaction, username: str, address: str, now: datetime) -> datetime | None:
        """Counts a try of this address at this name; where it is locked out, until when."""
        key = (username, address)
        await tx.execute(
            "insert into login_tries (username, address, tries, last_at) values (%s, %s, 0, %s) on conflict do nothing",
            (*key, now),
        )
        cursor = await tx.execute(
            "select tries, last_at, locked_until from login_tries where username = %s and address = %s for update", key
        )
        row = await cursor.fetchone()
        known = Tries(**row) if row else Tries(0, now)
        if known.locked_until and known.locked_until > now:
            return known.locked_until
        tried = known.next(now, self._policy)
        await tx.execute(
            "update login_tries set tries = %s, last_at = %s, locked_until = %s where username = %s and address = %s",
            (tried.tries, tried.last_at, tried.locked_until, *key),
        )
        return None

    async def _pace(self, tx: Transaction, username: str, address: str, now: datetime) -> datetime | None:
        """Counts a try at this name, and one from this address; where there were too many, until when to wait."""
        for subject in _subjects(username, address):
            cursor = await tx.execute(
                """insert into login_paces as known (subject, reaches) values (%s, %s)
                on conflict (subject) do update set reaches = greatest(known.reaches, %s) + %s returning reaches""",
                (subject, now + self._policy.interval, now, self._policy.interval),
            )
            row = await cursor.fetchone()
            assert row is not None
            until: datetime = row["reaches"] - self._policy.window
            if until > now:
                return until
        return None


def _subjects(username: str, address: str) -> list[str]:
    """Whose paces a try counts to, in the order in which all lock them."""
    return [f"address {address}", f"name {username}"]
