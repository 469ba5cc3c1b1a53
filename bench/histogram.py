"""Latencies in buckets of 1 %: any number of samples in little memory, and exact enough for every percentile."""

import math
from collections import Counter

GROWTH = 1.01
FLOOR_S = 1e-6
_LOG_GROWTH = math.log(GROWTH)


class Histogram:
    """Counts latencies by bucket; two can be added."""

    __slots__ = ("_counts", "count", "largest")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Counts one latency; one below a microsecond counts as a microsecond."""
        self._counts[int(math.log(max(seconds, FLOOR_S) / FLOOR_S) / _LOG_GROWTH)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def percentile(self, percent: float) -> float:
        """The latency, in seconds, that `percent` of all do not exceed, to 1 %; NaN without one."""
        rank = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= max(rank, 1):
                return min(FLOOR_S * GROWTH ** (bucket + 1), self.largest)
        return math.nan
