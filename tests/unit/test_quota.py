"""Budgets: token buckets in this process, and what a faulty client of the shared ones does to those who wait."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.common.breaker import Breaker
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.quota import Budget, Grant, LocalQuotas
from aac_grpc.common.quota.leased import LeasedQuotas
from aac_grpc.common.quota.store import BucketStore, Order, Reply
from aac_grpc.common.tasks import Tasks
from tests.support.mesh import eventually
from tests.unit.test_tokens import ManualClock

BUDGET = Budget(rate=10, burst=20)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def quotas(clock: ManualClock) -> LocalQuotas:
    return LocalQuotas(clock, max_buckets=100)


def test_a_full_bucket_allows_its_burst_and_no_more(quotas: LocalQuotas) -> None:
    grants = [quotas.take("me", BUDGET, 1) for _ in range(21)]
    assert [grant.allowed for grant in grants] == [True] * 20 + [False]
    assert [grant.remaining for grant in grants] == [*range(19, -1, -1), 0]
    assert BUDGET.limit == "20"


def test_a_refusal_says_when_it_would_pass_and_it_does_then(quotas: LocalQuotas, clock: ManualClock) -> None:
    quotas.take("me", BUDGET, 20)
    refusal = quotas.take("me", BUDGET, 5)
    assert refusal.retry_after_s == pytest.approx(0.5)
    assert refusal.reset_s == pytest.approx(2)
    clock.seconds += 0.49
    assert not quotas.take("me", BUDGET, 5).allowed
    clock.seconds += 0.02
    assert quotas.take("me", BUDGET, 5).allowed


def test_callers_do_not_share_a_bucket(quotas: LocalQuotas) -> None:
    quotas.take("me", BUDGET, 20)
    assert not quotas.take("me", BUDGET, 1).allowed
    assert quotas.take("you", BUDGET, 1).allowed


def test_a_batch_above_the_burst_passes_from_a_full_bucket_and_is_paid_for_later(
    quotas: LocalQuotas, clock: ManualClock
) -> None:
    assert quotas.take("me", BUDGET, 50).allowed
    clock.seconds += 2.9
    assert not quotas.take("me", BUDGET, 1).allowed
    clock.seconds += 0.3
    assert quotas.take("me", BUDGET, 1).allowed


def test_the_number_of_buckets_is_bounded_and_the_longest_unused_go_first(
    quotas: LocalQuotas, clock: ManualClock
) -> None:
    for number in range(101):
        clock.seconds += 0.001
        quotas.take(f"caller-{number}", BUDGET, 20)
    assert len(quotas._buckets) <= 100
    assert not quotas.take("caller-100", BUDGET, 1).allowed


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 15)), max_size=200))
def test_never_is_more_allowed_than_the_burst_and_what_came_back(steps: list[tuple[float, int]]) -> None:
    clock = ManualClock()
    quotas = LocalQuotas(clock)
    allowed, began = 0, clock.seconds
    for pause, cost in steps:
        clock.seconds += pause
        if quotas.take("me", BUDGET, cost).allowed:
            allowed += cost
        assert allowed <= BUDGET.burst + BUDGET.rate * (clock.seconds - began) + 1e-3


class BrokenOnce:
    """A store whose client fails once as no client should, and then allows everything."""

    def __init__(self) -> None:
        self.asked = 0

    async def charge(self, orders: Sequence[Order]) -> list[Reply]:
        self.asked += 1
        if self.asked == 1:
            raise AttributeError("a fault in the client")
        return [Reply(10.0, 0.0, [True] * len(order.costs), 0.0) for order in orders]


async def test_no_charge_waits_for_ever_after_a_fault_in_the_client_of_redis() -> None:
    store = BrokenOnce()
    quotas = LeasedQuotas(cast(BucketStore, store), Breaker("redis"), SystemClock())
    tasks = Tasks()
    tasks.spawn(quotas.run, name="quotas")
    try:
        await eventually(lambda: quotas.shared)
        async with asyncio.timeout(10):
            for _ in range(2):
                grant = quotas.take("me", BUDGET, 1)
                assert (grant if isinstance(grant, Grant) else await grant).allowed
                await eventually(lambda: quotas.shared)
        assert store.asked == 2
    finally:
        await tasks.stop()
