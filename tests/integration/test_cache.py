"""The two-level cache on a real Redis."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from redis.asyncio import Redis

from aac_grpc.client.errors import DeadlineExceeded
from aac_grpc.common.cache import Cache, Value
from aac_grpc.common.cache import levels as module

MakeCache = Callable[[], Awaitable[Cache]]


class Source:
    """Counts how often it is asked."""

    def __init__(self, value: Value = "v") -> None:
        self.value = value
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Value:
        self.asked += 1
        value = self.value
        await self.gate.wait()
        return value


@pytest.fixture
async def instance(backends: Mapping[str, str]) -> AsyncIterator[MakeCache]:
    """Makes instances of one service, which share Redis."""
    prefix = f"test-{secrets.token_hex(4)}"
    redis: Redis = Redis.from_url(backends["REDIS_URL"])
    made: list[Cache] = []

    async def make() -> Cache:
        cache = Cache(redis, prefix=prefix, entries=100)
        await cache.open()
        made.append(cache)
        async with asyncio.timeout(5):
            while not cache._hears:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        return cache

    yield make
    for cache in made:
        await cache.close()
    await redis.aclose()


@pytest.mark.parametrize("value", ["text", b"\x00bytes", {"a": [1, None, "x"]}, 0, False, [], None])
async def test_a_value_comes_back_from_every_level_as_it_was(instance: MakeCache, value: Value) -> None:
    source = Source(value)
    one, other = await instance(), await instance()
    assert await one.get_or_load("k", source) == value
    assert await one.get_or_load("k", source) == value
    assert await other.get_or_load("k", source) == value
    assert source.asked == 1


async def test_many_who_want_a_key_at_once_ask_its_source_once(instance: MakeCache) -> None:
    cache, source = await instance(), Source()
    source.gate.clear()
    readers = [asyncio.ensure_future(cache.get_or_load("k", source)) for _ in range(50)]
    await asyncio.sleep(0.05)
    readers[0].cancel()
    source.gate.set()
    assert set(await asyncio.gather(*readers[1:])) == {"v"}
    assert source.asked == 1


async def test_an_invalidation_reaches_every_instance(instance: MakeCache) -> None:
    source = Source("old")
    one, other = await instance(), await instance()
    for cache in (one, other):
        assert await cache.get_or_load("k", source) == "old"
    source.value = "new"
    await one.invalidate("k")
    assert await one.get_or_load("k", source) == "new"
    async with asyncio.timeout(1):
        while await other.get_or_load("k", source) != "new":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


async def test_a_load_that_began_before_an_invalidation_is_not_kept_anywhere(instance: MakeCache) -> None:
    source = Source("old")
    one, other = await instance(), await instance()
    source.gate.clear()
    loads = [asyncio.ensure_future(cache.get_or_load("k", source)) for cache in (one, other)]
    await asyncio.sleep(0.05)
    source.value = "new"
    await one.invalidate("k")
    await asyncio.sleep(0.05)
    source.gate.set()
    await asyncio.gather(*loads)
    for cache in (one, other, await instance()):
        assert await cache.get_or_load("k", source) == "new"


async def test_that_there_is_none_is_believed_for_a_short_time(instance: MakeCache) -> None:
    cache, source = await instance(), Source(None)
    assert await cache.get_or_load("k", source, negative_ttl=0.1) is None
    assert await cache.get_or_load("k", source, negative_ttl=0.1) is None
    assert source.asked == 1
    await asyncio.sleep(0.15)
    source.value = "there"
    assert await cache.get_or_load("k", source) == "there"


async def test_a_source_that_fails_is_asked_again(instance: MakeCache) -> None:
    cache = await instance()

    async def failing() -> Value:
        raise LookupError

    with pytest.raises(LookupError):
        await cache.get_or_load("k", failing)
    assert await cache.get_or_load("k", Source()) == "v"


async def test_the_deadline_of_one_reader_does_not_fail_the_others(instance: MakeCache) -> None:
    cache, source = await instance(), Source()
    late = asyncio.Event()

    async def out_of_time() -> Value:
        await late.wait()
        raise DeadlineExceeded

    first = asyncio.ensure_future(cache.get_or_load("k", out_of_time))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(cache.get_or_load("k", source))
    await asyncio.sleep(0.01)
    late.set()
    with pytest.raises(DeadlineExceeded):
        await first
    assert await second == "v"


async def test_memory_holds_its_limit_and_forgets_the_least_recently_used(instance: MakeCache) -> None:
    cache = await instance()
    for number in range(150):
        await cache.get_or_load(f"k{number}", Source(number))
        await cache.get_or_load("k0", Source(0))
    assert len(cache._memory) == 100
    assert not isinstance(cache._memory.get("k0", 60), module.Missing)
    assert isinstance(cache._memory.get("k40", 60), module.Missing)


async def test_with_no_redis_at_all_the_source_is_used_and_invalidation_still_works_here() -> None:
    redis: Redis = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    cache, source = Cache(redis, prefix="nowhere"), Source()
    await cache.open()
    try:
        for _ in range(3):
            assert await cache.get_or_load("k", source) == "v"
        assert source.asked == 1
        source.value = "new"
        await cache.invalidate("k")
        assert await cache.get_or_load("k", source) == "new"
    finally:
        await cache.close()
        await redis.aclose()
