"""A caller whose connection goes in the midst of calls has cancelled them: nothing is wrong, and nothing says so."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from aac_grpc.client.errors import NotFound, PermissionDenied
from aac_grpc.common.contract import policy_of
from aac_grpc.common.interceptors.metrics import SERVER
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.gateway.forwarding import Forwarder
from aac_grpc.servicers.gateway.routes import Route
from aac_grpc.servicers.gateway.settings import GatewaySettings
from tests.support.mesh import PingMesh, bearer, eventually, ping_mesh
from tests.support.ping import ARITIES, ROOT, SERVICE, PingServicer, WritingPingServicer

pytestmark = pytest.mark.timeout(60)

PATIENT: dict[str, Any] = {"rate_limits": {}, "timeout_fast_s": 60.0, "shedding": False}


class Holding(PingServicer):
    """Holds some calls until they are released, and then answers at length or refuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()
        self.held = 0

    async def _act(self, request: Any, context: Any) -> None:
        if request.act.startswith("hold"):
            self.held += 1
            await self.released.wait()
        if request.act == "hold and refuse":
            raise NotFound("thing", "x")
        await super()._act(request, context)

    async def _answer(self, request: Any, context: Any) -> Any:
        response = await super()._answer(request, context)
        if request.act == "hold":
            response.text = "x" * 100_000
        return response


class HoldingWriter(Holding, WritingPingServicer):
    """The same, with streams as coroutines."""


class ForwardsPing(Servicer):
    """Forwards the ping service's methods."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def forwards(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        async def nothing(call: Any, route: Route) -> tuple[()]:
            return ()

        routes = [Route(policy_of(f"/{SERVICE}/{name}"), "trading-engine", drainable=False) for name in ARITIES]
        return {route.policy.path: Forwarder(route, self._target, nothing).handler() for route in routes}


@asynccontextmanager
async def forwarding_to(mesh: PingMesh) -> AsyncIterator[Server]:
    """A gateway before the ping service."""
    service = Service(
        name="api-gateway",
        settings=GatewaySettings,
        build=lambda resources: [ForwardsPing(resources.channels.target("trading-engine"))],
    )
    places: dict[str, Any] = {
        "grpc_port": 0,
        "admin_port": 0,
        "registry_address": "",
        "trading_address": mesh.server.address,
    }
    places["auth_address"] = mesh.server.settings.auth_address
    places["revocation_watch"] = False  # nobody is there to ask
    server = Server(service, GatewaySettings(**places, **PATIENT, drain_grace_s=1.0, shutdown_grace_s=1.0))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(params=[Holding, HoldingWriter], ids=["generators", "writers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[PingMesh]:
    async with ping_mesh(request.param(), **PATIENT) as mesh:
        yield mesh


@pytest.fixture(params=["directly", "through the gateway"])
async def address(request: pytest.FixtureRequest, mesh: PingMesh) -> AsyncIterator[str]:
    if request.param == "directly":
        yield mesh.server.address
        return
    async with forwarding_to(mesh) as server:
        yield server.address


def handled() -> dict[str, Counter[str]]:
    """Calls of each arity that have ended, by status."""
    counts = {name: SERVER.counts(policy_of(f"/{SERVICE}/{name}")).handled for name in ARITIES}
    return {name: Counter({code.name: number for code, number in one.items()}) for name, one in counts.items()}


def answered(before: Mapping[str, Counter[str]]) -> set[str]:
    """Statuses with which calls of every arity have ended since then."""
    return set.intersection(*(set(after - before[name]) for name, after in handled().items()))


def still_open() -> int:
    """Calls of all arities that have begun and not ended."""
    counts = [SERVER.counts(policy_of(f"/{SERVICE}/{name}")) for name in ARITIES]
    return sum(one.started - sum(one.handled.values()) for one in counts)


async def test_calls_whose_caller_is_gone_are_cancellations_and_nothing_is_logged_as_wrong(
    mesh: PingMesh, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    servicer: Any = mesh.servicer
    before = handled()
    program = [sys.executable, "-m", "tests.support.vanishing_caller", address, mesh.signer.token()]
    with capture_logs() as lines:
        caller = await asyncio.create_subprocess_exec(*program, cwd=ROOT)
        try:
            await eventually(lambda: servicer.held >= 90 * len(ARITIES) and answered(before) >= {"OK", "NOT_FOUND"}, 20)
            # It reads no more, so that answers and refusals are on their way when it goes.
            caller.send_signal(signal.SIGSTOP)
            servicer.released.set()
            await asyncio.sleep(0.5)
        finally:
            caller.kill()
            await caller.wait()
        await asyncio.sleep(0.3)
        await eventually(lambda: still_open() == 0, 10)
        gc.collect()
        await asyncio.sleep(0)
    codes = {name: dict(after - before[name]) for name, after in handled().items()}
    for name, of_arity in codes.items():
        assert of_arity.keys() == {"OK", "NOT_FOUND", "CANCELLED"}, (name, of_arity)
        assert of_arity["CANCELLED"] >= 80, name
    assert [record.getMessage() for record in caplog.records] == []
    assert [line for line in lines if line["log_level"] not in ("debug", "info")] == []


@pytest.mark.parametrize("name", ARITIES)
async def test_the_gateways_access_log_tells_the_status_that_the_service_gave(mesh: PingMesh, name: str) -> None:
    metadata = bearer(mesh.signer.token(scopes=()))
    async with forwarding_to(mesh) as server, grpc.aio.insecure_channel(server.address) as channel:
        gateway = PingMesh(mesh.auth, server, mesh.servicer, channel)
        with capture_logs() as lines:
            with pytest.raises(PermissionDenied):
                await gateway.call(name, metadata=metadata)
            await asyncio.sleep(0.1)
    path = f"/{SERVICE}/{name}"
    told = [line["code"] for line in lines if line["event"] == "call" and line["method"] == path]
    assert told == ["PERMISSION_DENIED"] * 2, "the service's line and the gateway's"
