"""What operators see of the mesh: services, instances, how they are, and what the registry is told at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aac.registry.v1.registry_pb2 import Instance as Registered
from aac.registry.v1.registry_pb2 import RegisterRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.cli.mesh import columns, rows
from aac_grpc.client import AsyncClient
from aac_grpc.client.errors import DependencyUnavailable, PermissionDenied
from aac_grpc.client.models import BreakerState, Instance, InstanceState
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server
from aac_grpc.registry import service as registry
from aac_grpc.servicers import analytics, gateway
from tests.integration.services import (
    ADMIN,
    DEMO,
    MESH_SECRET,
    Caller,
    auth_serving,
    eventually,
    free_address,
    new_installation,
    serving,
)

LEASE_S = 60.0
"""Heartbeats of their own accord come each twenty seconds: what is seen sooner was told at once."""

pytestmark = pytest.mark.timeout(120)


class Mesh:
    """A registry, auth-service, two instances of analytics, and a gateway that knows of each other."""

    def __init__(self, registry: Server, analytics: list[Server], gateway: Server, admin: AsyncClient) -> None:
        self.registry = registry
        self.analytics = analytics
        self.gateway = gateway
        self.admin = admin

    async def instances(self, service: str) -> list[Instance]:
        """Of a service, as an operator sees them."""
        return [one for found in await self.admin.services() if found.service == service for one in found.instances]

    async def shows(self, service: str, fact: Callable[[list[Instance]], bool]) -> None:
        """Waits until a service's instances are so."""

        async def holds() -> bool:
            return fact(await self.instances(service))

        await eventually(holds, 10)


@pytest.fixture(scope="module")
async def mesh(backends: Mapping[str, str]) -> AsyncIterator[Mesh]:
    address = free_address()
    port = int(address.rpartition(":")[2])
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(new_installation(backends))
        know: dict[str, Any] = {**installation, "registry_address": address, "rate_limits": {}}
        keeper = await stack.enter_async_context(serving(registry, know, grpc_port=port, instance_lease_s=LEASE_S))
        auth = await stack.enter_async_context(auth_serving(know))
        know["auth_address"] = auth.address
        two = [await stack.enter_async_context(serving(analytics.service, know)) for _ in range(2)]
        front = await stack.enter_async_context(serving(gateway.service, know))
        admin = await stack.enter_async_context(
            AsyncClient(front.address, username=ADMIN[0], password=ADMIN[1], timeout=8)
        )
        made = Mesh(keeper, two, front, admin)
        await made.shows("analytics", lambda found: len(found) == 2)
        yield made


async def test_an_operator_sees_every_service_with_its_instances(mesh: Mesh) -> None:
    await mesh.shows("api-gateway", lambda found: len(found) == 1)
    await mesh.shows("registry", lambda found: len(found) == 1)
    found = {one.service: one.instances for one in await mesh.admin.services()}
    assert {one.address for one in found["analytics"]} == {one.address for one in mesh.analytics}
    assert {one.instance_id for one in found["analytics"]} == {one.settings.instance_id for one in mesh.analytics}
    assert [one.address for one in found["registry"]] == [mesh.registry.address]
    assert found["trading-engine"] == ()
    for instance in (one for several in found.values() for one in several):
        assert instance.state is InstanceState.SERVING
        assert instance.registered_at <= instance.renewed_at
        assert instance.lease_expires_at - instance.renewed_at == timedelta(seconds=LEASE_S)
        assert instance.version
    assert [one.breakers for one in found["analytics"]] == [(), ()]


async def test_a_breaker_that_opens_and_closes_is_told_at_once(mesh: Mesh) -> None:
    breaker = mesh.analytics[0].resources.breakers.get("market-data/ListCandles")
    before = datetime.now(UTC)
    for _ in range(5):
        breaker.failed()
    await mesh.shows("analytics", lambda found: any(one.breakers for one in found))
    ((instance, open_one),) = [(one, each) for one in await mesh.instances("analytics") for each in one.breakers]
    assert instance.address == mesh.analytics[0].address
    assert (open_one.target, open_one.state) in {
        ("market-data/ListCandles", BreakerState.OPEN),
        ("market-data/ListCandles", BreakerState.HALF_OPEN),  # its pause is over already
    }
    assert before <= open_one.since <= datetime.now(UTC)

    async def closes() -> bool:
        try:
            breaker.check()
        except DependencyUnavailable:
            return False
        breaker.succeeded()
        return breaker.since == 0.0

    await eventually(closes)
    await mesh.shows("analytics", lambda found: not any(one.breakers for one in found))


async def test_an_instance_that_serves_no_more_is_told_apart_from_one_that_does_not_answer(mesh: Mesh) -> None:
    secret = derive_service_secret(MESH_SECRET, "risk-management")
    risk = Caller(
        RegistryServiceStub,
        mesh.registry.address,
        metadata={"x-aac-service": "risk-management", "x-aac-service-secret": secret},
    )
    gone = Registered(instance_id="gone", service="risk-management", address=free_address())
    await risk.Register(RegisterRequest(instance=gone))
    await risk.channel.close()
    health = mesh.analytics[1].resources.health
    health.set_serving(False)
    await mesh.shows("analytics", lambda found: {one.state for one in found} == {"serving", "not_serving"})
    (silent,) = await mesh.instances("risk-management")
    assert silent.state is InstanceState.UNREACHABLE
    (resting,) = [one for one in await mesh.instances("analytics") if one.state is InstanceState.NOT_SERVING]
    assert resting.address == mesh.analytics[1].address
    health.set_serving(True)


async def test_a_table_names_each_instance_and_each_service_without_one(mesh: Mesh) -> None:
    services = await mesh.admin.services()
    shown = [[read(row) for _, read in columns(services, datetime.now(UTC))] for row in rows(services)]
    addresses = [line[1] for line in shown if line[0] == "analytics"]
    assert sorted(addresses) == sorted(one.address for one in mesh.analytics)
    assert [line[1] for line in shown if line[0] == "market-data"] == ["[red]no instance[/red]"]


async def test_a_trader_does_not_see_the_mesh(mesh: Mesh) -> None:
    async with AsyncClient(mesh.gateway.address, username=DEMO[0], password=DEMO[1]) as trader:
        with pytest.raises(PermissionDenied):
            await trader.services()


async def test_at_last_while_the_registry_is_away_that_is_what_is_said(mesh: Mesh) -> None:
    token = await mesh.admin.access_token()
    await mesh.registry.stop()
    async with AsyncClient(mesh.gateway.address, token=token, timeout=2) as admin:
        with pytest.raises(DependencyUnavailable, match="registry"):
            await admin.services()
