"""A gRPC service with odd habits in each arity, in bare bytes, and a gateway in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from aac.marketdata.v1 import marketdata_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio

from aac_grpc.client.errors import NotFound, to_status
from aac_grpc.common.contract import policy_of
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.gateway.forwarding import Credentials, Forwarder
from aac_grpc.servicers.gateway.routes import Route
from aac_grpc.servicers.gateway.settings import GatewaySettings

PACKAGE = "testing.odd.v1"
SERVICE = f"{PACKAGE}.OddService"
UNARY, WATCH, PUSH, CHAT, HEADED = (f"/{SERVICE}/{name}" for name in ("Unary", "Watch", "Push", "Chat", "Headed"))
SIDES = {UNARY: (False, False), WATCH: (False, True), PUSH: (True, False), CHAT: (True, True), HEADED: (False, True)}


def declare() -> None:
    """Puts the service's descriptor into the process's pool, once."""
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(SERVICE)
        return
    except KeyError:
        pass
    file = descriptor_pb2.FileDescriptorProto(
        name="testing/odd/v1/odd.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[BytesValue.DESCRIPTOR.file.name, marketdata_pb2.DESCRIPTOR.name],
    )
    service = file.service.add(name="OddService")
    for path, (client_streaming, server_streaming) in SIDES.items():
        output = ".aac.marketdata.v1.StreamResponse" if path == HEADED else ".google.protobuf.BytesValue"
        service.method.add(
            name=path.rpartition("/")[2],
            input_type=".google.protobuf.BytesValue",
            output_type=output,
            client_streaming=client_streaming,
            server_streaming=server_streaming,
        )
    pool.AddSerializedFile(file.SerializeToString())


class OddService:
    """Bytes in, bytes out.

    Attributes:
        seen: What happened, in words.
        metadata: Of the last call.
        written: Messages that Watch has written.
        began: Who began to sleep last.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.metadata: list[tuple[str, str | bytes]] = []
        self.deadline: float | None = None
        self.written = 0
        self.received = 0
        self.began = ""

    async def unary(self, request: bytes, context: Any) -> bytes:
        self._note(context)
        match request:
            case b"large":
                return bytes(5 << 20)
            case b"refuse":
                code, message, details = to_status(NotFound("thing", "x"), "there")
                await context.abort(code, message, (*details, ("x-trailer", "1"), ("x-trailer", "2")))
            case b"bare":
                await context.abort(grpc.StatusCode.DATA_LOSS, "nö €")
            case b"turn away":
                await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")  # as gRPC itself does under load
            case b"sleep":
                await self._sleep("unary")
        await context.send_initial_metadata((("x-initial", "1"),))
        context.set_trailing_metadata((("x-trailer", "ok"), ("x-bytes-bin", b"\0\xff")))
        return request

    async def watch(self, request: bytes, context: Any) -> None:
        self._note(context)
        await context.send_initial_metadata((("x-early", "1"),))
        if request == b"sleep":
            await self._sleep("watch")
        count, size = (int(part) for part in request.split())
        for _ in range(count):
            await context.write(b"x" * size)
            self.written += 1
        context.set_trailing_metadata((("x-trailer", "ok"),))

    async def push(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self._note(context)
        async for message in requests:
            self.received += 1
            if message == b"stop":
                return b"stopped"
            if message == b"refuse":
                await self._refuse(context, "z")
            if message == b"stand":
                await self._sleep("push")
        return b"%d" % self.received

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self._note(context)
        await context.send_initial_metadata((("x-early", "1"),))
        async for message in requests:
            match message:
                case b"refuse":
                    await self._refuse(context, "y")
                case b"stop":
                    return
                case b"sleep":
                    await self._sleep("chat")
            yield message
        yield b"after half-close"

    async def headed(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b""
        await self._sleep("headed")

    async def _refuse(self, context: Any, what: str) -> None:
        code, text, details = to_status(NotFound("thing", what), "there")
        await context.abort(code, text, details)

    async def _sleep(self, who: str) -> None:
        self.began = who
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.seen.append(f"{who} cancelled")
            raise

    def _note(self, context: Any) -> None:
        self.metadata = list(context.invocation_metadata())
        self.deadline = context.time_remaining()

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: Mapping[str, Callable[..., Any]] = {
            "Unary": self.unary, "Watch": self.watch, "Push": self.push, "Chat": self.chat, "Headed": self.headed,
        }  # fmt: skip
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: _handler(SIDES[f"/{SERVICE}/{name}"], method) for name, method in methods.items()}
        )


def _handler(sides: tuple[bool, bool], method: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    shape = "_".join("stream" if streams else "unary" for streams in sides)
    handler: grpc.RpcMethodHandler[Any, Any] = getattr(grpc, f"{shape}_rpc_method_handler")(method)
    return handler


class ForwardsAll(Servicer):
    """Forwards every method of the odd service."""

    def __init__(self, target: Any, credentials: Credentials) -> None:
        self._target = target
        self._credentials = credentials

    def forwards(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        routes = [Route(policy_of(path), "trading-engine", drainable=path == HEADED) for path in SIDES]
        return {route.policy.path: Forwarder(route, self._target, self._credentials).handler() for route in routes}


@asynccontextmanager
async def odd_backend(port: int = 0) -> AsyncIterator[tuple[OddService, aio.Server, str]]:
    """The odd service on a port."""
    declare()
    odd = OddService()
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = aio.server(options=[("grpc.so_reuseport", 0), *unlimited])
    server.add_generic_rpc_handlers((odd.handlers(),))
    address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield odd, server, address
    finally:
        await server.stop(None)


def gateway_for(address: str, credentials: Credentials | None = None, **settings: Any) -> Server:
    """A gateway that forwards the odd service's methods; it does not serve yet."""

    async def nothing(call: Any, route: Route) -> tuple[()]:
        return ()

    declare()
    service = Service(
        name="api-gateway",
        settings=GatewaySettings,
        build=lambda resources: [ForwardsAll(resources.channels.target("trading-engine"), credentials or nothing)],
    )
    places: dict[str, Any] = {"grpc_port": 0, "admin_port": 0, "registry_address": "", "trading_address": address}
    places["revocation_watch"] = False  # nobody is there to ask
    return Server(service, GatewaySettings(**{**places, "drain_grace_s": 1.0, "shutdown_grace_s": 1.0, **settings}))


@asynccontextmanager
async def gateway_to(address: str, credentials: Credentials | None = None, **settings: Any) -> AsyncIterator[Server]:
    """A gateway that forwards the odd service's methods."""
    server = gateway_for(address, credentials, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
