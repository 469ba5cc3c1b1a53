"""Whether the process serves, and whether it has what it needs: grpc.health.v1, and what /ready says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from aac_grpc.client.errors import NotFound
from aac_grpc.common import metrics
from aac_grpc.common.call import current_call
from aac_grpc.common.servicer import Servicer

CHECK_INTERVAL_S = 2.0
CHECK_TIMEOUT_S = 1.0

Check = Callable[[], Awaitable[None]]
"""Raises where the dependency does not answer."""


@dataclass(slots=True)
class Dependency:
    """Something outside the process, as last seen."""

    check: Check
    required: bool
    up: bool = False
    error: str = "not checked yet"


class Health:
    """Serving states by gRPC service, and the dependencies' last checks.

    Attributes:
        serving: By full name of the gRPC service; "" stands for the whole process.
        dependencies: By name, such as "postgresql".
    """

    def __init__(self) -> None:
        self.serving: dict[str, bool] = {"": False}
        self.dependencies: dict[str, Dependency] = {}
        self._changed = asyncio.Event()
        self._shut_down = False
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Has `listener` called whenever a serving state was set."""
        self._listeners.append(listener)

    def shut_down(self) -> None:
        """Nothing serves any more, nor will it."""
        self._shut_down = True
        self.set_serving(False)

    def set_serving(self, serving: bool, *services: str) -> None:
        """Sets the state of these services; of all that are known where none is named."""
        for service in services or tuple(self.serving):
            self.serving[service] = serving
        # Each waiter holds the event that it saw: setting and replacing it wakes all of them once.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for listener in self._listeners:
            listener()

    async def changes(self, service: str) -> AsyncIterator[bool | None]:
        """The service's state (None where it is not known), and each later one, until the process shuts down."""
        last: bool | str | None = "nothing yet"
        while True:
            changed, state = self._changed, self.serving.get(service)
            if state != last:
                last = state
                yield state
            elif self._shut_down:
                return
            else:
                await changed.wait()

    def add_check(self, name: str, check: Check, *, required: bool) -> None:
        """Has a dependency checked every `CHECK_INTERVAL_S`; without the required ones the process is not ready."""
        self.dependencies[name] = Dependency(check, required)

    @property
    def ready(self) -> bool:
        """The process serves, and each required dependency answered its last check."""
        return self.serving[""] and all(one.up for one in self.dependencies.values() if one.required)

    async def keep_checking(self) -> None:
        """Checks the dependencies again and again; runs until cancelled."""
        while True:
            await self.check_all()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check_all(self) -> None:
        """Checks every dependency once."""
        await asyncio.gather(*(self._check(name, one) for name, one in self.dependencies.items()))

    async def _check(self, name: str, dependency: Dependency) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await dependency.check()
        except Exception as failure:
            dependency.up, dependency.error = False, str(failure) or type(failure).__name__
        else:
            dependency.up, dependency.error = True, ""
        metrics.DEPENDENCY_UP.labels(name).set(dependency.up)


class HealthServicer(Servicer, health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """grpc.health.v1 for each service of the process, and "" for the whole."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(self, request: Any, context: Any) -> Any:
        """The state now."""
        state = self._health.serving.get(request.service)
        if state is None:
            raise NotFound("service", request.service)
        return health_pb2.HealthCheckResponse(status=_status(state))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The state now and at each change. Never answers NOT_FOUND: the service may come later."""
        # Shutdown makes every state NOT_SERVING before it drains streams: that word must get out, then the stream ends.
        current_call().on_drain(lambda: None)
        async for state in self._health.changes(request.service):
            yield health_pb2.HealthCheckResponse(status=_status(state))


def _status(serving: bool | None) -> Any:
    statuses = health_pb2.HealthCheckResponse
    if serving is None:
        return statuses.SERVICE_UNKNOWN
    return statuses.SERVING if serving else statuses.NOT_SERVING
