"""Retries of calls that may be repeated: reads, and changes that carry a client key.

gRPC has no limit of one attempt's time. Here each attempt is capped below the deadline of the whole call, so that
one lost instance does not use it up, and the next attempt picks a connection again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from aac_grpc.client.errors import AacError, Overloaded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how soon a failed call is made again. Durations are seconds."""

    attempt_timeout_s: float = 3.0
    """Longest time of one attempt while there is time for another."""
    first_backoff_s: float = 0.05
    """Longest pause before the second attempt; the next ones double. The pause is random below that."""
    longest_backoff_s: float = 1.0
    max_attempts: int = 100
    """The first one included; the deadline usually ends the retries before this does."""

    def attempt_timeout(self, remaining_s: float) -> float:
        """Time for the next attempt: all that remains, unless that is enough for another one."""
        has_another = self.max_attempts > 1 and remaining_s >= 2 * self.attempt_timeout_s
        return self.attempt_timeout_s if has_another else remaining_s

    def pause(self, failures: int, error: AacError | None, jitter: float) -> float:
        """Seconds to wait after so many failures; the server's own word (`retry_after`) goes first."""
        if error is not None and error.retry_after is not None:
            return error.retry_after
        return min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(failures - 1, 16)) * jitter


NO_RETRY = RetryPolicy(max_attempts=1)

_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def is_retryable(error: AacError) -> bool:
    """Whether the same call may succeed later: the service was away, slow or busy, or said when to come back."""
    return error.code in _RETRYABLE or error.retry_after is not None or isinstance(error, Overloaded)


async def call_with_retry(
    attempt: Callable[[float], Awaitable[T]],
    *,
    timeout_s: float,
    policy: RetryPolicy,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Makes a call until it succeeds, fails for good, or its time is up.

    Args:
        attempt: Makes the call once within the given number of seconds, with the same client key each time.
        timeout_s: For all attempts and pauses together.
        policy: When to try again.
        clock: Monotonic seconds.
        sleep: Waits.
        jitter: Random share of the pause, from 0 to 1.

    Raises:
        AacError: The error of the last attempt.
    """
    deadline = clock() + timeout_s
    failures = 0
    while True:
        try:
            return await attempt(policy.attempt_timeout(max(0.0, deadline - clock())))
        except AacError as error:
            failures += 1
            pause = policy.pause(failures, error, jitter())
            if not is_retryable(error) or failures >= policy.max_attempts or clock() + pause >= deadline:
                raise
            await sleep(pause)
