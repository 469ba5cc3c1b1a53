"""Which instance of a service fails while the others do not, by what calls to the service came to.

gRPC's outlier detection knows no status but OK and the rest, so that one user's refusals leave out healthy instances.
Here what an instance says about itself counts: a status that is its own fault, with its tag. gRPC spreads calls evenly,
so whatever a caller provokes comes from all instances alike, and then nobody is left out.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import grpc

INSTANCE_KEY = "x-aac-instance"
"""Trailer of an answer that is the instance's own fault: its tag."""
FAULTS = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
)
WINDOW_S = 1.0
FEWEST = 5
"""Calls in a window below which nothing is concluded."""
BAD = 0.9
"""Share of an instance's calls that fail."""
WELL = 0.5
"""Share of the others' calls that do not."""


@lru_cache(256)
def tag_of(address: str) -> str:
    """Names an instance without telling its address to whom it does not concern."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


class Outliers:
    """Counts the calls to one service.

    Attributes:
        begun: Calls that began; whoever makes them counts them.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._begun_before = 0
        self._since = 0.0
        self._failures: Counter[str] = Counter()
        self._unanswered = 0

    def failed(self, tag: str, addresses: Collection[str], now: float) -> str | None:
        """Notes that an instance failed a call; its address, where it fails nearly all of its own and others do not.

        Args:
            tag: The instance's.
            addresses: All instances that get calls.
            now: Monotonic time.
        """
        calls = self._roll(now)
        self._failures[tag] += 1
        failures = self._failures[tag]
        share = calls / len(addresses)
        if len(addresses) < 2 or failures < max(FEWEST, BAD * share):
            return None
        if calls - self._failures.total() < WELL * (calls - share):
            return None
        return next((address for address in addresses if tag_of(address) == tag), None)

    def unanswered(self, instances: int, now: float) -> bool:
        """Notes that nobody has answered a call; tells whether that goes for most of the calls of one instance."""
        calls = self._roll(now)
        self._unanswered += 1
        return instances > 1 and self._unanswered >= max(FEWEST, WELL * calls / instances)

    def forget(self) -> None:
        """Begins a new window."""
        self._since = float("-inf")

    def _roll(self, now: float) -> int:
        """Calls in the window; begins a new one where it is over."""
        if now - self._since > WINDOW_S:
            self._since, self._begun_before = now, self.begun - 1
            self._failures.clear()
            self._unanswered = 0
        return self.begun - self._begun_before


def tag_in(trailers: Iterable[tuple[str, Any]]) -> str | None:
    """The tag of the instance that failed a call."""
    return next((str(value) for key, value in trailers if key == INSTANCE_KEY), None)
