"""A real gRPC service with every arity and both handler shapes, which answers as its requests tell it to.

Compiled from `ping.proto` on import; nothing of it is part of the platform's contract.
"""

import asyncio
import atexit
import importlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
from grpc_tools import protoc

from aac_grpc.client.errors import Draining, NotFound
from aac_grpc.common.call import current_call
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.servicer import Servicer

ROOT = Path(__file__).parents[2]


def compile_proto(name: str) -> tuple[Any, Any]:
    """Compiles a proto beside this file; returns its message and service modules."""
    out = tempfile.mkdtemp(prefix="aac-test-protos-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    folders = [Path(__file__).parent, ROOT / "proto", ROOT / "third_party" / "proto", files("grpc_tools") / "_proto"]
    includes = [f"-I{folder}" for folder in folders]
    if protoc.main(["protoc", *includes, f"--python_out={out}", f"--grpc_python_out={out}", f"{name}.proto"]):
        raise RuntimeError(f"{name}.proto does not compile")
    sys.path.insert(0, out)
    try:
        return importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")
    finally:
        sys.path.remove(out)


ping_pb2, ping_pb2_grpc = compile_proto("ping")
Request, Response, Item = ping_pb2.PingRequest, ping_pb2.PingResponse, ping_pb2.Item
SERVICE = "aac.testing.v1.PingService"
ARITIES = ("Unary", "ServerStream", "ClientStream", "Bidi")


class PingServicer(Servicer, ping_pb2_grpc.PingServiceServicer):
    """Streams as async generators.

    Attributes:
        calls: How many calls reached a handler.
        canceled: How many handlers were cancelled.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.canceled = 0
        self.metadata: list[dict[str, Any]] = []
        self.remaining: list[float | None] = []
        self.fail_next = 0
        self.ready = asyncio.Event()

    async def Unary(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context)

    async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        first = await self._answer(request, context)
        for number in range(max(1, request.count)):
            if request.act == "encoded":
                yield Encoded(Response(count=number).SerializeToString(), items=100)
            else:
                first.count = number
                yield first

    async def ClientStream(self, requests: AsyncIterator[Any], context: Any) -> Any:
        count = 0
        async for request in requests:
            await self._answer(request, context)
            count += 1
        return Response(count=count)

    async def Bidi(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        count = 0
        async for request in requests:
            response = await self._answer(request, context)
            count += 1
            response.count = count
            yield response

    Anonymous = Internal = Change = Batch = Unary
    InternalStream = ServerStream
    AuditedBidi = Bidi

    async def _answer(self, request: Any, context: Any) -> Any:
        """Does what `request.act` says."""
        self.calls += 1
        self.ready.set()
        call = current_call()
        self.metadata.append(call.metadata)
        self.remaining.append(call.time_remaining())
        try:
            await self._act(request, context)
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        return Response(text=call.principal.subject)

    async def _act(self, request: Any, context: Any) -> None:
        match request.act:
            case "fail":
                raise RuntimeError("the password is hunter2")
            case "missing":
                raise NotFound("thing", "x")
            case "terminate":
                asyncio.get_running_loop().call_soon(current_call().terminate, Draining())
            case "sleep":
                await asyncio.sleep(30)
            case "abort":
                await context.abort(grpc.StatusCode.DATA_LOSS, "its own words")
            case "flaky" if self.fail_next > 0:
                self.fail_next -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


class WritingPingServicer(PingServicer):
    """Streams as coroutines that read and write."""

    async def ServerStream(self, request: Any, context: Any) -> None:  # type: ignore[override]
        async for response in super().ServerStream(request, context):
            await context.write(response)

    async def ClientStream(self, requests: AsyncIterator[Any], context: Any) -> Any:
        count = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            await self._answer(request, context)
            count += 1
        return Response(count=count)

    async def Bidi(self, requests: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]
        count = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            response = await self._answer(request, context)
            count += 1
            response.count = count
            await context.write(response)

    InternalStream = ServerStream
    AuditedBidi = Bidi
