"""How often the cache answers, under keys as popular as those of real traffic, with changes in between."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prometheus_client import REGISTRY
from redis.asyncio import Redis

from aac_grpc.common.cache import Cache, Value
from bench.mesh.backends import backends
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, single
from bench.report import Row

KEYS = 50_000
EXPONENT = 1.1
"""Of Zipf's law: the k-th key is asked for in proportion to k to the power of -EXPONENT."""
SEED = 20120621
INSTANCES = 2
CALLERS = 50
READS_PER_CHANGE = 1000
WARM_UP_READS = 200_000
READS = 20_000
"""Of a round, over all instances."""
QUICK_WARM_UP_READS, QUICK_READS = 60_000, 4_000
GOAL = "> 0.9"
WHAT = (
    f"{INSTANCES} instances of the platform's cache (10,000 values in memory, 60 s; an hour in Redis) on one Valkey;"
    f" {KEYS:,} keys by Zipf's law with exponent {EXPONENT} and a fixed seed, {CALLERS} reads at a time; one read in"
    f" {READS_PER_CHANGE:,} is a change of a key by the same law, which invalidates it everywhere"
)


def zipf_keys(keys: int, exponent: float, seed: int) -> Iterator[str]:
    """Keys without end; the k-th most popular is "key-k"."""
    drawn = random.Random(seed)
    names = [f"key-{rank}" for rank in range(1, keys + 1)]
    weights = list(itertools.accumulate(rank**-exponent for rank in range(1, keys + 1)))
    while True:
        yield from drawn.choices(names, cum_weights=weights, k=1000)


class Readers:
    """Read through caches, and count which level answered."""

    def __init__(self, caches: Sequence[Cache]) -> None:
        self._caches = caches
        self._keys = zipf_keys(KEYS, EXPONENT, SEED)
        self._numbers = itertools.count(1)
        self.loads = 0

    async def read(self, reads: int) -> float:
        """Makes so many reads; returns the share that did not have to ask the source."""
        before = self.loads
        left = itertools.repeat(None, reads)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._caller(left))
        return 1 - (self.loads - before) / reads

    async def _caller(self, left: Iterator[None]) -> None:
        for _ in left:
            number, key = next(self._numbers), next(self._keys)
            cache = self._caches[number % len(self._caches)]
            if number % READS_PER_CHANGE == 0:
                await cache.invalidate(key)
            await cache.get_or_load(key, partial(self._load, key))

    async def _load(self, key: str) -> Value:
        self.loads += 1
        return {"key": key, "price": "570.12"}


async def measure_cache(options: Options) -> AsyncIterator[Row]:
    """Cold, then warm in rounds."""
    warm_up, reads = options.pick(WARM_UP_READS, QUICK_WARM_UP_READS), options.pick(READS, QUICK_READS)
    async with backends("REDIS_URL") as urls, _caches(urls["REDIS_URL"]) as caches:
        readers = Readers(caches)
        cold = await readers.read(warm_up)
        began, before = time.process_time(), levels()
        rates = [await readers.read(reads) for _ in range(options.pick(PAIRS, QUICK_PAIRS))]
        cpu = (time.process_time() - began) / (reads * len(rates))
        answered = levels() - before
    shares = ", ".join(f"{level} {count / answered.total():.3f}" for level, count in sorted(answered.items()))
    yield single(
        "mesh.cache_hit_rate",
        rates,
        "of reads",
        goal=GOAL,
        detail=f"rounds of {reads:,} reads after {warm_up:,} from empty, of which {cold:.3f} hit; by level: {shares};"
        f" CPU {cpu * 1e6:.0f} us a read; {WHAT}",
    )


def levels() -> Counter[str]:
    """Reads of this process so far, by the level that answered."""
    return Counter(
        {
            level: int(REGISTRY.get_sample_value("aac_cache_reads_total", {"cache": "bench", "level": level}) or 0)
            for level in ("l1", "l2", "source")
        }
    )


@asynccontextmanager
async def _caches(url: str) -> AsyncIterator[list[Cache]]:
    async with AsyncExitStack() as stack:
        caches = []
        for _ in range(INSTANCES):
            redis: Redis = Redis.from_url(url, max_connections=CALLERS, socket_timeout=5)
            stack.push_async_callback(redis.aclose)
            cache = Cache(redis, prefix="bench")
            stack.push_async_callback(cache.close)
            await cache.open()
            caches.append(cache)
        # They listen for invalidations from a moment on; until then values in memory live for seconds only.
        await asyncio.sleep(1)
        yield caches
