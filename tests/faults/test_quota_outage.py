"""Redis slow, down and back: budgets go on in each process, callers do not wait, and Redis is used again by itself."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from aac_grpc.backends.valkey import Valkey
from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.quota import Budget, Grant
from aac_grpc.common.quota.leased import TIMEOUT_S, LeasedQuotas
from aac_grpc.common.quota.store import BucketStore
from tests.faults.outages import Server, server

BUDGET = Budget(rate=0.001, burst=10)
"""Without leases: Redis is asked for each charge."""
WIDE = Budget(rate=1000, burst=2000)


@pytest.fixture(scope="module")
async def valkey() -> AsyncIterator[Server]:
    async with server(Valkey) as running:
        yield running


@pytest.fixture
async def quotas(valkey: Server) -> AsyncIterator[LeasedQuotas]:
    redis: Redis = Redis.from_url(valkey.url, socket_connect_timeout=0.5, socket_timeout=0.5)
    await redis.ping()
    quotas = LeasedQuotas(BucketStore(redis), Breaker("redis"), SystemClock())
    running = asyncio.create_task(quotas.run())
    # A busy machine may be slow at first.
    await shared_again(quotas)
    yield quotas
    running.cancel()
    await asyncio.wait({running})
    await redis.flushdb()
    await redis.aclose()


async def take(quotas: LeasedQuotas, key: str, budget: Budget = BUDGET) -> Grant:
    grant = quotas.take(key, budget, 1)
    return grant if isinstance(grant, Grant) else await grant


async def shared_again(quotas: LeasedQuotas, seconds: float = 30) -> None:
    """Charges until Redis decides, as callers do."""
    async with asyncio.timeout(seconds):
        await take(quotas, "probe", WIDE)
        while not quotas.shared:
            await asyncio.sleep(0.02)
            await take(quotas, "probe", WIDE)


def source(name: str) -> float:
    return next(
        sample.value
        for metric in metrics.QUOTA_SOURCE.collect()
        for sample in metric.samples
        if sample.labels["source"] == name
    )


def decided_here() -> float:
    return next(metric for metric in metrics.QUOTA_LOCAL.collect()).samples[0].value


async def test_a_frozen_redis_costs_its_waiting_callers_50_ms_and_those_after_them_nothing(
    valkey: Server, quotas: LeasedQuotas
) -> None:
    await take(quotas, "me")
    valkey.freeze()
    try:
        before = decided_here()
        began = time.monotonic()
        first = await asyncio.gather(*(take(quotas, "me") for _ in range(5)))
        took = time.monotonic() - began
        later = [quotas.take(key, BUDGET, 1) for key in ("me", "you") for _ in range(12)]
    finally:
        valkey.thaw()
    assert took >= TIMEOUT_S * 0.9
    assert took < 5, "a busy machine may make it longer, but nobody waits for the socket's own timeouts"
    assert all(grant.allowed for grant in first)
    assert all(isinstance(grant, Grant) for grant in later), "nobody waits"
    # What is known of a bucket goes on: nine were left, and nobody knows anything of the other one.
    assert [grant.allowed for grant in later if isinstance(grant, Grant)] == [True] * 4 + [False] * 8 + [True] * 10 + [
        False
    ] * 2
    assert not quotas.shared
    assert (source("redis"), source("local")) == (0, 1)
    assert decided_here() - before == 29
    await shared_again(quotas)
    assert (source("redis"), source("local")) == (1, 0)


async def test_what_was_granted_in_a_short_outage_is_settled(valkey: Server, quotas: LeasedQuotas) -> None:
    slow = Budget(rate=0.5, burst=10)
    await take(quotas, "me", slow)
    quotas._outage.begin(time.monotonic(), "test")
    assert all([(await take(quotas, "me", slow)).allowed for _ in range(5)])
    quotas._outage.end(time.monotonic())
    assert (await take(quotas, "me", slow)).remaining in (3, 4)


async def test_a_killed_redis_is_done_without_and_used_again_when_it_is_back(
    valkey: Server, quotas: LeasedQuotas
) -> None:
    await take(quotas, "me", WIDE)
    valkey.kill()
    async with asyncio.timeout(20):
        while quotas.shared:
            assert (await take(quotas, "other")).remaining >= 0
            await asyncio.sleep(0.01)
    grants = [quotas.take("me", WIDE, 1) for _ in range(500)]
    assert all(isinstance(grant, Grant) and grant.allowed for grant in grants)
    assert source("local") == 1
    await asyncio.sleep(1.2)
    await valkey.start()
    await shared_again(quotas)
    assert (await take(quotas, "me", WIDE)).allowed
