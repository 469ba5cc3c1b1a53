"""L2: Redis, shared by all instances. It is never waited for long, and never needed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.breaker import Breaker

Result = TypeVar("Result")

TIMEOUT_S = 0.25
"""For one round trip: above it the source is quicker."""
TOMBSTONE_S = 15
"""For this long after an invalidation Redis takes no value of that key: a load that began before it may still run."""

AWAY = (RedisError, OSError, TimeoutError)

_BYPASSED = Counter("aac_cache_bypassed_total", "Round trips to Redis that were left out or failed.", ["cache"])

_STORE = """if redis.call('exists', KEYS[2]) == 1 then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1"""


class Shared:
    """The values of one cache in Redis."""

    def __init__(self, redis: "Redis", prefix: str, breaker: Breaker) -> None:
        self._redis = redis
        self._prefix = prefix
        self._breaker = breaker
        self._script = redis.register_script(_STORE)
        self._bypassed = _BYPASSED.labels(prefix)
        self.channel = f"aac:{prefix}:invalidate"

    async def get(self, key: str) -> bytes | None:
        """What Redis has; None where it has nothing or is away."""
        found = await self._attempt(lambda: self._redis.get(self._name(key)))
        return found.encode() if isinstance(found, str) else found

    async def put(self, key: str, data: bytes, ttl: float) -> None:
        """Stores a value for `ttl` seconds, unless its key was invalidated a moment ago."""
        name = self._name(key)
        await self._attempt(lambda: self._script(keys=[name, _tombstone(name)], args=[data, int(ttl * 1000)]))

    async def invalidate(self, keys: Sequence[str], sender: str) -> bool:
        """Drops values and tells all instances; False where Redis is away."""

        async def send() -> bool:
            pipe = self._redis.pipeline(transaction=True)
            for name in map(self._name, keys):
                pipe.set(_tombstone(name), b"", ex=TOMBSTONE_S)
                pipe.delete(name)
            pipe.publish(self.channel, json.dumps([sender, *keys]))
            await pipe.execute()
            return True

        return bool(await self._attempt(send))

    async def clear(self) -> bool:
        """Drops all values of the cache; False where Redis is away."""

        async def clear() -> bool:
            async for name in self._redis.scan_iter(f"aac:{self._prefix}:*", count=500):
                await self._redis.unlink(name)
            return True

        try:
            async with asyncio.timeout(10):
                return await clear()
        except AWAY:
            return False

    def _name(self, key: str) -> str:
        # The braces keep a key and its tombstone in one slot of a cluster.
        return f"aac:{self._prefix}:{{{key}}}"

    async def _attempt(self, operation: Callable[[], Awaitable[Result]]) -> Result | None:
        try:
            with self._breaker.guard(*AWAY):
                async with asyncio.timeout(TIMEOUT_S):
                    return await operation()
        except (*AWAY, DependencyUnavailable):
            self._bypassed.inc()
            return None


def _tombstone(name: str) -> str:
    return f"{name}:gone"


def parse_invalidation(data: Any) -> tuple[str, Iterable[str]]:
    """Sender and keys of a message on the channel."""
    sender, *keys = json.loads(data)
    return sender, keys
