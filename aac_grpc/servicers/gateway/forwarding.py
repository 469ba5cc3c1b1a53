"""Forwards calls as bytes, one hop, each in its own arity.

Deadlines, metadata, trailers, status details, cancellation, half-close and flow control go through as they are. Nothing
is parsed and nothing is retried. A call that the service could not answer gets details; all other statuses keep theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING
from grpc import aio

from aac_grpc.client.cancellation import is_cancelled
from aac_grpc.client.errors import (
    DETAILS_KEY,
    PUSHBACK_KEY,
    AacError,
    DependencyUnavailable,
    UnknownOutcome,
    from_rpc_error,
    to_status,
)
from aac_grpc.client.writing import write
from aac_grpc.common.call import Call, current_call
from aac_grpc.common.interceptors.adapter import INVOCATION_METADATA
from aac_grpc.common.outliers import INSTANCE_KEY
from aac_grpc.common.streams.frames import encode, now_header
from aac_grpc.common.target import Target, was_sent
from aac_grpc.servicers.gateway.routes import Route

Metadata = tuple[tuple[str, str | bytes], ...]
Credentials = Callable[[Call, Route], Metadata | Awaitable[Metadata]]
"""What to send to a service in place of what the caller sent to prove itself; at once where it can be known at once."""

REQUEST_ID_KEY = "x-request-id"
API_KEY = "x-api-key"

# Hop by hop, gRPC's own, or ours to set. What begins with x-aac- tells who somebody is: nobody outside says that.
_DROPPED = frozenset({"te", "content-type", "user-agent", API_KEY, REQUEST_ID_KEY})
_DROPPED_PREFIXES = ("grpc-", ":", "x-aac-")


def passed_on(metadata: Any) -> Metadata:
    """What of a caller's metadata goes on to the service."""
    return tuple(
        [pair for pair in metadata or () if pair[0] not in _DROPPED and not pair[0].startswith(_DROPPED_PREFIXES)]
    )


def passed_back(metadata: Any) -> Metadata:
    """What of a service's metadata goes back to the caller; the request id is added by the base."""
    return tuple(
        [
            (key, value)
            for key, value in metadata
            if key != REQUEST_ID_KEY and (not key.startswith(("grpc-", ":")) or key in (DETAILS_KEY, PUSHBACK_KEY))
        ]
    )


class Pairs(aio.Metadata):
    """Metadata to hand on: in the order in which they came, and without the index of keys that costs 5 us a call."""

    def __init__(self, *pairs: tuple[str, str | bytes]) -> None:
        super().__init__()
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, str | bytes]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class Forwarder:
    """Forwards one method; its methods are handlers of the four arities."""

    def __init__(self, route: Route, target: Target, credentials: Credentials) -> None:
        """Prepares the method.

        Args:
            route: The method, and the service that answers it.
            target: That service.
            credentials: Makes the caller's proof for the service.
        """
        self._route = route
        self._credentials = credentials
        self._target = target
        self._call = target.callable(_arity(route), route.policy.path)

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of the method's own arity, in bytes."""
        make: Any = getattr(grpc, f"{_arity(self._route)}_rpc_method_handler")
        handler: grpc.RpcMethodHandler[Any, Any] = make(getattr(self, _arity(self._route)))
        return handler

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        """One message each way."""
        call = current_call()
        return await self._one_response(call, context, await self._begin(call, context, request))

    async def stream_unary(self, requests: Any, context: Any) -> bytes:
        """A stream to the service, one message back."""
        call = current_call()
        upstream = await self._begin(call, context)
        async with _beside(_pump(context, upstream)):
            return await self._one_response(call, context, upstream)

    async def unary_stream(self, request: bytes, context: Any) -> None:
        """One message to the service, a stream back."""
        call = current_call()
        await self._responses(call, context, await self._begin(call, context, request))

    async def stream_stream(self, requests: Any, context: Any) -> None:
        """Streams both ways."""
        call = current_call()
        upstream = await self._begin(call, context)
        async with _beside(_pump(context, upstream)):
            await self._responses(call, context, upstream)

    async def _begin(self, call: Call, context: Any, *request: bytes) -> Any:
        """The call to the service, with what the caller sent along and until when the caller waits."""
        proof = self._credentials(call, self._route)
        if not isinstance(proof, tuple):
            proof = await proof
        metadata = Pairs(*passed_on(INVOCATION_METADATA.get()), *proof, (REQUEST_ID_KEY, call.request_id))
        return self._call(*request, metadata=metadata, timeout=context.time_remaining())

    async def _one_response(self, call: Call, context: Any, upstream: Any) -> bytes:
        response: bytes | None
        try:
            try:
                response = await upstream
            except aio.AioRpcError:
                response = None
            if initial := passed_back(await upstream.initial_metadata()):
                await context.send_initial_metadata(initial)
            if response is None:
                await self._refuse(call, context, upstream)
            context.set_trailing_metadata((*passed_back(await upstream.trailing_metadata()), *call.trailers.items()))
        finally:
            if upstream.cancel():
                self._target.unanswered()
        assert response is not None
        return response

    async def _responses(self, call: Call, context: Any, upstream: Any) -> None:
        goodbye = _Goodbye(upstream)
        if self._route.drainable:
            call.on_drain(goodbye.say)
        # As early as the service sends it, not with the first message.
        early = asyncio.create_task(_initial(context, upstream))
        try:
            while (message := await goodbye.unless_said(upstream.read)) is not aio.EOF:
                if not early.done():
                    await early
                await context.write(message)
            await early
            trailing: Metadata = ()
            if goodbye.said:
                await context.write(encode(now_header(FRAME_KIND_DRAINING)))
            elif await upstream.code() is not grpc.StatusCode.OK:
                await self._refuse(call, context, upstream)
            else:
                trailing = passed_back(await upstream.trailing_metadata())
            context.set_trailing_metadata((*trailing, *call.trailers.items()))
        finally:
            upstream.cancel()
            # Its end, not its cancellation: a half-sent operation would keep the base from sending a status.
            await asyncio.wait({early})
            early.cancelled() or early.exception()

    async def _refuse(self, call: Call, context: Any, upstream: Any) -> None:
        """Ends the call as the service did; where it was gRPC that ended it, with details."""
        code, message = await upstream.code(), await upstream.details()
        trailing = passed_back(await upstream.trailing_metadata())
        self._target.failed(code, trailing)
        trailing = tuple(pair for pair in trailing if pair[0] != INSTANCE_KEY)
        if not any(key == DETAILS_KEY for key, _ in trailing):
            error = self._explain(code, message or "", trailing)
            code, message, details = to_status(error, call.request_id)
            trailing = (*trailing, *details)
        await context.abort(code, message, ((REQUEST_ID_KEY, call.request_id), *trailing))

    def _explain(self, code: grpc.StatusCode, message: str, trailing: Metadata) -> AacError:
        # gRPC on the service's side, where it has too much to do, ends calls as if we had cancelled them.
        if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return from_rpc_error(aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailing), details=message))
        if self._route.policy.idempotency == "IDEMPOTENT" and was_sent(message):
            return UnknownOutcome(f"{self._route.service} went away; a retry with the same client key is safe")
        return DependencyUnavailable(self._route.service)


def _arity(route: Route) -> str:
    sides = route.policy.client_streaming, route.policy.server_streaming
    return "_".join("stream" if streams else "unary" for streams in sides)


class _Goodbye:
    """The end that shutdown puts to a stream, between two messages of the service."""

    def __init__(self, upstream: Any) -> None:
        self._upstream = upstream
        self.said = False

    def say(self) -> None:
        """Ends the service's side; what it sent and was not passed on is had again by resuming."""
        self.said = True
        self._upstream.cancel()

    async def unless_said(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """The next message; EOF once the stream has ended, be it from here."""
        try:
            message = await read()
        except aio.AioRpcError:
            return aio.EOF
        except asyncio.CancelledError:
            if not self.said or is_cancelled():
                raise
            return aio.EOF
        return aio.EOF if self.said else message


async def _pump(context: Any, upstream: Any) -> None:
    """Passes the caller's messages and half-close on."""
    # A service that has ended the call takes no more: its status tells. A bad message ends the call by the base.
    with contextlib.suppress(asyncio.InvalidStateError, aio.AioRpcError, aio.UsageError, AacError):
        while (message := await context.read()) is not aio.EOF:
            await write(upstream, message)
        await upstream.done_writing()


async def _initial(context: Any, upstream: Any) -> None:
    await context.send_initial_metadata(passed_back(await upstream.initial_metadata()))


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> Any:
    """Runs work beside the block; ends it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
