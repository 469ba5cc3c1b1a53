"""Calls that the gateway answers itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import cached_property

from aac.event.v1.event_pb2 import Event
from aac.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from aac.type.v1 import stream_pb2

from aac_grpc.client._calls import Calls
from aac_grpc.client.errors import AacError
from aac_grpc.client.models.platform import Method, Overview, Service
from aac_grpc.client.models.topics import Topic
from aac_grpc.client.reconnect import Call, ReconnectingStream
from aac_grpc.client.resume import Position, is_about_a_key
from aac_grpc.client.updates import EventsUpdate, Gap


class PlatformCalls(Calls):
    """What only the gateway can see."""

    @cached_property
    def _gateway(self) -> gateway_pb2_grpc.GatewayServiceStub:
        return gateway_pb2_grpc.GatewayServiceStub(self._connection.channel)

    async def overview(self, account: str = "", *, venue: str = "") -> Overview:
        """Returns an account at a glance: cash, positions, orders, executions, quotes, exposure."""
        request = gateway_pb2.GetOverviewRequest(venue=venue, account_id=account)
        return Overview.from_wire(await self._connection.unary(self._gateway.GetOverview, request))

    async def methods(self) -> list[Method]:
        """Returns every public method with its policy."""
        response = await self._connection.unary(self._gateway.ListMethods, gateway_pb2.ListMethodsRequest())
        return [Method.from_wire(method) for method in response.methods]

    async def services(self) -> list[Service]:
        """Returns the services of the mesh with their living instances (an operator's call)."""
        response = await self._connection.unary(self._gateway.ListServices, gateway_pb2.ListServicesRequest())
        return [Service.from_wire(service) for service in response.services]

    async def watch_events(
        self,
        *,
        types: Iterable[str] = (),
        venue: str = "",
        from_beginning: bool = False,
        on_disconnect: Callable[[AacError | None], None] | None = None,
    ) -> AsyncGenerator[EventsUpdate | Gap, None]:
        """Yields the platform's domain events (an operator's call); reconnects and resumes by itself.

        Args:
            types: Only these, such as "aac.order.accepted"; none means all.
            venue: Only this venue's; empty means all.
            from_beginning: Begin with the events still kept, otherwise with the next one.
            on_disconnect: Told each time that a connection ended: why, or None when the service said goodbye.
        """
        wanted = list(types)
        positions: dict[str, Position[Event]] = {}

        async def open_call() -> Call[gateway_pb2.WatchEventsResponse]:
            points = [position.resume_point(key) for key, position in positions.items()]
            request = gateway_pb2.WatchEventsRequest(
                types=wanted,
                venue=venue,
                from_beginning=from_beginning,
                resume=[point for point in points if point is not None],
            )
            return self._gateway.WatchEvents(request, metadata=await self._connection.stream_metadata())

        stream = ReconnectingStream(
            open_call,
            renew=self._connection.credentials.renew,
            policy=self._reconnect,
            on_disconnect=on_disconnect,
            explain=self._connection.explain,
        )
        async with contextlib.aclosing(stream.frames()) as frames:
            async for frame in frames:
                header = frame.header
                if not is_about_a_key(header):
                    for point in header.resume:
                        if point.epoch:
                            positions[point.key] = Position(stream_pb2.TOPIC_EVENTS, point.epoch, point.sequence)
                    continue
                position = positions.setdefault(header.key, Position(stream_pb2.TOPIC_EVENTS))
                step = position.advance(header, frame.events)
                if step.missed is not None:
                    yield Gap(venue, header.key, Topic.EVENTS, step.missed.first, step.missed.last)
                if step.fresh:
                    yield EventsUpdate(header.key, tuple(step.fresh), header.sequence)
