"""Several workers of a stateless service behind one port."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import psutil
import pytest
from aac.registry.v1 import registry_pb2_grpc
from aac.registry.v1.registry_pb2 import DeregisterResponse, HeartbeatResponse, RegisterResponse

from aac_grpc.common.server import Server, Service, server_options
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.workers import Worker, reserve
from tests.integration.worker_service import NAME
from tests.support.mesh import settings
from tests.support.ping import ROOT, Request, ping_pb2_grpc

PATIENCE_S = 60.0


@asynccontextmanager
async def service(**changes: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The service in processes of its own, and its address; nothing of it is left afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_RATE_LIMITS": "{}",
        "AAC_WORKERS": "2",
        "AAC_DRAIN_GRACE_S": "1",
        "AAC_SHUTDOWN_GRACE_S": "1",
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.worker_service", cwd=ROOT, env=environment
    )
    children: list[psutil.Process] = []
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children()
        if process.returncode is None:
            process.kill()
        await process.wait()
        await until(lambda: gone(children))


async def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of the processes runs any more."""
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


async def until(fact: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await fact():  # noqa: ASYNC110 what is waited for happens in another process
            await asyncio.sleep(0.05)


async def ask(address: str) -> int:
    """Calls on a connection of its own; returns the process id of who answered."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 300),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        response = await ping_pb2_grpc.PingServiceStub(channel).Anonymous(Request(), timeout=30, wait_for_ready=True)
    return int(response.count)


async def who_answers(address: str, calls: int = 24) -> set[int]:
    """Who answers calls on so many connections."""
    return set(await asyncio.gather(*(ask(address) for _ in range(calls))))


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    """Notes who registers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    async def Register(self, request: Any, context: Any) -> RegisterResponse:
        self.seen.append((request.instance.instance_id, request.instance.address, request.instance.workers))
        response = RegisterResponse()
        response.lease.FromSeconds(3)
        return response

    async def Heartbeat(self, request: Any, context: Any) -> HeartbeatResponse:
        return HeartbeatResponse(known=True)

    async def Deregister(self, request: Any, context: Any) -> DeregisterResponse:
        return DeregisterResponse()

    async def ListInstances(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def WatchInstances(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@asynccontextmanager
async def registry() -> AsyncIterator[tuple[Registry, str]]:
    """A registry that notes, and its address."""
    servicer, server = Registry(), grpc.aio.server()
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_workers_share_calls_and_one_lease_and_one_that_dies_is_replaced() -> None:
    async with (
        registry() as (known, registry_address),
        service(AAC_REGISTRY_ADDRESS=registry_address, AAC_INSTANCE_ID="twins") as (parent, address),
    ):

        async def two() -> bool:
            return len(await who_answers(address)) == 2

        await until(two)
        first = await who_answers(address, 48)
        assert parent.pid not in first
        assert all(psutil.Process(pid).ppid() == parent.pid for pid in first)
        assert psutil.Process(parent.pid).num_threads() == 1  # as it forks
        os.kill(min(first), signal.SIGKILL)
        # Calls on new connections go on with the one that is left, then with its new colleague as well.
        assert max(first) in await who_answers(address)
        await until(two)
        assert min(first) not in await who_answers(address)
        parent.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(parent.wait(), PATIENCE_S) == 0
        assert not psutil.pid_exists(max(first))
        # The registry takes an address away from its former holder: the second worker must not claim it too.
        assert set(known.seen) == {("twins-w1", address, 2)}


async def test_workers_do_not_outlive_a_parent_that_is_killed() -> None:
    async with service() as (parent, address):
        workers = [psutil.Process(pid) for pid in await who_answers(address)]
        parent.kill()
        await parent.wait()
        await until(lambda: gone(workers))


async def test_one_server_alone_shares_its_port_with_nobody() -> None:
    async with service(AAC_WORKERS="1") as (process, address):
        assert await who_answers(address) == {process.pid}
        host, port = address.split(":")
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                stranger.bind((host, int(port)))
        async with service(AAC_GRPC_PORT=port, AAC_WORKERS="1") as (second, _):
            assert await asyncio.wait_for(second.wait(), PATIENCE_S) != 0


async def test_workers_do_not_start_on_a_port_that_somebody_has_even_one_who_would_share_it() -> None:
    options = [("grpc.so_reuseport", 1)]
    stranger = grpc.aio.server(options=options)
    port = stranger.add_insecure_port("127.0.0.1:0")
    await stranger.start()
    try:
        with pytest.raises(OSError, match="in use"):
            reserve("127.0.0.1", port)
        async with service(AAC_GRPC_PORT=str(port)) as (parent, _):
            assert await asyncio.wait_for(parent.wait(), PATIENCE_S) != 0
    finally:
        await stranger.stop(None)


async def test_a_reserved_port_is_for_our_workers_and_nobody_is_connected_to_who_holds_it() -> None:
    with reserve("127.0.0.1", 0) as holder:
        host, port = holder.getsockname()
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((host, port))
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect((host, port))
        workers = [grpc.aio.server(options=server_options(settings(NAME), shares_port=True)) for _ in range(2)]
        assert [worker.add_insecure_port(f"{host}:{port}") for worker in workers] == [port, port]
        for worker in workers:
            await worker.stop(None)


async def test_a_service_that_holds_state_refuses_workers() -> None:
    engine = Service("trading-engine", ServiceSettings, lambda resources: [])
    with pytest.raises(ValueError, match="trading-engine can't have several workers"):
        Server(engine, settings("trading-engine", workers=2))


async def test_the_first_worker_speaks_for_all_at_the_registry_and_on_the_admin_port() -> None:
    given = settings(NAME, workers=2, admin_port=4711, instance_id="one")
    first, second = (Worker(number, 2, os.getppid(), 4712, f"one-w{number}").settings(given) for number in (1, 2))
    assert (first.grpc_port, first.admin_port, first.instance_id) == (4712, 4711, "one-w1")
    assert (second.grpc_port, second.admin_port, second.instance_id) == (4712, 0, "one-w2")
