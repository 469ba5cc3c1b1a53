"""Redis slow, down and back: the cache falls back to the source, and nothing stale comes back with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from aac_grpc.backends.valkey import Valkey
from aac_grpc.common.cache import Cache, Value
from aac_grpc.common.cache import levels as module
from tests.faults.outages import Server, server


@pytest.fixture(scope="module")
async def valkey() -> AsyncIterator[Server]:
    async with server(Valkey) as running:
        yield running


MakeCache = Callable[[], Awaitable[Cache]]


@pytest.fixture
async def instance(valkey: Server) -> AsyncIterator[MakeCache]:
    """Makes instances of one service, each with a client of its own."""
    made: list[tuple[Cache, Redis]] = []

    async def make() -> Cache:
        redis: Redis = Redis.from_url(
            valkey.url, max_connections=50, health_check_interval=30, socket_connect_timeout=0.5, socket_timeout=0.5
        )
        cache = Cache(redis, prefix="faults")
        await cache.open()
        made.append((cache, redis))
        await until(lambda: cache._hears)
        return cache

    yield make
    for cache, redis in made:
        await cache.close()
        await redis.flushdb()
        await redis.aclose()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


def source(value: Value) -> Callable[[], Awaitable[Value]]:
    async def load() -> Value:
        return value

    return load


async def test_a_redis_that_does_not_answer_costs_a_quarter_second_then_nothing(
    valkey: Server, instance: MakeCache
) -> None:
    cache = await instance()
    valkey.freeze()
    try:
        times = []
        for number in range(12):
            began = time.monotonic()
            assert await cache.get_or_load(f"k{number}", source(number)) == number
            times.append(time.monotonic() - began)
    finally:
        valkey.thaw()
    assert max(times) < 5
    assert min(times[6:]) < 0.05


async def test_a_value_changed_while_redis_was_down_is_not_stale_when_it_is_back(
    valkey: Server, instance: MakeCache
) -> None:
    one, other = await instance(), await instance()
    for cache in (one, other):
        assert await cache.get_or_load("k", source("old")) == "old"
    await asyncio.sleep(1.1)  # the append-only file is written once a second
    valkey.kill()
    await until(lambda: not one._hears and not other._hears)
    await one.invalidate("k")
    assert await one.get_or_load("k", source("new")) == "new"
    await valkey.start()
    await until(lambda: one._hears and other._hears and not one._owed)
    assert await other.get_or_load("k", source("new")) == "new"
    assert await (await instance()).get_or_load("k", source("new")) == "new"


async def test_while_invalidations_cannot_be_heard_memory_is_believed_for_a_short_time_only(
    valkey: Server, instance: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLIND_MAX_AGE_S", 0.3)
    cache = await instance()
    assert await cache.get_or_load("k", source("old")) == "old"
    valkey.kill()
    await until(lambda: not cache._hears)
    await asyncio.sleep(0.35)
    assert await cache.get_or_load("k", source("new")) == "new"
    await valkey.start()


async def test_a_frozen_redis_is_noticed_by_whoever_listens(valkey: Server, instance: MakeCache) -> None:
    cache = await instance()
    valkey.freeze()
    try:
        await until(lambda: not cache._hears, seconds=module.SILENCE_S + 4)
    finally:
        valkey.thaw()
    await until(lambda: cache._hears)
    assert await cache.get_or_load("k", source("v")) == "v"
