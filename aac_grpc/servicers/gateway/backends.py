"""The health of the services behind the gateway, as the gateway tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aac_grpc.common.channel import Target
from aac_grpc.common.health import Health

_PAUSE_S = 0.5


class BackendHealth:
    """Follows one service's health for the gRPC services that it answers."""

    def __init__(self, health: Health, target: Target, grpc_services: Collection[str]) -> None:
        """Begins with the services away.

        Args:
            health: What the gateway tells.
            target: The service.
            grpc_services: Full names of the gRPC services that it answers.
        """
        self._health = health
        self._target = target
        self._names = tuple(grpc_services)

    async def follow(self) -> None:
        """Watches until cancelled; a service that can't be reached does not serve."""
        async for serving in self._health.changes(""):
            if serving:  # the server's own start sets all names once
                break
        self._tell(False)
        while True:
            with contextlib.suppress(aio.AioRpcError):
                await self._watch()
            self._tell(False)
            await asyncio.sleep(_PAUSE_S)

    async def _watch(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._target.channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        try:
            while (response := await watching.read()) is not aio.EOF:
                self._tell(response.status == health_pb2.HealthCheckResponse.SERVING)
        finally:
            watching.cancel()

    def _tell(self, serving: bool) -> None:
        if any(self._health.serving.get(name) is not serving for name in self._names):
            self._health.set_serving(serving, *self._names)
