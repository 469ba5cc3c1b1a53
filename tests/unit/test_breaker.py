"""Circuit breakers."""

import asyncio

import pytest

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.breaker import OF_TARGETS, Breaker, Breakers, BreakerSettings, BreakerState


class Ticker:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


@pytest.fixture
def breaker(ticker: Ticker) -> Breaker:
    return Breaker("postgresql", BreakerSettings(failures=3, first_pause_s=1, longest_pause_s=4, probes=2), ticker)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.check()
        breaker.failed()


def test_a_dependency_that_keeps_failing_is_not_asked_again(breaker: Breaker) -> None:
    fail(breaker, 3)
    with pytest.raises(DependencyUnavailable) as refusal:
        breaker.check()
    assert breaker.is_open
    assert refusal.value.metadata == {"dependency": "postgresql"}
    assert refusal.value.retry_after == pytest.approx(1)


def test_a_dependency_that_starts_later_is_trusted_from_its_first_answer(breaker: Breaker, ticker: Ticker) -> None:
    fail(breaker, 3)
    ticker.now += 1
    breaker.check()
    breaker.succeeded()
    assert (breaker.state, breaker.since) == (BreakerState.CLOSED, 0.0)


def test_what_has_not_begun_to_listen_is_not_failing_while_all_start(ticker: Ticker) -> None:
    settings = BreakerSettings(failures=3, starting_s=60)
    breaker = Breaker("auth-service/GetJwks", settings, ticker)
    for _ in range(20):
        breaker.check()
        breaker.absent()
    assert breaker.state is BreakerState.CLOSED
    ticker.now += 60
    for _ in range(3):
        breaker.check()
        breaker.absent()
    assert breaker.is_open, "after a minute it counts as away"


def test_what_answered_once_and_can_not_be_reached_any_more_is_away(breaker: Breaker) -> None:
    breaker.check()
    breaker.succeeded()
    for _ in range(3):
        breaker.check()
        breaker.absent()
    assert breaker.is_open


def test_what_fails_without_having_answered_is_away_from_the_beginning(breaker: Breaker) -> None:
    fail(breaker, 3)
    assert breaker.is_open, "a frozen one is not starting"


def test_a_few_failures_among_many_successes_change_nothing(breaker: Breaker) -> None:
    for _ in range(20):
        breaker.check()
        breaker.succeeded()
    fail(breaker, 5)
    assert breaker.state is BreakerState.CLOSED


def test_while_another_instance_answers_a_burst_of_failures_changes_nothing(ticker: Ticker) -> None:
    breaker = Breaker("risk-management/CheckOrders", OF_TARGETS, ticker)
    breaker.check()
    breaker.succeeded()
    fail(breaker, 50)
    assert breaker.state is BreakerState.CLOSED
    ticker.now += 0.5
    fail(breaker, 1)
    assert breaker.is_open, "nobody has answered for a while"


def test_failures_of_long_ago_do_not_count(breaker: Breaker, ticker: Ticker) -> None:
    fail(breaker, 2)
    ticker.now += 11
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED


def test_probes_that_succeed_close_it(breaker: Breaker, ticker: Ticker) -> None:
    fail(breaker, 3)
    ticker.now += 1
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.check()
    breaker.check()
    with pytest.raises(DependencyUnavailable):
        breaker.check()
    breaker.succeeded()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_one_probe_closes_it_where_no_second_one_comes_to_tell(breaker: Breaker, ticker: Ticker) -> None:
    breaker.check()
    breaker.succeeded()
    fail(breaker, 3)
    ticker.now += 1
    breaker.check()
    breaker.succeeded()
    ticker.now += 9
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.since > 0
    ticker.now += 2
    assert breaker.state is BreakerState.CLOSED
    assert breaker.since == 0


def test_a_probe_that_fails_doubles_the_pause_up_to_a_limit(breaker: Breaker, ticker: Ticker) -> None:
    fail(breaker, 3)
    for pause in (1, 2, 4, 4):
        ticker.now += pause - 0.01
        assert breaker.is_open
        ticker.now += 0.01
        fail(breaker, 1)
    assert breaker.is_open


def test_a_cancelled_probe_gives_its_place_back(breaker: Breaker, ticker: Ticker) -> None:
    fail(breaker, 3)
    ticker.now += 1
    for _ in range(5):
        with pytest.raises(asyncio.CancelledError), breaker.guard(OSError):
            raise asyncio.CancelledError
    breaker.check()


def test_only_the_named_exceptions_are_failures(breaker: Breaker) -> None:
    for _ in range(10):
        with pytest.raises(ValueError), breaker.guard(OSError):
            raise ValueError
    assert breaker.state is BreakerState.CLOSED
    for _ in range(11):
        with pytest.raises((ConnectionError, DependencyUnavailable)), breaker.guard(OSError):
            raise ConnectionError
    assert breaker.is_open


def test_each_change_of_state_is_told() -> None:
    told: list[tuple[str, BreakerState]] = []
    breakers = Breakers(lambda name, state: told.append((name, state)))
    fail(breakers.get("kafka"), 5)
    assert breakers.get("kafka") is breakers.get("kafka")
    assert told == [("kafka", BreakerState.CLOSED), ("kafka", BreakerState.OPEN)]
