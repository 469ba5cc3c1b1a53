"""The health of the services behind the gateway, as the gateway tells it."""

from __future__ import annotations

from collections.abc import Collection

from aac_grpc.common.health import Health
from aac_grpc.common.target import Target


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
        """Watches until cancelled; a service serves while some instance of it can be reached and serves."""
        async for serving in self._health.changes(""):
            if serving:  # the server's own start sets all names once
                break
        self._tell(False)
        async for serving in self._target.reachable():
            self._tell(serving)

    def _tell(self, serving: bool) -> None:
        if any(self._health.serving.get(name) is not serving for name in self._names):
            self._health.set_serving(serving, *self._names)
