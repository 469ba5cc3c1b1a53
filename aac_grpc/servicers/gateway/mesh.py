"""The services of the mesh and how their instances are: what the registry knows, and what each instance answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aac.gateway.v1 import gateway_pb2
from aac.gateway.v1.gateway_pb2 import InstanceState, ListServicesResponse, ServiceInfo, ServiceInstance
from aac.registry.v1.registry_pb2 import Instance, ListInstancesRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.common.channel import REGISTRY, Channels
from aac_grpc.common.probe import ask_serving

PROBES_AT_ONCE = 16
ANSWER_WITHIN_S = 1.0
"""An instance that takes longer to tell its health counts as unreachable."""


class MeshView:
    """The mesh as the gateway sees it."""

    def __init__(self, channels: Channels, services: Collection[str]) -> None:
        """Prepares.

        Args:
            channels: To the registry.
            services: Those that there should be; they are told also where none of their instances is alive.
        """
        self._services = frozenset(services)
        self._registry = channels.stub(RegistryServiceStub, REGISTRY)
        self._probing = asyncio.Semaphore(PROBES_AT_ONCE)

    async def gather(self) -> ListServicesResponse:
        """Asks the registry who is there, and each instance whether it serves.

        Raises:
            AacError: The registry could not be asked.
        """
        instances = (await self._registry.ListInstances(ListInstancesRequest())).instances
        states = await asyncio.gather(*map(self._state, instances))
        found: dict[str, list[ServiceInstance]] = {name: [] for name in self._services}
        for instance, state in zip(instances, states, strict=True):
            found.setdefault(instance.service, []).append(ServiceInstance(instance=instance, state=state))
        return ListServicesResponse(
            services=[ServiceInfo(service=name, instances=found[name]) for name in sorted(found)]
        )

    async def _state(self, instance: Instance) -> InstanceState.ValueType:
        async with self._probing:
            serving = await ask_serving(instance.address, ANSWER_WITHIN_S)
        if serving is None:
            return gateway_pb2.INSTANCE_STATE_UNREACHABLE
        return gateway_pb2.INSTANCE_STATE_SERVING if serving else gateway_pb2.INSTANCE_STATE_NOT_SERVING
