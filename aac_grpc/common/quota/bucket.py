"""Token buckets: how large they are, and what a charge does to one."""

import math
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Budget:
    """Size of one bucket."""

    rate: float
    """Units that come back each second."""
    burst: float
    """Units that it holds when full."""

    @cached_property
    def limit(self) -> str:
        """What `x-ratelimit-limit` says: units that a full bucket holds."""
        return str(int(self.burst))

    def __str__(self) -> str:
        return f"{self.rate:g}/s, burst {self.burst:g}"


class Grant(NamedTuple):
    """The answer to one charge."""

    allowed: bool
    remaining: int
    """Units that are left."""
    reset_s: float
    """Seconds until the bucket is full."""
    retry_after_s: float
    """Seconds until the charge would be allowed; 0 where it was."""


class Quotas(Protocol):
    """Where buckets are kept: `LocalQuotas` in the process, `LeasedQuotas` in Redis for all instances."""

    def take(self, key: str, budget: Budget, cost: float) -> Grant | Awaitable[Grant]:
        """Charges a bucket, at once where it can, else after waiting.

        A charge above the burst is allowed from a full bucket, which then owes the rest.
        """


@dataclass(slots=True)
class Bucket:
    """What is in one bucket."""

    units: float
    """Below zero where it owes."""
    updated_at: float
    """When it held them, in monotonic seconds."""

    def refill(self, budget: Budget, now: float) -> None:
        """Adds what came back until now."""
        self.units = min(budget.burst, self.units + (now - self.updated_at) * budget.rate)
        self.updated_at = now

    def charge(self, budget: Budget, cost: float, now: float) -> Grant:
        """Takes a charge out of it, if that much is there."""
        self.refill(budget, now)
        allowed = self.units >= min(cost, budget.burst)
        if allowed:
            self.units -= cost
        return answer(budget, cost, self.units, allowed=allowed)


def answer(budget: Budget, cost: float, left: float, *, allowed: bool) -> Grant:
    """What a caller is told, given the units that are left after its charge."""
    missing = 0.0 if allowed else max(0.0, min(cost, budget.burst) - left) / budget.rate
    return Grant(allowed, max(0, math.floor(left)), (budget.burst - left) / budget.rate, missing)
