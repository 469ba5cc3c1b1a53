"""Load: callers that wait for their answers (closed loop), or calls at a steady rate, answered or not (open loop)."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.histogram import Histogram

Call = Callable[[int], Awaitable[object]]
"""`call(number)` makes one call; what it raises counts as a failure under its class and code."""


@dataclass(slots=True)
class Load:
    """What a run of calls met.

    Attributes:
        seconds: From the first call to the last answer.
        latencies: Of the calls that succeeded.
        failures: How many calls failed, by what they raised.
        offered: Calls a second that were asked for; None in a closed loop.
        skipped: Calls of an open loop that were not made since too many others had no answer yet.
    """

    seconds: float = 0.0
    latencies: Histogram = field(default_factory=Histogram)
    failures: Counter[str] = field(default_factory=Counter)
    offered: float | None = None
    skipped: int = 0

    @property
    def done(self) -> int:
        """Calls that succeeded."""
        return self.latencies.count

    @property
    def per_second(self) -> float:
        """Calls that succeeded, a second."""
        return self.done / self.seconds if self.seconds else 0.0

    async def time(self, call: Call, number: int, since: float) -> None:
        """Makes a call and counts how it went; its latency runs from `since`, on the performance counter."""
        try:
            await call(number)
        except Exception as error:
            self.failures[_name(error)] += 1
        else:
            self.latencies.add(time.perf_counter() - since)

    def describe(self) -> str:
        """In words: how many calls, how they failed, and their latencies."""
        at = self.latencies.percentile
        text = f"{self.done} calls in {self.seconds:.1f} s"
        if self.done:
            text += f", p50 {at(50) * 1e3:.1f} ms, p90 {at(90) * 1e3:.1f} ms, p99 {at(99) * 1e3:.1f} ms"
        if self.failures:
            text += ", failed: " + ", ".join(f"{count} x {name}" for name, count in self.failures.most_common(5))
        return text + (f", {self.skipped} not made" if self.skipped else "")


async def closed_loop(call: Call, *, callers: int, seconds: float | None = None, calls: int | None = None) -> Load:
    """Each caller makes its next call when it has the answer to the last one.

    Args:
        call: Makes one call.
        callers: How many at a time.
        seconds: How long; no call is begun after.
        calls: How many in all.
    """
    load = Load()
    numbers = iter(range(calls)) if calls is not None else iter(int, 1)
    counter = iter(range(1 << 62))
    began = time.perf_counter()
    until = began + seconds if seconds is not None else float("inf")

    async def caller() -> None:
        while (now := time.perf_counter()) < until and next(numbers, None) is not None:
            await load.time(call, next(counter), now)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    load.seconds = time.perf_counter() - began
    return load


async def open_loop(call: Call, *, rate: float, seconds: float, max_pending: int = 2000) -> Load:
    """Calls begin at a steady rate, answered or not, as those of independent users do.

    A latency runs from the moment at which the call was due, so that a late generator or a stalled service counts.

    Args:
        call: Makes one call.
        rate: Calls a second.
        seconds: How long.
        max_pending: Calls without an answer at most; what is due beyond that is skipped, and counted.
    """
    load = Load(offered=rate)
    pending: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if len(pending) >= max_pending:
            load.skipped += 1
            continue
        task = asyncio.create_task(load.time(call, number, due))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    load.seconds = time.perf_counter() - began
    return load


def _name(error: Exception) -> str:
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    reason = getattr(error, "reason", "") or getattr(code, "name", "")
    return f"{type(error).__name__} {reason}".strip()
