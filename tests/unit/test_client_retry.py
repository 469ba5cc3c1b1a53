"""Retries: the same call again while the service is away or slow, within the caller's time."""

from collections.abc import Awaitable, Callable

import pytest

from aac_grpc.client.errors import (
    AacError,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidField,
    Overloaded,
    RateLimited,
    UnknownOutcome,
)
from aac_grpc.client.retry import NO_RETRY, RetryPolicy, call_with_retry


class World:
    """A clock, and a call that fails in a given order and then answers.

    Attributes:
        now: Seconds.
        allowed: Seconds that each attempt was given.
        pauses: Seconds waited between attempts.
    """

    def __init__(self, *failures: AacError, takes_s: float = 0.0) -> None:
        self.now = 100.0
        self.allowed: list[float] = []
        self.pauses: list[float] = []
        self._failures = list(failures)
        self._takes_s = takes_s

    async def attempt(self, seconds: float) -> str:
        self.allowed.append(seconds)
        self.now += min(self._takes_s, seconds)
        if self._failures:
            raise self._failures.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def call(self, timeout_s: float = 10.0, policy: RetryPolicy | None = None) -> str:
        attempt: Callable[[float], Awaitable[str]] = self.attempt
        return await call_with_retry(
            attempt,
            timeout_s=timeout_s,
            policy=policy or RetryPolicy(),
            clock=lambda: self.now,
            sleep=self.sleep,
            jitter=lambda: 1.0,
        )


@pytest.mark.parametrize("failure", [DependencyUnavailable("x"), UnknownOutcome(), DeadlineExceeded(), Overloaded()])
async def test_a_service_that_is_away_slow_or_busy_is_asked_again(failure: AacError) -> None:
    world = World(failure, failure)
    assert await world.call() == "answer"
    assert len(world.allowed) == 3


async def test_a_refusal_is_not_repeated() -> None:
    world = World(InvalidField("price", "off tick"))
    with pytest.raises(InvalidField):
        await world.call()
    assert len(world.allowed) == 1


async def test_pauses_grow_up_to_a_limit() -> None:
    world = World(*[DependencyUnavailable("x")] * 7)
    await world.call(60)
    assert world.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_the_servers_word_on_when_to_come_back_is_kept() -> None:
    world = World(RateLimited(2.5, subject="user:1", quota="ORDER", limit="1/s"))
    assert await world.call() == "answer"
    assert world.pauses == [2.5]


async def test_who_must_come_back_too_late_is_told_at_once() -> None:
    world = World(RateLimited(20, subject="user:1", quota="ORDER", limit="1/s"))
    with pytest.raises(RateLimited):
        await world.call(10)
    assert world.pauses == []


async def test_an_attempt_is_capped_so_that_there_is_time_for_another() -> None:
    world = World(*[DeadlineExceeded()] * 2, takes_s=60)
    assert await world.call(10) == "answer"
    assert world.allowed[0] == 2.5
    assert sum(world.allowed) <= 10


async def test_the_last_error_is_raised_when_time_is_up() -> None:
    world = World(*[DependencyUnavailable("x")] * 1000)
    with pytest.raises(DependencyUnavailable):
        await world.call(5)
    assert world.now - 100 <= 5


async def test_what_must_not_be_repeated_is_tried_once() -> None:
    world = World(DependencyUnavailable("x"))
    with pytest.raises(DependencyUnavailable):
        await world.call(policy=NO_RETRY)
    assert world.allowed == [10.0]
