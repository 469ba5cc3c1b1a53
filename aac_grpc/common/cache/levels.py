"""The cache: each key is looked up in memory, then in Redis, then at its source."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from uuid import uuid4

import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis

from aac_grpc.client.errors import DeadlineExceeded
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.cache.memory import Memory, Missing
from aac_grpc.common.cache.shared import AWAY, Shared, parse_invalidation
from aac_grpc.common.cache.values import Value, dump, load
from aac_grpc.common.tasks import Tasks

Loader = Callable[[], Awaitable[Value]]

SHARED_TTL_S = 3600.0
LOAD_TIMEOUT_S = 10.0
"""Below the life of a tombstone, so that no load that began before an invalidation stores its value after it."""
BLIND_MAX_AGE_S = 5.0
"""How old a value in memory may be while invalidations can't be heard."""
SILENCE_S = 4.0
"""A subscription that answers no ping for this long hears nothing."""
REPAIR_PAUSE_S = 0.5
MAX_OWED = 10_000

_READS = Counter("aac_cache_reads_total", "Reads, by the level that answered: l1, l2, source.", ["cache", "level"])
_ENTRIES = Gauge("aac_cache_entries", "Values in memory.", ["cache"])

_log = structlog.get_logger(__name__)


class _Flight:
    """One load that everybody who wants the key waits for."""

    def __init__(self) -> None:
        self.outdated = False
        """The key was invalidated meanwhile: the value is good for those who waited, and not kept."""
        self.task: asyncio.Task[Value]


class Cache:
    """Looks a key up in memory, then in Redis, then at its source, which is asked once however many wait.

    Values are bytes or JSON; treat them as immutable, they are shared. A loader's None means "there is none" and is
    cached too (for `negative_ttl`). With Redis away the source is used, and that is counted; values in memory are then
    believed for 5 s at most, because nobody can tell that they changed. Whoever changes a value calls `invalidate`
    after the commit; a process that dies between the two leaves the old value for its time to live.
    """

    def __init__(self, redis: "Redis", *, prefix: str, entries: int = 10_000, breaker: Breaker | None = None) -> None:
        """Configures; nothing is opened yet.

        Args:
            redis: Holds the shared level.
            prefix: Keeps the caches of different services apart; its name as a rule.
            entries: Values in memory at most; the least recently used one makes room.
            breaker: Of Redis; default one of its own.
        """
        self._redis = redis
        self._memory = Memory(entries)
        self._shared = Shared(redis, prefix, breaker or Breaker("redis"))
        self._flights: dict[str, _Flight] = {}
        self._owed: set[str] = set()
        self._owes_all = False
        self._owes = asyncio.Event()
        self._hears = False
        self._id = uuid4().hex
        self._tasks = Tasks()
        self._from_memory = _READS.labels(prefix, "l1")
        self._from_redis = _READS.labels(prefix, "l2")
        self._from_source = _READS.labels(prefix, "source")
        self._entries = _ENTRIES.labels(prefix)

    async def open(self) -> None:
        """Begins to listen for invalidations, in the background."""
        self._tasks.spawn(self._listen, name="cache-invalidations")
        self._tasks.spawn(self._repair, name="cache-repair")

    async def close(self) -> None:
        """Ends listening and loading. The Redis client is its owner's to close."""
        await self._tasks.stop()
        for flight in tuple(self._flights.values()):
            flight.task.cancel()

    async def get_or_load(
        self,
        key: str,
        loader: Loader,
        *,
        ttl: float = 60.0,
        negative_ttl: float = 5.0,
        shared_ttl: float = SHARED_TTL_S,
    ) -> Value:
        """The value of `key`. What the loader raises reaches everybody who waits, and is not kept.

        Args:
            key: Unique in the cache, such as "limits:main/acc-1".
            loader: Asks the source; None means that there is no such thing.
            ttl: Seconds in memory.
            negative_ttl: Seconds for which None is believed, in memory and in Redis.
            shared_ttl: Seconds in Redis.
        """
        found = self._memory.get(key, BLIND_MAX_AGE_S if not self._hears else ttl)
        if not isinstance(found, Missing):
            self._from_memory.inc()
            return found
        while True:
            flight = self._flights.get(key)
            if flight is None:
                return await asyncio.shield(self._take_off(key, loader, (ttl, negative_ttl, shared_ttl)).task)
            try:
                return await asyncio.shield(flight.task)
            except DeadlineExceeded:
                # That of whoever began the load, not ours.
                continue

    async def invalidate(self, *keys: str) -> None:
        """Forgets keys here, in Redis and in every other instance. Call it after the change was committed.

        With Redis away it is made up for as soon as Redis is back.
        """
        for key in keys:
            self._forget(key)
        if not await self._shared.invalidate(keys, self._id):
            self._owed.update(keys)
            if len(self._owed) > MAX_OWED:
                self._owes_all = True
                self._owed.clear()
            self._owes.set()

    def _take_off(self, key: str, loader: Loader, ttls: tuple[float, float, float]) -> _Flight:
        flight = self._flights[key] = _Flight()
        flight.task = asyncio.create_task(self._load(key, loader, ttls, flight), name=f"load {key}")
        flight.task.add_done_callback(lambda task: self._land(key, flight))
        return flight

    def _land(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            flight.task.exception()  # marks it as seen, where everybody who waited has gone

    async def _load(self, key: str, loader: Loader, ttls: tuple[float, float, float], flight: _Flight) -> Value:
        ttl, negative_ttl, shared_ttl = ttls
        data = None if key in self._owed or self._owes_all else await self._shared.get(key)
        if data is not None:
            self._from_redis.inc()
            value = load(data)
        else:
            self._from_source.inc()
            try:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    value = await loader()
            except TimeoutError as error:
                raise DeadlineExceeded from error
        if value is None:
            ttl, shared_ttl = negative_ttl, negative_ttl
        if not flight.outdated:
            self._memory.put(key, value, ttl)
            self._entries.set(len(self._memory))
            if data is None:
                await self._shared.put(key, dump(value), shared_ttl)
        return value

    def _forget(self, key: str) -> None:
        self._memory.drop(key)
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.outdated = True

    def _forget_all(self) -> None:
        self._memory.clear()
        for flight in self._flights.values():
            flight.outdated = True
        self._flights.clear()

    async def _listen(self) -> None:
        """Hears what other instances invalidate, for as long as the cache is open."""
        while True:
            try:
                await self._hear_until_silence()
                _log.warning("Redis is silent; values in memory are believed for a short time only")
            except AWAY as error:
                _log.warning("invalidations can't be heard", error=repr(error))
            finally:
                self._hears = False
            await asyncio.sleep(REPAIR_PAUSE_S)

    async def _hear_until_silence(self) -> None:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._shared.channel)
            heard_at = monotonic()
            while monotonic() - heard_at < SILENCE_S:
                message = await pubsub.get_message(timeout=SILENCE_S / 4)
                if message is None:
                    await pubsub.ping()
                else:
                    heard_at = monotonic()
                    self._hear(message)

    def _hear(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe":
            # What was missed until now is not known.
            self._forget_all()
            self._hears = True
        elif message["type"] == "message":
            sender, keys = parse_invalidation(message["data"])
            if sender != self._id:
                for key in keys:
                    self._forget(key)

    async def _repair(self) -> None:
        """Makes up for invalidations that Redis did not take."""
        while True:
            await self._owes.wait()
            self._owes.clear()
            keys, everything = tuple(self._owed), self._owes_all
            if everything and await self._shared.clear():
                self._owes_all = False
                self._forget_all()
            elif keys and await self._shared.invalidate(keys, self._id):
                self._owed.difference_update(keys)
            if self._owed or self._owes_all:
                self._owes.set()
                await asyncio.sleep(REPAIR_PAUSE_S)
