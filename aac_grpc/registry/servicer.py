"""RegistryService: messages to leases and back."""

from collections.abc import AsyncIterator

from aac.registry.v1 import registry_pb2_grpc
from aac.registry.v1.registry_pb2 import (
    DeregisterRequest,
    DeregisterResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListInstancesRequest,
    ListInstancesResponse,
    RegisterRequest,
    RegisterResponse,
    WatchInstancesRequest,
)

from aac_grpc.client.errors import PermissionDenied
from aac_grpc.common.call import current_call
from aac_grpc.common.servicer import Context, Servicer, Stream
from aac_grpc.common.streams import StreamSession
from aac_grpc.common.types import NANOSECONDS, to_duration
from aac_grpc.registry.leases import Leases
from aac_grpc.registry.membership import Membership, to_instance, to_report


class RegistryServicer(Servicer, registry_pb2_grpc.RegistryServiceServicer):
    """Keeps leases of instances; each service speaks for its own."""

    def __init__(self, leases: Leases, membership: Membership, lease_s: float) -> None:
        self._leases = leases
        self._membership = membership
        self._lease = to_duration(int(lease_s * NANOSECONDS))

    async def Register(self, request: RegisterRequest, context: Context) -> RegisterResponse:
        instance = request.instance
        caller = current_call().principal.subject
        if instance.service != caller:
            raise PermissionDenied(f"{caller} may register instances of {caller} only", reason="MISSING_SCOPE")
        await self._leases.register(
            {
                "instance_id": instance.instance_id,
                "service": instance.service,
                "address": instance.address,
                "admin_address": instance.admin_address,
                "version": instance.version,
                "workers": instance.workers,
            },
            to_report(instance),
        )
        await self._membership.refresh()
        return RegisterResponse(lease=self._lease)

    async def Heartbeat(self, request: HeartbeatRequest, context: Context) -> HeartbeatResponse:
        known = await self._leases.renew(request.instance_id, current_call().principal.subject, to_report(request))
        return HeartbeatResponse(known=known)

    async def Deregister(self, request: DeregisterRequest, context: Context) -> DeregisterResponse:
        await self._leases.remove(request.instance_id, current_call().principal.subject)
        await self._membership.refresh()
        return DeregisterResponse()

    async def ListInstances(self, request: ListInstancesRequest, context: Context) -> ListInstancesResponse:
        return ListInstancesResponse(instances=map(to_instance, await self._membership.list(request.service)))

    async def WatchInstances(self, request: WatchInstancesRequest, context: Context) -> AsyncIterator[Stream]:
        session = StreamSession()
        current_call().on_drain(session.drain)
        session.subscribe(self._membership.topic(request.service))
        async for encoded in session.frames():
            yield encoded
