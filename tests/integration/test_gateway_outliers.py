"""Whom the gateway leaves out: an instance that fails by itself; never one whose caller asks for what there is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from aac_grpc.common.contract import policy_of
from aac_grpc.common.outliers import INSTANCE_KEY
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.servicers.gateway.forwarding import Forwarder
from aac_grpc.servicers.gateway.routes import Route
from tests.support.mesh import AuthDouble, Signer, bearer, serving, settings
from tests.support.ping import SERVICE, PingServicer, Request, Response

BACKEND = "trading-engine"
UNARY = f"/{SERVICE}/Unary"


class Forwards(Servicer):
    """A gateway's servicer that forwards one method."""

    def __init__(self) -> None:
        self.forwarder: Forwarder

    def forwards(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        return {UNARY: self.forwarder.handler()}


class Instance(PingServicer):
    """Fails every call while it is told to."""

    failing = False

    async def Unary(self, request: Any, context: Any) -> Any:
        if self.failing:
            self.calls += 1
            raise RuntimeError("a bug")
        return await super().Unary(request, context)


@dataclass
class Scene:
    """A gateway before two instances.

    Attributes:
        first: Servicer of an instance.
        second: Of the other one.
        call: Makes a call through the gateway, as a user.
    """

    first: Instance
    second: Instance
    call: Any

    async def shares(self, calls: int) -> tuple[int, int]:
        """How many of so many good calls each instance gets."""
        before = self.first.calls, self.second.calls
        for _ in range(calls):
            await self.call(Request(), "user-2")
        return self.first.calls - before[0], self.second.calls - before[1]


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    signer, first, second, servicer = Signer(), Instance(), Instance(), Forwards()
    async with serving("auth-service", AuthDouble(signer)) as auth:
        common: dict[str, Any] = {"auth_address": auth.address, "rate_limits": {}}
        async with (
            serving(BACKEND, first, **common) as one,
            serving("market-data", second, **common) as other,
            gateway(servicer, trading_address=f"{one.address},{other.address}", **common) as address,
            aio.insecure_channel(address) as channel,
        ):
            unary = channel.unary_unary(UNARY, Request.SerializeToString, Response.FromString)
            tokens = {name: bearer(signer.token(name)) for name in ("user-1", "user-2")}

            async def call(request: Any, user: str) -> Any:
                return await unary(request, metadata=tokens[user], timeout=10)

            found = Scene(first, second, call)
            async with asyncio.timeout(30):
                while not (first.calls and second.calls):
                    await call(Request(), "user-2")
            yield found


@asynccontextmanager
async def gateway(servicer: Forwards, **changes: Any) -> AsyncIterator[str]:
    """A process that forwards; its address."""

    def build(resources: Any) -> list[Servicer]:
        route = Route(policy_of(UNARY), BACKEND, drainable=False)
        servicer.forwarder = Forwarder(route, resources.channels.target(BACKEND), lambda call, route: ())
        return [servicer]

    server = Server(Service("api-gateway", ServiceSettings, build), settings("api-gateway", **changes))
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop()


async def test_one_users_errors_cost_no_instance_the_calls_of_others() -> None:
    async with scene() as mesh:
        for _ in range(6):
            errors = await asyncio.gather(
                *(mesh.call(Request(act="missing"), "user-1") for _ in range(40)), return_exceptions=True
            )
            assert {error.code() for error in errors} == {grpc.StatusCode.NOT_FOUND}
            assert await mesh.shares(4) == (2, 2)
            await asyncio.sleep(0.4)


async def test_an_instance_that_fails_by_itself_gets_no_calls_and_the_caller_is_not_told_which() -> None:
    async with scene() as mesh:
        mesh.first.failing = True
        failures = []
        async with asyncio.timeout(30):
            while True:
                calls = (mesh.call(Request(), "user-1") for _ in range(20))
                ended = await asyncio.gather(*calls, return_exceptions=True)
                failed = [one for one in ended if isinstance(one, aio.AioRpcError)]
                failures += failed
                if not failed:
                    break
        assert {error.code() for error in failures} == {grpc.StatusCode.INTERNAL}
        assert not any(INSTANCE_KEY in dict(error.trailing_metadata()) for error in failures)
        mesh.first.failing = False
        async with asyncio.timeout(30):
            while 0 in await mesh.shares(20):
                pass
