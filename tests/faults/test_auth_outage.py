"""auth-service killed and frozen: what is audited waits for word on revocations, everything else goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aac.auth.v1 import auth_pb2
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import AacError, StaleRevocations, Unauthenticated, from_rpc_error
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server, Service
from aac_grpc.common.settings import ServiceSettings
from tests.faults.trading_process import CHECKOUT, free_port
from tests.integration.services import (
    ADMIN,
    DEMO,
    MESH_SECRET,
    Caller,
    auth_serving,
    new_installation,
    serving,
    sign_in,
)
from tests.support.mesh import eventually
from tests.support.ping import PingServicer, Request, ping_pb2_grpc

pytestmark = pytest.mark.timeout(180)

READS, AUDITED = "Unary", "Batch"


class AuthProcess:
    """auth-service as a process that can be killed; its address stays."""

    def __init__(self, installation: Mapping[str, Any]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen/python'}",
            "DATABASE_URL": installation["database_url"],
            "REDIS_URL": installation["redis_url"],
            "KAFKA_BOOTSTRAP_SERVERS": installation["kafka_bootstrap_servers"],
            "AAC_MESH_SECRET": MESH_SECRET,
            "AAC_SERVICE_SECRET": derive_service_secret(MESH_SECRET, "auth-service"),
            "AAC_REGISTRY_ADDRESS": "",
            "AAC_GRPC_PORT": self.address.rpartition(":")[2],
            "AAC_ADMIN_PORT": "0",
            "AAC_LOG_LEVEL": "warning",
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it and waits until it takes calls."""
        program = [sys.executable, "-m", "aac_grpc.cli.serve", "auth-service"]
        self._process = subprocess.Popen(program, env=self._environment, cwd=CHECKOUT)  # noqa: ASYNC220 needs no loop
        async with asyncio.timeout(120), grpc.aio.insecure_channel(self.address) as channel:
            ready = asyncio.ensure_future(channel.channel_ready())
            while not ready.done():
                assert self._process.poll() is None, "auth-service does not start"
                await asyncio.wait({ready}, timeout=0.2)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it, where it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Client:
    """Calls a service that has audited methods and others."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self._channel = grpc.aio.insecure_channel(server.address)
        self._stub = ping_pb2_grpc.PingServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def call(self, method: str) -> AacError | None:
        """The error of a call; None where it passes."""
        try:
            await getattr(self._stub, method)(Request(), metadata=self._metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        return None

    async def until(self, method: str, expected: type[AacError] | None) -> float:
        """Calls until the answer is as expected, and reads meanwhile; gives the seconds that it took."""
        began = time.monotonic()
        async with asyncio.timeout(60):
            while True:
                error = await self.call(method)
                if (type(error) if error is not None else None) is expected:
                    return time.monotonic() - began
                assert await self.call(READS) is None
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._channel.close()


@asynccontextmanager
async def followed_by_a_service(
    installation: Mapping[str, Any], addresses: str, issuer: str, **settings: Any
) -> AsyncIterator[Client]:
    """A service that follows auth-service at these addresses, and a user of it, who signed in at `issuer`."""
    service = Service(name="analytics", settings=ServiceSettings, build=lambda resources: [PingServicer()])
    free = {"rate_limits": {}, **settings}
    async with serving(service, installation, auth_address=addresses, **free) as server:
        client = Client(server, (await sign_in(issuer, *DEMO)).tokens.access_token)
        try:
            await client.until(AUDITED, None)
            yield client
        finally:
            await client.close()


@pytest.fixture
async def auth(backends: Mapping[str, str]) -> AsyncIterator[tuple[AuthProcess, Server, dict[str, Any]]]:
    """A process that the test may kill, another instance in this process, and the installation of both."""
    async with new_installation(backends) as installation, auth_serving(installation) as other:
        process = AuthProcess(installation)
        try:
            await process.start()
            yield process, other, installation
        finally:
            process.kill()


async def test_while_the_only_auth_service_is_dead_audited_calls_are_refused_and_reads_go_on(
    auth: tuple[AuthProcess, Server, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """After its return they pass again, and what was revoked elsewhere meanwhile is known."""
    process, other, installation = auth
    async with followed_by_a_service(installation, process.address, other.address) as client:
        process.kill()
        refused_after = await client.until(AUDITED, StaleRevocations)
        for _ in range(20):
            assert await client.call(READS) is None
        revoked = (await sign_in(other.address, *DEMO)).tokens.access_token
        caller = Caller(AuthServiceStub, other.address, token=revoked)
        await caller.Logout(auth_pb2.LogoutRequest())
        await caller.channel.close()
        began = time.monotonic()
        await process.start()
        started_s = time.monotonic() - began
        back_after = await client.until(AUDITED, None)
        thief = Client(client.server, revoked)
        await thief.until(READS, Unauthenticated) if await thief.call(READS) is None else None
        error = await thief.call(READS)
        await thief.close()
        assert error is not None
        assert error.reason == "REVOKED_TOKEN"
        with capsys.disabled():
            print(
                f"\nauth-service killed: audited calls refused after {refused_after:.2f} s; started again in"
                f" {started_s:.2f} s, audited calls passed {back_after:.2f} s later"
            )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_with_a_second_auth_service_no_audited_call_is_refused(
    auth: tuple[AuthProcess, Server, dict[str, Any]], number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    process, other, installation = auth
    both = f"{process.address},{other.address}"
    async with followed_by_a_service(installation, both, other.address) as client:
        known = client.server.resources.revocations
        process.signal(number)
        worst_s, calls, ends_at = 0.0, 0, time.monotonic() + 9
        while time.monotonic() < ends_at:
            worst_s, calls = max(worst_s, known.staleness_s), calls + 1
            assert await client.call(AUDITED) is None, f"stale for {known.staleness_s:.1f} s"
            await asyncio.sleep(0.02)
        before = len(known)
        admin = Caller(AuthServiceStub, other.address, token=(await sign_in(other.address, *ADMIN)).tokens.access_token)
        await admin.Logout(auth_pb2.LogoutRequest())
        await admin.channel.close()
        await eventually(lambda: len(known) == before + 1)
        with capsys.disabled():
            print(
                f"\none of two {number.name}: {calls} audited calls, none refused; at worst stale for {worst_s:.2f} s"
            )
