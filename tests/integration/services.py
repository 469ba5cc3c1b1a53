"""Services under test, each in this process on real backends, and callers of them."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
from aac.auth.v1.auth_pb2 import IssueServiceTokenRequest, LoginRequest, LoginResponse
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from aac.event.v1.event_pb2 import Event

from aac_grpc.client.errors import from_rpc_error
from aac_grpc.common.events import EventTail
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.server import Server, Service
from aac_grpc.servicers import analytics, auth, risk, trading
from aac_grpc.servicers import market_data as market_data_package

ADMIN = ("root", "correct horse battery")
DEMO = ("demo", "staple staple staple")
MESH_SECRET = secrets.token_hex(32)


@asynccontextmanager
async def serving(service: Service, installation: Mapping[str, Any], **settings: Any) -> AsyncIterator[Server]:
    """A service of an installation that takes calls."""
    secret = derive_service_secret(MESH_SECRET, service.name)
    place = {"grpc_port": 0, "admin_port": 0, "service_secret": secret, "shutdown_grace_s": 1.0}
    server = Server(service, service.settings(**{**installation, **place, **settings}))
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def new_installation(backends: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Settings of an installation with a database of its own."""
    name = f"test_{secrets.token_hex(4)}"
    url = backends["DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f'create database "{name}"'.encode())
        try:
            yield {
                "database_url": url.rpartition("/")[0] + f"/{name}",
                "redis_url": backends["REDIS_URL"],
                "kafka_bootstrap_servers": backends["KAFKA_BOOTSTRAP_SERVERS"],
                "mesh_secret": MESH_SECRET,
                "registry_address": "",
            }
        finally:
            await connection.execute(f'drop database "{name}" with (force)'.encode())


@asynccontextmanager
async def auth_serving(installation: Mapping[str, Any], **settings: Any) -> AsyncIterator[Server]:
    """auth-service with the first administrator and the demo user."""
    people = {
        "bootstrap_admin_username": ADMIN[0],
        "bootstrap_admin_password": ADMIN[1],
        "bootstrap_demo_username": DEMO[0],
        "bootstrap_demo_password": DEMO[1],
        # Tests sign in more often than people do.
        "rate_limits": {},
    }
    async with serving(auth.service, installation, **{**people, **settings}) as server:
        yield server


@asynccontextmanager
async def database_away(installation: Mapping[str, Any]) -> AsyncIterator[None]:
    """PostgreSQL closes all connections to the installation's database and takes no new ones."""
    url, _, name = installation["database_url"].rpartition("/")
    async with await psycopg.AsyncConnection.connect(f"{url}/postgres", autocommit=True) as connection:
        await connection.execute(f'alter database "{name}" allow_connections false'.encode())
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        try:
            yield
        finally:
            await connection.execute(f'alter database "{name}" allow_connections true'.encode())


def free_address() -> str:
    """An address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class Platform:
    """The services, each at its address."""

    auth: Server
    engine: Server
    market_data: Server
    risk: Server
    analytics: Server


@asynccontextmanager
async def platform_serving(installation: Mapping[str, Any]) -> AsyncIterator[Platform]:
    """All services but the gateway and the registry."""
    engine, market_data, risks, analysis = (free_address() for _ in range(4))
    async with AsyncExitStack() as stack:
        auth_server = await stack.enter_async_context(auth_serving(installation))
        addresses = {
            "auth_address": auth_server.address,
            "trading_address": engine,
            "market_data_address": market_data,
            "risk_address": risks,
            "rate_limits": {},
        }

        async def start(service: Service, address: str) -> Server:
            port = int(address.rpartition(":")[2])
            return await stack.enter_async_context(serving(service, {**installation, **addresses}, grpc_port=port))

        yield Platform(
            auth=auth_server,
            engine=await start(trading.service, engine),
            market_data=await start(market_data_package.service, market_data),
            risk=await start(risk.service, risks),
            analytics=await start(analytics.service, analysis),
        )


async def eventually(fact: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Waits until something is so.

    Raises:
        TimeoutError: It is not so in time.
    """
    async with asyncio.timeout(seconds):
        while not await fact():  # noqa: ASYNC110 what is waited for happens in another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def told(installation: Mapping[str, Any], topic: str) -> AsyncIterator[Callable[[str], Awaitable[Event]]]:
    """Gives a function that waits for the next event of a key on a topic, from now on."""
    tail = EventTail(installation["kafka_bootstrap_servers"], [topic])
    await tail.open()

    async def next_of(key: str) -> Event:
        async for batch in tail.batches():
            for event in map(Event.FromString, (received.value for received in batch)):
                if event.key == key:
                    return event
        raise AssertionError("the events have ended")

    try:
        yield lambda key: asyncio.wait_for(next_of(key), 15)
    finally:
        await tail.close()


async def service_token(server: Server, service: str) -> str:
    """A token of a service, from auth-service."""
    caller = Caller(AuthServiceStub, server.address)
    try:
        request = IssueServiceTokenRequest(service=service, secret=derive_service_secret(MESH_SECRET, service))
        token: str = (await caller.IssueServiceToken(request)).access_token
        return token
    finally:
        await caller.channel.close()


class Caller:
    """Somebody who calls a service. Its methods are the stub's; a failed call raises the error that it stands for."""

    def __init__(
        self, stub: Callable[[Any], Any], address: str, *, token: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self._stub = stub(self.channel)
        self._metadata = [*(metadata or {}).items(), *([("authorization", f"Bearer {token}")] if token else [])]

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        method = getattr(self._stub, name)

        async def call(request: Any) -> Any:
            try:
                return await method(request, metadata=self._metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from None

        return call

    def stream(self, name: str, request: Any) -> Any:
        """Opens a server stream."""
        return getattr(self._stub, name)(request, metadata=self._metadata, timeout=60)


async def sign_in(address: str, username: str, password: str) -> LoginResponse:
    """Signs a user in."""
    caller = Caller(AuthServiceStub, address)
    try:
        response: LoginResponse = await caller.Login(LoginRequest(username=username, password=password))
        return response
    finally:
        await caller.channel.close()


class Callers:
    """Callers of services, closed together."""

    def __init__(self) -> None:
        self._callers: list[Caller] = []

    def add(self, stub: Callable[[Any], Any], server: Server, **credential: Any) -> Caller:
        """A caller of a service."""
        caller = Caller(stub, server.address, **credential)
        self._callers.append(caller)
        return caller

    async def close(self) -> None:
        """Closes their channels."""
        for caller in self._callers:
            await caller.channel.close()
