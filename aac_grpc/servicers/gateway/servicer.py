"""GatewayService: what the gateway answers itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from aac.gateway.v1 import gateway_pb2_grpc
from aac.gateway.v1.gateway_pb2 import (
    GetOverviewRequest,
    GetOverviewResponse,
    ListMethodsRequest,
    ListMethodsResponse,
    ListServicesRequest,
    ListServicesResponse,
    WatchEventsRequest,
)

from aac_grpc.common.call import current_call
from aac_grpc.common.event_types import require_event_types
from aac_grpc.common.events import EventTail
from aac_grpc.common.servicer import Context, Servicer, Stream
from aac_grpc.common.topics import TOPICS
from aac_grpc.common.types import venue_of
from aac_grpc.servicers.gateway.api_keys import ApiKeyExchange
from aac_grpc.servicers.gateway.events import EventWatch, Partition, WatcherPlaces, resume_offsets
from aac_grpc.servicers.gateway.forwarding import Forwarder
from aac_grpc.servicers.gateway.mesh import MeshView
from aac_grpc.servicers.gateway.overview import Overviews

TOPIC_NAMES = tuple(topic.name for topic in TOPICS)
DEFAULT_TIME_S = 5.0

OpenTail = Callable[[Mapping[Partition, int], bool], EventTail]
"""Reads Kafka from these offsets; other partitions from the beginning, or from now on."""


class GatewayServicer(Servicer, gateway_pb2_grpc.GatewayServiceServicer):
    """Overviews, the lists of methods and of services, domain events."""

    def __init__(
        self,
        overviews: Overviews,
        methods: ListMethodsResponse,
        mesh: MeshView,
        open_tail: OpenTail,
        forwarders: Mapping[str, Forwarder],
        exchange: ApiKeyExchange,
        *,
        watchers: WatcherPlaces,
        heartbeat_s: float,
    ) -> None:
        self._overviews = overviews
        self._methods = methods
        self._mesh = mesh
        self._open_tail = open_tail
        self._forwarders = forwarders
        self._exchange = exchange
        self._watchers = watchers
        self._heartbeat_s = heartbeat_s

    def forwards(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        return {path: forwarder.handler() for path, forwarder in self._forwarders.items()}

    async def stop(self) -> None:
        await self._exchange.close()

    async def GetOverview(self, request: GetOverviewRequest, context: Context) -> GetOverviewResponse:
        call = current_call()
        time_s = call.time_remaining()
        return await self._overviews.gather(
            venue_of(request), call.account(request), DEFAULT_TIME_S if time_s is None else time_s
        )

    async def ListMethods(self, request: ListMethodsRequest, context: Context) -> ListMethodsResponse:
        return self._methods

    async def ListServices(self, request: ListServicesRequest, context: Context) -> ListServicesResponse:
        return await self._mesh.gather()

    async def WatchEvents(self, request: WatchEventsRequest, context: Context) -> Stream:
        require_event_types("types", request.types)
        wanted = resume_offsets(request.resume, TOPIC_NAMES)
        with self._watchers.take(current_call().principal):
            tail = self._open_tail(wanted, request.from_beginning)
            watch = EventWatch(tail, request, wanted, self._heartbeat_s)
            current_call().on_drain(watch.drain)
            try:
                async with contextlib.aclosing(watch.frames()) as frames:
                    async for encoded in frames:
                        yield encoded
            finally:
                await tail.close()
