"""Time as an argument: wall time for tokens, timestamps and people, monotonic time for deadlines and rates."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a service gets its time from."""

    def now(self) -> datetime:
        """Wall time, in UTC."""

    def time(self) -> float:
        """Wall time, seconds since the Unix epoch."""

    def nanoseconds(self) -> int:
        """Wall time, nanoseconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean something."""


class SystemClock:
    """The machine's clocks, without a step between: each call that is served reads them several times."""

    nanoseconds = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def now(self) -> datetime:
        """Wall time, in UTC."""
        return datetime.now(UTC)
