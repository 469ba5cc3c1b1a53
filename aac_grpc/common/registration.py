"""Keeps this instance known to the registry, which the process can do without."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import islice

import structlog
from aac.registry.v1 import registry_pb2
from aac.registry.v1.registry_pb2 import Breaker, DeregisterRequest, HeartbeatRequest, Instance, RegisterRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.client.errors import AacError
from aac_grpc.client.retry import is_retryable
from aac_grpc.common.breaker import BreakerState
from aac_grpc.common.channel import REGISTRY
from aac_grpc.common.resources import Resources
from aac_grpc.common.types import NANOSECONDS, to_timestamp

RETRY_S = 1.0
NEWS_EVERY_S = 0.2
"""Changes of how the instance is are told at once, but not more often than this."""
MAX_BREAKERS = 256
"""As the contract says."""
LEAVE_TIMEOUT_S = 1.0

_STATES = {
    BreakerState.OPEN: registry_pb2.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: registry_pb2.BREAKER_STATE_HALF_OPEN,
}

_log = structlog.get_logger("registration")


def code_version() -> str:
    """Version of the installed package; "source" in a checkout that is not installed."""
    try:
        return version("aac-grpc")
    except PackageNotFoundError:
        return "source"


class Registration:
    """This instance's lease at the registry."""

    def __init__(self, resources: Resources, admin_address: str, workers: int) -> None:
        """Makes a registration that is not sent yet.

        Args:
            resources: Channels and settings, and where others reach this instance.
            admin_address: host:port of its admin HTTP server.
            workers: How many processes serve behind its address.
        """
        self._stub = resources.channels.stub(RegistryServiceStub, REGISTRY)
        self._instance = Instance(
            instance_id=resources.settings.instance_id,
            service=resources.service,
            address=resources.address,
            admin_address=admin_address,
            version=code_version(),
            workers=workers,
        )
        self._health = resources.health
        self._breakers = resources.breakers
        self._news = asyncio.Event()
        self._health.listen(self._news.set)
        self._breakers.listen(lambda name, state: self._news.set())
        self._known = False
        self._leaving = False

    async def keep(self) -> None:
        """Registers, and renews the lease at a third of it, until cancelled. A registry that is away is waited for.

        When the instance begins or ceases to serve, or one of its breakers changes, it renews at once.
        """
        lease_s = 0.0
        while not self._leaving:
            self._news.clear()
            try:
                if not self._known:
                    lease_s = await self._register()
                    self._known = True
                else:
                    self._known = await self._beat()
            except AacError as error:
                tell = _log.debug if is_retryable(error) else _log.error
                tell("not registered; tried again", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                await self._pause(lease_s / 3 if self._known else 0)

    async def _register(self) -> float:
        """Returns the seconds of the lease."""
        instance = Instance(serving=self._serving(), breakers=self._not_closed())
        instance.MergeFrom(self._instance)
        response = await self._stub.Register(RegisterRequest(instance=instance))
        return response.lease.ToNanoseconds() / 1e9

    async def _beat(self) -> bool:
        """Returns whether the registry knows this instance."""
        request = HeartbeatRequest(
            instance_id=self._instance.instance_id, serving=self._serving(), breakers=self._not_closed()
        )
        return (await self._stub.Heartbeat(request)).known

    async def _pause(self, seconds: float) -> None:
        """Waits, at most until there is news to tell."""
        least = min(seconds, NEWS_EVERY_S)
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - least):
                await self._news.wait()

    def _serving(self) -> registry_pb2.ServingState.ValueType:
        serving = self._health.serving[""]
        return registry_pb2.SERVING_STATE_SERVING if serving else registry_pb2.SERVING_STATE_NOT_SERVING

    def _not_closed(self) -> Sequence[Breaker]:
        return [
            Breaker(target=one.name, state=_STATES[one.state], since=to_timestamp(int(one.since * NANOSECONDS)))
            for one in islice((one for one in self._breakers if one.state in _STATES), MAX_BREAKERS)
        ]

    async def leave(self) -> None:
        """Takes the instance out before it stops, if the registry is there to hear it."""
        self._leaving = True
        if self._known:
            with suppress(AacError):
                request = DeregisterRequest(instance_id=self._instance.instance_id)
                await self._stub.Deregister(request, timeout=LEAVE_TIMEOUT_S)
