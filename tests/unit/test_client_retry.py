"""Retries: the same call again while the service is away or slow, within the caller's time."""

from collections.abc import Awaitable, Callable

import grpc
import pytest
from aac.auth.v1 import auth_pb2  # noqa: F401 - its descriptors
from aac.trading.v1 import trading_pb2  # noqa: F401
from grpc import aio

from aac_grpc.client._contract import Terms, terms_of
from aac_grpc.client.errors import (
    AacError,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidField,
    Overloaded,
    RateLimited,
    Unauthenticated,
    UnknownOutcome,
    from_rpc_error,
)
from aac_grpc.client.retry import NO_RETRY, RetryBudget, RetryPolicy, call_with_retry, is_retryable


class World:
    """A clock, and a call that fails in a given order and then answers.

    Attributes:
        now: Seconds.
        allowed: Seconds that each attempt was given.
        pauses: Seconds waited between attempts.
        renewed: How often the credential was renewed.
    """

    def __init__(self, *failures: AacError, takes_s: float = 0.0) -> None:
        self.now = 100.0
        self.allowed: list[float] = []
        self.pauses: list[float] = []
        self.renewed = 0
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

    async def renew(self) -> bool:
        self.renewed += 1
        return True

    async def call(
        self, timeout_s: float = 10.0, policy: RetryPolicy | None = None, budget: RetryBudget | None = None
    ) -> str:
        attempt: Callable[[float], Awaitable[str]] = self.attempt
        return await call_with_retry(
            attempt,
            timeout_s=timeout_s,
            policy=policy or RetryPolicy(),
            budget=budget,
            renew=self.renew,
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


async def test_a_refused_credential_is_renewed_once_and_at_once_within_the_calls_time() -> None:
    world = World(Unauthenticated(), takes_s=3)
    assert await world.call(policy=NO_RETRY) == "answer"
    assert (world.allowed, world.pauses, world.renewed) == ([10.0, 7.0], [], 1)
    world = World(Unauthenticated(), Unauthenticated())
    with pytest.raises(Unauthenticated):
        await world.call()
    assert world.renewed == 1


@pytest.mark.parametrize(
    "failure", [DependencyUnavailable("x"), RateLimited(0.1, subject="u", quota="READ", limit="1/s")]
)
async def test_who_is_not_patient_gives_up_where_a_budget_is_spent(failure: AacError) -> None:
    world, budget = World(*[failure] * 9), RetryBudget(max_tokens=4)
    with pytest.raises(type(failure)):
        await world.call(policy=RetryPolicy(patient=False), budget=budget)
    assert len(world.allowed) == (1 if isinstance(failure, RateLimited) else 2)


@pytest.mark.parametrize(
    ("remaining_s", "timeout_class", "timeouts", "expected_s"),
    [
        (10, "FAST", 0, 1.0),
        (10, "STANDARD", 0, 2.5),
        (10, "SLOW", 0, 5.0),
        (10, "FAST", 1, 2.0),  # it may be slow, not lost
        (10, "FAST", 9, 5.0),
        (2, "STANDARD", 0, 1.25),
        (0.4, "FAST", 0, 0.4),  # too short for two
        (float("inf"), "STANDARD", 0, 2.5),
    ],
)
def test_an_attempt_takes_what_its_class_allows_and_half_of_the_time_at_most(
    remaining_s: float, timeout_class: str, timeouts: int, expected_s: float
) -> None:
    assert RetryPolicy().attempt_timeout(remaining_s, timeout_class, timeouts) == expected_s


def test_the_contract_says_what_may_be_repeated_and_how_long_an_attempt_may_take() -> None:
    trading, auth = "/aac.trading.v1.TradingService", "/aac.auth.v1.AuthService"
    assert terms_of(f"{trading}/GetOrder") == Terms(repeatable=True, timeout_class="FAST")
    assert terms_of(f"{trading}/PlaceOrder") == Terms(repeatable=True, timeout_class="STANDARD")
    assert not terms_of(f"{auth}/Login").repeatable


async def test_while_most_calls_fail_few_are_tried_again() -> None:
    budget, attempts = RetryBudget(max_tokens=20), 0

    async def fail(seconds: float) -> None:
        nonlocal attempts
        attempts += 1
        raise DependencyUnavailable("x")

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    now = 0.0
    for _ in range(100):
        with pytest.raises(DependencyUnavailable):
            await call_with_retry(
                fail, timeout_s=0.4, policy=RetryPolicy(), budget=budget, clock=lambda: now, sleep=sleep
            )
    assert attempts <= 100 + 10 + 2 * now


def test_who_waits_for_a_service_that_returns_is_soon_let_through() -> None:
    budget = RetryBudget(max_tokens=10, slow_pace=2)
    for _ in range(10):
        budget.failed(DependencyUnavailable("x"))
    passed, now = 0, 0.0
    while passed < 1000:
        wait = budget.wait_s(now)
        if wait:
            now += wait
        else:
            passed += 1
            budget.succeeded(retry=True)
    assert now < 3


async def test_answers_give_the_budget_back() -> None:
    budget = RetryBudget(max_tokens=10, token_ratio=0.5)
    for _ in range(5):
        budget.failed(DependencyUnavailable("x"))
    assert not budget.allows
    budget.succeeded()
    assert budget.allows


def test_what_is_no_fault_of_the_service_costs_no_budget() -> None:
    budget = RetryBudget(max_tokens=2)
    for _ in range(10):
        budget.failed(InvalidField("price", "off tick"))
        budget.failed(RateLimited(0.1, subject="user:1", quota="READ", limit="1/s"))
    assert budget.allows


@pytest.mark.parametrize(("pushback", "retryable", "pause_s"), [("250", True, 0.25), ("-1", False, None)])
def test_a_pushback_in_grpcs_trailer_is_the_servers_word(pushback: str, retryable: bool, pause_s: float | None) -> None:
    trailer = aio.Metadata(("grpc-retry-pushback-ms", pushback))
    error = from_rpc_error(aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), trailer))
    assert is_retryable(error) is retryable
    assert error.retry_after == pause_s
