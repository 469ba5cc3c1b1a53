"""grpc.health.v1: states, watches, and what shutdown tells."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aac_grpc.client.errors import NotFound, from_rpc_error
from tests.support.mesh import PingMesh, ping_mesh
from tests.support.ping import SERVICE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def mesh() -> AsyncIterator[PingMesh]:
    async with ping_mesh(drain_grace_s=30) as mesh:
        yield mesh


def ask(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def test_the_process_and_each_service_are_known_by_name(mesh: PingMesh) -> None:
    stub = health_pb2_grpc.HealthStub(mesh.channel)
    for service in ("", SERVICE, "grpc.health.v1.Health"):
        assert (await stub.Check(ask(service))).status == SERVING


async def test_a_service_that_is_not_there_is_not_found(mesh: PingMesh) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await health_pb2_grpc.HealthStub(mesh.channel).Check(ask("no.such.Service"))
    assert type(from_rpc_error(failed.value)) is NotFound


async def test_health_asks_for_no_credential_and_has_no_budget(mesh: PingMesh) -> None:
    stub = health_pb2_grpc.HealthStub(mesh.channel)
    for _ in range(500):
        await stub.Check(ask())


async def test_a_watch_sees_each_change_once(mesh: PingMesh) -> None:
    watch = health_pb2_grpc.HealthStub(mesh.channel).Watch(ask(SERVICE))
    health = mesh.server.resources.health
    seen = [(await watch.read()).status]
    for state in (False, False, True, True):
        health.set_serving(state, SERVICE)
        await asyncio.sleep(0.05)
    seen += [(await watch.read()).status, (await watch.read()).status]
    assert seen == [SERVING, NOT_SERVING, SERVING]
    watch.cancel()


async def test_a_watch_waits_for_a_service_that_comes_later(mesh: PingMesh) -> None:
    watch = health_pb2_grpc.HealthStub(mesh.channel).Watch(ask("later.Service"))
    assert (await watch.read()).status == UNKNOWN
    mesh.server.resources.health.set_serving(True, "later.Service")
    assert (await watch.read()).status == SERVING
    watch.cancel()


async def test_shutdown_says_not_serving_to_every_watch_and_ends_it(mesh: PingMesh) -> None:
    stub = health_pb2_grpc.HealthStub(mesh.channel)
    mesh.server.resources.health.set_serving(False, "down.Service")
    watches = [stub.Watch(ask("")), stub.Watch(ask(SERVICE)), stub.Watch(ask("down.Service"))]
    assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING, NOT_SERVING]
    began = asyncio.get_running_loop().time()
    stopping = asyncio.ensure_future(mesh.server.stop())
    assert [(await watch.read()).status for watch in watches[:2]] == [NOT_SERVING, NOT_SERVING]
    for watch in watches:
        assert await watch.read() is grpc.aio.EOF
    await stopping
    assert asyncio.get_running_loop().time() - began < 10
