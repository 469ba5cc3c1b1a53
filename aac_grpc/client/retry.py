"""Retries of calls that may be repeated: reads, and changes that carry a client key.

Made in one layer, by the caller nearest the user. gRPC has no limit of one attempt's time. Here each attempt is capped
below the deadline of the whole call, so that one lost instance does not use it up, and the next attempt picks a
connection again. A budget, as that of gRPC's `retryThrottling`, keeps retries from becoming the load that keeps a
service down.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from aac_grpc.client.errors import AacError, Overloaded, RateLimited

T = TypeVar("T")

ATTEMPT_S = {"FAST": 1.0, "STANDARD": 2.5, "SLOW": 10.0}
"""Longest time of a first attempt by the method's timeout class, in seconds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how soon a failed call is made again. Durations are seconds."""

    attempt_timeout_s: float | None = None
    """Longest time of a first attempt while there is time for another; None takes it by the method's timeout class."""
    first_backoff_s: float = 0.05
    """Longest pause before the second attempt; the next ones double. The pause is random below that."""
    longest_backoff_s: float = 1.0
    max_attempts: int = 100
    """The first one included; the deadline usually ends the retries before this does."""
    patient: bool = True
    """Waits where a budget is spent, the connection's for retries or the caller's quota; else the call ends then."""

    def attempt_timeout(self, remaining_s: float, timeout_class: str = "STANDARD", timeouts: int = 0) -> float:
        """Time for the next attempt: not more than half of what remains, unless that were hopelessly short.

        Args:
            remaining_s: For all further attempts together.
            timeout_class: Of the method.
            timeouts: How many attempts took too long; each doubles the cap, for a service that is slow, not lost.
        """
        if self.max_attempts == 1:
            return remaining_s
        first = self.attempt_timeout_s or ATTEMPT_S.get(timeout_class, ATTEMPT_S["SLOW"])
        return min(remaining_s, max(first / 2, min(first * 2.0 ** min(timeouts, 16), remaining_s / 2)))

    def pause(self, failures: int, error: AacError | None, jitter: float) -> float:
        """Seconds to wait after so many failures; the server's own word (`retry_after`) goes first."""
        if error is not None and error.retry_after is not None:
            return error.retry_after
        return min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(failures - 1, 16)) * jitter


NO_RETRY = RetryPolicy(max_attempts=1)

_FASTEST_PACE = 1000.0


class RetryBudget:
    """Tokens for retries, as in gRFC A6: a failure costs one, a success gives some back, and half must be left.

    Below that, gRPC would give all calls up. A platform that restarts is away for seconds, and its users' calls have
    time: here they wait, and all of them together try again at a slow pace, which doubles with each that succeeds.
    """

    def __init__(self, max_tokens: float = 100.0, token_ratio: float = 0.1, slow_pace: float = 2.0) -> None:
        """Begins full.

        Args:
            max_tokens: Twice as many as may fail at a time and be tried again, as where an instance dies under them.
            token_ratio: What a success gives back: the share of retries in calls that it lets pass in the long run.
            slow_pace: Retries a second while less than half of the tokens are left.
        """
        self._max = self._tokens = max_tokens
        self._ratio = token_ratio
        self._slow_pace = self._pace = slow_pace
        self._next_at = float("-inf")

    @property
    def allows(self) -> bool:
        """A retry may be made at once."""
        return self._tokens > self._max / 2

    def wait_s(self, now: float) -> float:
        """Takes leave for a retry: 0 where it is given, else the seconds until it is worth asking again."""
        if self.allows or now >= self._next_at:
            self._next_at = now + 1 / self._pace
            return 0.0
        return self._next_at - now

    def succeeded(self, retry: bool = False) -> None:
        """A call was answered; `retry` where it was one that had failed before."""
        self._tokens = min(self._max, self._tokens + self._ratio)
        if retry:
            self._pace = min(_FASTEST_PACE, self._pace * 2)

    def failed(self, error: AacError) -> None:
        """A call failed; what is no fault of the service costs nothing."""
        if is_retryable(error) and not isinstance(error, RateLimited):
            self._tokens = max(0.0, self._tokens - 1)
            self._pace = self._slow_pace


_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def is_retryable(error: AacError) -> bool:
    """Whether the same call may succeed later: the service was away, slow or busy, or said when to come back."""
    if error.final:
        return False
    return error.code in _RETRYABLE or error.retry_after is not None or isinstance(error, Overloaded)


def _may_pass(error: AacError, policy: RetryPolicy, budget: RetryBudget) -> bool:
    return is_retryable(error) and (policy.patient or (budget.allows and not isinstance(error, RateLimited)))


async def no_other_credential() -> bool:
    """Renews nothing: the caller has one credential."""
    return False


async def call_with_retry(
    attempt: Callable[[float], Awaitable[T]],
    *,
    timeout_s: float,
    policy: RetryPolicy,
    timeout_class: str = "STANDARD",
    budget: RetryBudget | None = None,
    renew: Callable[[], Awaitable[bool]] = no_other_credential,
    before_retry: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Makes a call until it succeeds, fails for good, or its time is up.

    Args:
        attempt: Makes the call once within the given number of seconds, with the same client key each time.
        timeout_s: For all attempts and pauses together.
        policy: When to try again.
        timeout_class: Of the method, which caps an attempt.
        budget: Shared by all calls of a connection; None gives the call its own.
        renew: Renews a credential that was refused; False where that can't be done. The call is then made once more
            whatever the policy says: nothing was done yet.
        before_retry: Called before each attempt but the first; an error that it raises ends the call.
        clock: Monotonic seconds.
        sleep: Waits.
        jitter: Random share of the pause, from 0 to 1.

    Raises:
        AacError: The error of the last attempt.
    """
    deadline = clock() + timeout_s
    budget = budget or RetryBudget()
    failures = timeouts = 0
    renewed = False
    while True:
        try:
            response = await attempt(policy.attempt_timeout(max(0.0, deadline - clock()), timeout_class, timeouts))
        except AacError as error:
            budget.failed(error)
            renewed = error.code is grpc.StatusCode.UNAUTHENTICATED and not renewed and await renew()
            if not renewed:
                failures += 1
                timeouts += error.code is grpc.StatusCode.DEADLINE_EXCEEDED
                pause = policy.pause(failures, error, jitter())
                may_pass = failures < policy.max_attempts and _may_pass(error, policy, budget)
                if not may_pass or clock() + pause >= deadline:
                    raise
                await sleep(pause)
                while policy.patient and (wait := budget.wait_s(clock())) > 0:
                    if clock() + wait >= deadline:
                        raise
                    await sleep(wait)
            before_retry()
        else:
            budget.succeeded(retry=failures > 0)
            return response
