"""Buckets in this process's memory, so that each instance grants a whole budget."""

from aac_grpc.common.clock import Clock
from aac_grpc.common.quota.bucket import Bucket, Budget, Grant

MAX_BUCKETS = 50_000


class LocalQuotas:
    """Buckets in this process's memory."""

    def __init__(self, clock: Clock, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: dict[str, Bucket] = {}

    def take(self, key: str, budget: Budget, cost: float) -> Grant:
        """Charges a bucket."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._forget_oldest()
            bucket = self._buckets[key] = Bucket(budget.burst, now)
        return bucket.charge(budget, cost, now)

    def _forget_oldest(self) -> None:
        """Makes room. A bucket that is forgotten is full when its owner comes back: the longest unused go first."""
        by_age = sorted(self._buckets, key=lambda key: self._buckets[key].updated_at)
        for key in by_age[: self._max_buckets // 10 + 1]:
            del self._buckets[key]
