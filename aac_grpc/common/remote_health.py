"""The health of another service, as it tells it (grpc.health.v1)."""

from collections.abc import AsyncGenerator
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aac_grpc.common.channel import Target


async def watch_serving(target: Target) -> AsyncGenerator[bool, None]:
    """Yields whether the service serves, now and at each change; ends when the connection does."""
    stub: Any = health_pb2_grpc.HealthStub(target.channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    try:
        while (response := await watching.read()) is not aio.EOF:
            yield response.status == health_pb2.HealthCheckResponse.SERVING
    except aio.AioRpcError:
        return
    finally:
        watching.cancel()
