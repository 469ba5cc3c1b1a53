"""What a service may use: opened when first asked for, checked and closed by the base."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random_exponential

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breakers, BreakerState
from aac_grpc.common.channel import AUTH_SERVICE, Channels
from aac_grpc.common.clock import Clock, SystemClock
from aac_grpc.common.health import Health
from aac_grpc.common.keys import RemoteKeys, fetch_from
from aac_grpc.common.quota import LocalQuotas, Quotas
from aac_grpc.common.revocation_watch import RevocationWatch
from aac_grpc.common.revocations import Revocations
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.tasks import Tasks
from aac_grpc.common.tokens import TokenVerifier

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from aac_grpc.common.cache import Cache
    from aac_grpc.common.database import Database
    from aac_grpc.common.events import EventConsumer, EventHandler, EventPublisher, EventTail

_log = structlog.get_logger("resources")

Open = Callable[[], Awaitable[Any]]
Close = Callable[[], Awaitable[Any]]


class Resources:
    """The resources of one process. A service that never asks for Redis has no Redis, and does not import its client.

    Reading a property makes the resource, unopened. The server opens what was made: the database before `Service.build`
    where the service has migrations, everything else after it and before servicers start. It closes all in reverse
    order after servicers stopped.

    Attributes:
        settings: The process's settings, of the class that the service names.
        service: The service's name, such as "trading-engine".
        clock: Wall and monotonic time.
        health: Serving states and checks of dependencies.
        breakers: One for each dependency; those that the service requires refuse calls at once while they are open.
        channels: Stubs of other services.
        tasks: Owns background tasks.
        address: host:port that others reach this instance at; empty until it listens.
    """

    def __init__(self, service: str, settings: ServiceSettings, required: Sequence[str] = ()) -> None:
        self.service = service
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.health = Health()
        self.breakers = Breakers(on_change=_show_breaker)
        self.channels = Channels(service, settings, self.clock, self.breakers)
        self.tasks = Tasks()
        self.address = ""
        self._required = frozenset(required)
        self._unopened: list[Open] = []
        self._opened: list[Close] = [self.channels.close]

    @cached_property
    def database(self) -> "Database":
        """The service's own schema in PostgreSQL."""
        from aac_grpc.common.database import Database

        settings = self.settings
        database = Database(
            settings.database_url.get_secret_value(),
            schema=self.service.replace("-", "_"),
            pool_size=settings.database_pool_size,
            application=f"{self.service}/{settings.instance_id}",
            breaker=self.breakers.get("postgresql"),
        )
        self._own("postgresql", database.open, database.close, database.ping)
        return database

    @cached_property
    def redis(self) -> "Redis":
        """A client of Redis; each command takes at most half a second."""
        from redis.asyncio import Redis

        redis: Redis = Redis.from_url(
            self.settings.redis_url.get_secret_value(),
            max_connections=self.settings.redis_pool_size,
            health_check_interval=30,
            socket_connect_timeout=0.5,
            socket_timeout=0.5,
        )

        async def ping() -> None:
            await redis.ping()

        self._own("redis", None, redis.aclose, ping)
        return redis

    @cached_property
    def cache(self) -> "Cache":
        """Memory over Redis over the source."""
        from aac_grpc.common.cache import Cache

        cache = Cache(self.redis, prefix=self.service, breaker=self.breakers.get("redis"))
        self._own("", cache.open, cache.close, None)
        return cache

    @cached_property
    def quotas(self) -> Quotas:
        """Callers' budgets: in Redis, shared by all instances, or in this process where there are none to share."""
        if self.settings.quota_store == "local" or not self.settings.rate_limits:
            return LocalQuotas(self.clock)
        from aac_grpc.common.quota.leased import LeasedQuotas
        from aac_grpc.common.quota.store import BucketStore

        quotas = LeasedQuotas(BucketStore(self.redis), self.breakers.get("redis"), self.clock)
        self.tasks.spawn(quotas.run, name="quotas")
        return quotas

    @cached_property
    def events(self) -> "EventPublisher":
        """The process's Kafka producer."""
        from aac_grpc.common.events import EventPublisher

        publisher = EventPublisher(
            self.settings.kafka_bootstrap_servers, config=self._kafka_config, breaker=self.breakers.get("kafka")
        )
        self._own("kafka", publisher.start, publisher.stop, None)
        return publisher

    def consumer(
        self, topics: Sequence[str], *, group: str, handler: "EventHandler", **options: Any
    ) -> "EventConsumer":
        """A member of a consumer group; spawn its `run`. Options as in `EventConsumer`."""
        from aac_grpc.common.events import EventConsumer

        return EventConsumer(
            self.settings.kafka_bootstrap_servers,
            topics,
            group=group,
            handler=handler,
            database=self.database,
            publisher=self.events,
            **options,
        )

    def tail(self, topics: Sequence[str], **options: Any) -> "EventTail":
        """A reader of topics without a group. Options as in `EventTail`."""
        from aac_grpc.common.events import EventTail

        return EventTail(self.settings.kafka_bootstrap_servers, topics, config=self._kafka_config, **options)

    def prune(self, *tables: str) -> None:
        """Removes old rows of the schema's "outbox", "inbox" or "client_keys" from now on."""
        from aac_grpc.common.pruning import Pruning

        self.tasks.spawn(Pruning(self.database, self.settings, tables).run, name="pruning")

    @cached_property
    def verifier(self) -> TokenVerifier:
        """Verifies access tokens by auth-service's keys."""
        from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

        keys = RemoteKeys(
            fetch_from(self.channels.stub(AuthServiceStub, AUTH_SERVICE)),
            self.clock,
            max_age_s=self.settings.jwks_refresh_s,
        )
        self._own("token-keys", keys.open, keys.close, None)
        self.tasks.spawn(keys.keep_fresh, name="token-keys")
        return TokenVerifier(
            keys,
            self.revocations,
            issuer=self.settings.token_issuer,
            clock=self.clock,
            cache_size=self.settings.token_cache_size,
        )

    @cached_property
    def revocations(self) -> Revocations:
        """Which tokens hold no more. auth-service feeds it from its own table, everybody else from auth-service."""
        from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

        settings = self.settings
        revocations = Revocations(
            self.clock, settings.revocation_stale_s if settings.revocation_watch else float("inf")
        )
        if settings.revocation_watch:
            metrics.REVOCATION_STALENESS.set_function(lambda: revocations.staleness_s)
            if self.service != AUTH_SERVICE:
                auth = self.channels.stub(AuthServiceStub, AUTH_SERVICE)
                self.tasks.spawn(RevocationWatch(auth.WatchRevocations, revocations).follow, name="revocations")
        return revocations

    async def open(self) -> None:
        """Opens what was made and is not open yet; waits for what is away, at most `start_timeout_s`.

        Raises:
            DependencyUnavailable: Something can't be reached.
        """
        while self._unopened:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(DependencyUnavailable),
                stop=stop_after_delay(self.settings.start_timeout_s),
                wait=wait_random_exponential(multiplier=0.2, max=2),
                before_sleep=_say_who_is_awaited,
                reraise=True,
            ):
                with attempt:
                    await self._unopened[0]()
            del self._unopened[0]

    async def close(self) -> None:
        """Closes what was opened, in reverse order."""
        while self._opened:
            await self._opened.pop()()

    @property
    def _kafka_config(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.settings.kafka_config.items()}

    def _own(self, name: str, open_: Open | None, close: Close, check: Callable[[], Awaitable[None]] | None) -> None:
        if open_ is not None:
            self._unopened.append(open_)
        self._opened.append(close)
        if check is not None:
            self.health.add_check(name, check, required=name in self._required)


def _say_who_is_awaited(attempt: RetryCallState) -> None:
    failure = attempt.outcome.exception() if attempt.outcome is not None else None
    _log.warning("waiting for a dependency", error=str(failure))


def _show_breaker(name: str, state: BreakerState) -> None:
    metrics.BREAKER_STATE.labels(name).set(state.value)
