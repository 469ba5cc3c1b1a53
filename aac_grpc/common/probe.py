"""Asks one instance of a service for its health (grpc.health.v1)."""

from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aac_grpc.client.channel import open_channel


async def ask_serving(address: str, timeout_s: float) -> bool | None:
    """Whether the instance takes calls; None where it does not answer in time.

    Args:
        address: host:port of its gRPC server.
        timeout_s: Seconds for connection and answer.
    """
    # A channel of its own: those of the mesh leave an instance that does not serve alone, and would not ask it.
    channel = open_channel(address)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s, wait_for_ready=True)
    except aio.AioRpcError:
        return None
    finally:
        await channel.close()
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
