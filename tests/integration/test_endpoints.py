"""Calls follow the registry: who registers gets calls, and a registry that is away or forgetful takes nobody out."""

import asyncio
import json
import stat
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aac.registry.v1.registry_pb2 import ListInstancesRequest
from aac.registry.v1.registry_pb2_grpc import RegistryServiceStub

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common import endpoints
from aac_grpc.common.breaker import Breakers
from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.endpoints import read
from aac_grpc.common.server import Server
from aac_grpc.common.tasks import Tasks
from aac_grpc.registry import service as registry
from tests.integration.services import free_address
from tests.integration.services import serving as serving_on_backends
from tests.support.mesh import MESH_SECRET, AuthDouble, Signer, eventually, serving, settings
from tests.support.ping import PingServicer, Request, Response, ping_pb2_grpc

SERVICE = "trading-engine"
LEASE_S = 1.0
PATIENCE_S = 30.0


class Named(PingServicer):
    """Says which instance answered."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    async def Internal(self, request: Any, context: Any) -> Any:
        await super().Internal(request, context)
        return Response(text=self.name)


class Mesh:
    """A registry, instances that register with it, and processes that call them."""

    def __init__(self, installation: dict[str, Any], auth: Server) -> None:
        self._installation = installation
        self._auth = auth
        self._registry_port = int(free_address().rpartition(":")[2])

    @property
    def addresses(self) -> dict[str, Any]:
        return {"auth_address": self._auth.address, "registry_address": f"127.0.0.1:{self._registry_port}"}

    @asynccontextmanager
    async def registry(self, lease_s: float = LEASE_S) -> AsyncIterator[Server]:
        """The registry, at the same port each time."""
        async with serving_on_backends(
            registry,
            self._installation,
            mesh_secret=MESH_SECRET,
            grpc_port=self._registry_port,
            instance_lease_s=lease_s,
            registry_poll_s=0.05,
        ) as server:
            yield server

    @asynccontextmanager
    async def instance(self, name: str) -> AsyncIterator[Server]:
        async with serving(SERVICE, Named(name), **self.addresses) as server:
            yield server

    @asynccontextmanager
    async def caller(self, **changes: Any) -> AsyncIterator[Channels]:
        """A process's channels. What it is told of the service by its settings leads nowhere."""
        fixed = {**self.addresses, "trading_address": free_address(), "endpoints_hold_s": 2 * LEASE_S}
        channels = Channels("analytics", settings("analytics", **(fixed | changes)), SystemClock(), Breakers())
        tasks = Tasks()
        tasks.spawn(channels.follow, name="endpoints")
        try:
            yield channels
        finally:
            await tasks.stop()
            await channels.close()

    async def forget_all(self) -> None:
        """The registry loses what it knew."""
        async with await psycopg.AsyncConnection.connect(self._installation["database_url"]) as connection:
            await connection.execute("delete from registry.instances")


@pytest.fixture
async def mesh(installation: dict[str, Any]) -> AsyncIterator[Mesh]:
    async with serving("auth-service", AuthDouble(Signer())) as auth:
        mesh = Mesh(installation, auth)
        yield mesh
    await mesh.forget_all()


async def answers(channels: Channels, calls: int = 40) -> Counter[str]:
    stub: Any = channels.stub(ping_pb2_grpc.PingServiceStub, SERVICE)
    return Counter([(await stub.Internal(Request())).text for _ in range(calls)])


async def knows(channels: Channels, *servers: Server) -> None:
    """Waits until calls go to these instances, and all of them take calls."""
    expected = {server.address for server in servers}
    await eventually(lambda: set(channels.target(SERVICE).addresses) == expected, PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while len(await answers(channels, 10)) < len(expected):
            pass


async def test_calls_are_spread_evenly_and_follow_who_comes_and_goes(mesh: Mesh) -> None:
    async with mesh.registry(), mesh.instance("a") as a, mesh.caller() as channels, AsyncExitStack() as b_runs:
        await knows(channels, a)
        b = await b_runs.enter_async_context(mesh.instance("b"))
        await knows(channels, a, b)
        assert await answers(channels, 40) == {"a": 20, "b": 20}
        await b_runs.aclose()
        await knows(channels, a)
        assert await answers(channels) == {"a": 40}


class Calling:
    """Calls again and again, until the block ends.

    Attributes:
        answered: How many calls were.
        failures: What others failed with.
        seen: Sets of addresses that calls could go to.
    """

    def __init__(self, channels: Channels) -> None:
        self.answered = 0
        self.failures: list[Exception] = []
        self.seen: set[frozenset[str]] = set()
        self._channels = channels

    async def __aenter__(self) -> "Calling":
        self._task = asyncio.create_task(self._call())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _call(self) -> None:
        while True:
            try:
                await answers(self._channels, 1)
                self.answered += 1
            except Exception as error:
                self.failures.append(error)
            self.seen.add(frozenset(self._channels.target(SERVICE).addresses))
            await asyncio.sleep(0.01)


async def test_a_registry_that_is_away_loses_no_call_and_its_return_removes_nobody(mesh: Mesh) -> None:
    async with mesh.instance("a") as a, mesh.instance("b") as b, mesh.caller() as channels, AsyncExitStack() as ends:
        async with mesh.registry():
            await knows(channels, a, b)
            calling = await ends.enter_async_context(Calling(channels))
        await asyncio.sleep(2 * LEASE_S)
        await mesh.forget_all()
        async with mesh.registry():
            await asyncio.sleep(4 * LEASE_S)  # past the hold: by now everybody has registered again
            await knows(channels, a, b)
            assert not calling.failures
            assert calling.seen == {frozenset({a.address, b.address})}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_registry_that_is_away_for_sixty_leases_loses_no_call_and_then_removes_nobody_for_one(
    mesh: Mesh, tmp_path: Path
) -> None:
    """As ten minutes are to a lease of ten seconds. Who died meanwhile is named for one lease more, and no longer."""
    file = tmp_path / "endpoints.json"
    async with AsyncExitStack() as ends:
        a, b = [await ends.enter_async_context(mesh.instance(name)) for name in ("a", "b")]
        c_runs = await ends.enter_async_context(AsyncExitStack())
        channels = await ends.enter_async_context(mesh.caller(endpoints_file=file))
        async with mesh.registry():
            c = await c_runs.enter_async_context(mesh.instance("c"))
            everybody = {a.address, b.address, c.address}
            await knows(channels, a, b, c)
            await eventually(lambda: set(read(file).get(SERVICE, ())) == everybody, PATIENCE_S)
            calling = await ends.enter_async_context(Calling(channels))
        await asyncio.sleep(30 * LEASE_S)
        await c_runs.aclose()
        later = await ends.enter_async_context(mesh.caller(endpoints_file=file))
        calling_later = await ends.enter_async_context(Calling(later))
        await asyncio.sleep(30 * LEASE_S)
        long_lease_s = 12.0
        async with mesh.registry(lease_s=long_lease_s):
            registry_stub = channels.stub(RegistryServiceStub, "registry")
            begun, asked = time.monotonic(), 0
            while time.monotonic() - begun < long_lease_s / 2:
                await asyncio.sleep(0.1)
                try:
                    told = await registry_stub.ListInstances(ListInstancesRequest(service=SERVICE))
                except DependencyUnavailable:  # the connection waits up to two seconds before it is tried again
                    continue
                # An answer that a busy machine gives too late says nothing.
                if time.monotonic() - begun < long_lease_s * 2 / 3:
                    asked += 1
                    assert everybody <= {instance.address for instance in told.instances}
            assert asked
            await knows(channels, a, b)
            await knows(later, a, b)
        for one in (calling, calling_later):
            assert one.failures == []
            assert one.answered > 60
            assert one.seen <= {frozenset(everybody), frozenset({a.address, b.address})}


@pytest.mark.slow
async def test_who_is_gone_when_the_registry_returns_is_forgotten_after_a_while(mesh: Mesh) -> None:
    async with mesh.instance("a") as a, mesh.caller() as channels, AsyncExitStack() as b_runs:
        async with mesh.registry():
            b = await b_runs.enter_async_context(mesh.instance("b"))
            await knows(channels, a, b)
        await b_runs.aclose()
        await mesh.forget_all()
        assert set(channels.target(SERVICE).addresses) == {a.address, b.address}
        async with mesh.registry():
            await knows(channels, a)


async def test_a_process_that_starts_while_the_registry_is_away_knows_what_was_last_told(
    mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "state" / "endpoints.json"
    async with mesh.instance("a") as a, mesh.instance("b") as b:
        async with mesh.registry(), mesh.caller(endpoints_file=file) as channels:
            await knows(channels, a, b)
            await eventually(lambda: set(read(file).get(SERVICE, ())) == {a.address, b.address}, PATIENCE_S)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        async with mesh.caller(endpoints_file=file) as later:
            await knows(later, a, b)


async def test_without_a_registry_calls_go_where_the_settings_say(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "endpoints.json"
    file.write_text(json.dumps({"services": {SERVICE: [free_address()]}}))
    async with mesh.instance("a") as a:
        alone = {"registry_address": "", "trading_address": a.address}
        async with mesh.caller(endpoints_file=file, **alone) as channels:
            assert await answers(channels, 4) == {"a": 4}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"services": {"trading-engine": "here"}}', '{"services": {"trading-engine": ["x"]}}']
)
async def test_a_file_that_makes_no_sense_counts_as_none(mesh: Mesh, tmp_path: Path, text: str) -> None:
    file = tmp_path / "endpoints.json"
    file.write_text(text)
    async with mesh.instance("a") as a, mesh.caller(endpoints_file=file, trading_address=a.address) as channels:
        assert await answers(channels, 4) == {"a": 4}


async def test_an_instance_that_is_named_and_cannot_be_reached_gets_no_call(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "endpoints.json"
    async with mesh.instance("a") as a:
        file.write_text(json.dumps({"services": {SERVICE: [a.address, free_address()]}}))
        async with mesh.caller(endpoints_file=file) as channels:
            assert await answers(channels, 20) == {"a": 20}


async def test_instances_on_ipv6_and_ipv4_share_the_calls(mesh: Mesh) -> None:
    six = {**mesh.addresses, "grpc_host": "::1", "admin_host": "::1"}
    async with (
        mesh.registry(), mesh.instance("a") as a, serving(SERVICE, Named("b"), **six) as b, mesh.caller() as channels,
    ):  # fmt: skip
        assert b.address.startswith("[::1]:")
        assert b.admin_address.startswith("[::1]:")
        assert (
            await asyncio.to_thread(urllib.request.urlopen, f"http://{b.admin_address}/health", timeout=10)
        ).status == 200
        await knows(channels, a, b)
        assert await answers(channels, 20) == {"a": 10, "b": 10}


async def test_a_host_that_nobody_knows_yet_is_looked_up_again(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, port = asyncio.get_running_loop(), int(free_address().rpartition(":")[2])
    lookup, in_dns = loop.getaddrinfo, asyncio.Event()

    async def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host == "new.test" and not in_dns.is_set():
            raise OSError("not known")
        return await lookup("127.0.0.1" if host == "new.test" else host, *args, **options)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    monkeypatch.setattr(endpoints, "RESOLVE_AGAIN_S", 0.05)
    place = {**mesh.addresses, "grpc_port": port, "advertised_address": f"new.test:{port}"}
    async with mesh.registry(), serving(SERVICE, Named("a"), **place) as a, mesh.caller() as channels:
        await asyncio.sleep(1.0)
        assert channels.target(SERVICE).addresses != (a.address,)
        in_dns.set()
        await knows(channels, a)
