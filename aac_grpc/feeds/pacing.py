"""When recorded rows are due, at a speed: 1 is as recorded, 10 ten times as fast, 0 as fast as the venue takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import islice

from aac.trading.v1.venue_pb2 import FeedRow as RowMessage

from aac_grpc.domain.feed import FeedRow
from aac_grpc.feeds.messages import row_message

CHUNK_ROWS = 500
"""Rows that are read at once, and sent at once at most."""
SLICE_S = 0.02
"""Rows that are due within so long of each other are sent together."""
LONGEST_LAG_S = 5.0
"""A feed that is further behind does not catch up: it goes on at its speed from where it is."""


class Pace:
    """Says how long to wait for a row. Times are seconds of the monotonic clock."""

    def __init__(self, speed: float) -> None:
        """Begins with the first row that is asked for.

        Args:
            speed: Times as fast as recorded; 0 never waits.
        """
        self._speed = speed
        self._begin: tuple[float, int] | None = None

    def wait_s(self, time_ns: int, now: float) -> float:
        """Seconds until a row of that recorded time is due; negative where it is late."""
        if not self._speed:
            return 0.0
        if self._begin is None:
            self._begin = now, time_ns
        began_at, first_ns = self._begin
        wait = began_at + (time_ns - first_ns) / 1e9 / self._speed - now
        if wait < -LONGEST_LAG_S:
            self._begin = now, time_ns
        return wait


async def paced(rows: Iterator[FeedRow], speed: float) -> AsyncGenerator[Sequence[RowMessage], None]:
    """Yields rows as messages when they are due, together where they are due together.

    Rows are read and written as messages in a thread, one chunk ahead.
    """
    pace = Pace(speed)
    reading = asyncio.create_task(asyncio.to_thread(_chunk, rows))
    try:
        while chunk := await reading:
            reading = asyncio.create_task(asyncio.to_thread(_chunk, rows))
            sent = 0
            while sent < len(chunk):
                if (wait := pace.wait_s(chunk[sent].time_ns, time.monotonic())) > 0:
                    await asyncio.sleep(max(wait, SLICE_S))
                due = sent + 1
                now = time.monotonic()
                while due < len(chunk) and pace.wait_s(chunk[due].time_ns, now) <= 0:
                    due += 1
                yield chunk[sent:due]
                sent = due
    finally:
        # A thread can't be interrupted: it ends with its chunk.
        await asyncio.gather(reading, return_exceptions=True)


def _chunk(rows: Iterator[FeedRow]) -> list[RowMessage]:
    return [row_message(row) for row in islice(rows, CHUNK_ROWS)]
