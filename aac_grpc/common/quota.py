"""Budgets: token buckets by principal and rate class."""

import math
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from aac_grpc.common.clock import Clock


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
    """Where buckets are kept; `LocalQuotas` keeps them in the process, so that each instance grants a whole budget."""

    def take(self, key: str, budget: Budget, cost: float) -> Grant | Awaitable[Grant]:
        """Charges a bucket, at once where it can, else after waiting.

        A charge above the burst is allowed from a full bucket, which then owes the rest.
        """


@dataclass(slots=True)
class _Bucket:
    units: float
    updated_at: float


class LocalQuotas:
    """Buckets in this process's memory."""

    def __init__(self, clock: Clock, *, max_buckets: int = 50_000) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str, budget: Budget, cost: float) -> Grant:
        """Charges a bucket."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._forget_oldest()
            bucket = self._buckets[key] = _Bucket(budget.burst, now)
        else:
            bucket.units = min(budget.burst, bucket.units + (now - bucket.updated_at) * budget.rate)
            bucket.updated_at = now
        wanted = min(cost, budget.burst)
        allowed = bucket.units >= wanted
        if allowed:
            bucket.units -= cost
        missing = 0.0 if allowed else (wanted - bucket.units) / budget.rate
        full = (budget.burst - bucket.units) / budget.rate
        return Grant(allowed, max(0, math.floor(bucket.units)), full, missing)

    def _forget_oldest(self) -> None:
        """Makes room. A bucket that is forgotten is full when its owner comes back: the longest unused go first."""
        by_age = sorted(self._buckets, key=lambda key: self._buckets[key].updated_at)
        for key in by_age[: self._max_buckets // 10 + 1]:
            del self._buckets[key]
