"""One adapter around handlers of all four arities and both shapes (async generators, and coroutines that write).

It takes bytes and gives bytes: gRPC would answer garbage and oversize messages without details. A method's hooks are
composed once, when the server starts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from aac_grpc.client.errors import AacError, Malformed, MessageTooLarge, UnknownMethod, to_status
from aac_grpc.common.call import CURRENT, Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.expiry import Expiry
from aac_grpc.common.interceptors.drain import OpenStreams
from aac_grpc.common.interceptors.gone import await_cancellation, is_over
from aac_grpc.common.interceptors.half_open import HalfOpenCalls
from aac_grpc.common.interceptors.hooks import Hooks
from aac_grpc.common.interceptors.recovery import canceled, recover
from aac_grpc.common.outliers import FAULTS, INSTANCE_KEY, tag_of
from aac_grpc.common.request_ids import request_id_of

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

INVOCATION_METADATA: ContextVar[Sequence[tuple[str, Any]]] = ContextVar("aac_invocation_metadata", default=())
"""Set where gRPC asks for a call's handler, in the task that serves the call. Its context would decode them again."""

_log = structlog.get_logger("adapter")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HANDLERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


@dataclass(frozen=True, slots=True)
class Serving:
    """What all methods of a server share."""

    expiry: Expiry
    streams: OpenStreams
    half_open: HalfOpenCalls
    max_message_bytes: int
    instance: Callable[[], str]
    """host:port that this process is reached at."""


class MethodAdapter:
    """Serves one method: hooks around its handler, bytes in and out."""

    def __init__(
        self, policy: MethodPolicy, handler: Handler, hooks: Hooks, serving: Serving, *, forwards: bool = False
    ) -> None:
        """Makes the adapter of a method.

        Args:
            policy: What the contract says about it.
            handler: As generated code registers it.
            hooks: Of its interceptors.
            serving: What all methods share.
            forwards: The handler sets status and trailers itself.
        """
        self._policy = policy
        self._hooks = hooks
        self._expiry = serving.expiry
        self._streams = serving.streams
        self._half_open = serving.half_open
        self._limit = serving.max_message_bytes
        self._instance = serving.instance
        self._forwards = forwards
        self._handler: Callable[[Any, Any], Any] = next(
            shape
            for shape in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
            if shape is not None
        )
        self._load: Callable[[bytes], Any] = handler.request_deserializer or bytes
        self._dump: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._requests_stream = handler.request_streaming
        self._respond = self._respond_with_stream if handler.response_streaming else self._respond_with_one
        self._unary = not handler.request_streaming and not handler.response_streaming
        self._clock = asyncio.get_running_loop().time

    async def serve(self, request: Any, context: Context) -> bytes | None:
        """Serves one call; what gRPC calls."""
        task = self._half_open.complete()
        metadata = dict(INVOCATION_METADATA.get())
        call = Call(self._policy, context, metadata, request_id_of(metadata), self._clock(), self._expiry, task)
        CURRENT.set(call)
        entered = 0
        response: bytes | None = None
        try:
            for hook in self._hooks.starts:
                if (wait := hook(call)) is not None:
                    await wait
                entered += 1
            response = await self._handle(call, request, context)
            if self._forwards:
                self._take_over_status(call)
        except grpc.aio.AbortError:
            # The handler has given its own status already, as a forwarder does.
            self._take_over_status(call)
            raise
        except asyncio.CancelledError:
            call.error = call.interruption()
            if call.error is None and (call.canceled or is_over(context)):
                call.code = canceled(call)
                raise
            # A cancellation that nobody asked for would leave the caller without a status.
            call.error = call.error or recover(call, RuntimeError("the handler cancelled itself"))
        except Exception as failure:
            call.error = call.interruption() or recover(call, failure)
        finally:
            call.finish()
            if call.error is not None:
                call.code = call.error.code
            self._end(call, entered)
        if call.error is not None:
            await self._refuse(call, call.error)
        if not self._forwards:
            context.set_trailing_metadata(tuple(call.trailers.items()))
        return response

    async def _handle(self, call: Call, request: Any, context: Context) -> bytes | None:
        try:
            if self._unary:
                # The common call: in this one coroutine, since each costs several microseconds among real calls.
                message = self._parse(call, request)
                for hook in self._hooks.requests:
                    if (wait := hook(call, message)) is not None:
                        await wait
                return self._give(call, await self._handler(message, context))
            with self._streams.track(call):
                return await self._respond(call, request, context)
        except grpc.aio.InternalError:
            await await_cancellation(context)
            raise

    def _take_over_status(self, call: Call) -> None:
        code: Any = call.context.code() or 0  # a number, or what `abort` was given
        call.code = code if isinstance(code, grpc.StatusCode) else _CODES[code]

    async def _respond_with_one(self, call: Call, request: Any, context: Context) -> bytes:
        return self._give(call, await self._handler(self._messages(call, request), StreamContext(self, call)))

    async def _respond_with_stream(self, call: Call, request: Any, context: Context) -> None:
        taken = self._messages(call, request) if self._requests_stream else await self._take(call, request)
        handling = self._handler(taken, StreamContext(self, call))
        if not hasattr(handling, "__aiter__"):
            await handling
            return
        async with aclosing(handling):
            async for response in handling:
                await self.send(call, response)

    async def _messages(self, call: Call, raw_messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raw_messages:
            yield await self.receive(call, raw)

    async def receive(self, call: Call, raw: bytes) -> Any:
        """Takes one message of a stream; a bad one ends the call whatever the handler makes of the exception."""
        try:
            return await self._take(call, raw)
        except AacError as error:
            call.terminate(error)
            raise

    async def send(self, call: Call, response: Any) -> None:
        """Writes one message of a stream."""
        data = self._give(call, response)
        call.writing = True
        try:
            await call.context.write(data)
        finally:
            call.writing = False
        if call.expired:
            raise asyncio.CancelledError

    async def _take(self, call: Call, raw: bytes) -> Any:
        message = self._parse(call, raw)
        for hook in self._hooks.requests:
            if (wait := hook(call, message)) is not None:
                await wait
        return message

    def _parse(self, call: Call, raw: bytes) -> Any:
        if len(raw) > self._limit:
            raise MessageTooLarge(len(raw), self._limit)
        try:
            message = self._load(raw)
        except DecodeError:
            raise Malformed from None
        call.received += 1
        call.request = raw
        return message

    def _give(self, call: Call, response: Any) -> bytes:
        if type(response) is Encoded:
            data, items = response.data, response.items
        else:
            data, items = self._dump(response), 1
        call.sent += 1
        for hook in self._hooks.responses:
            hook(call, items)
        return data

    def _end(self, call: Call, entered: int) -> None:
        for hook in self._hooks.ends[entered]:
            try:
                hook(call)
            except Exception as failure:
                _log.error("end hook failed", method=self._policy.path, exc_info=failure)

    async def _refuse(self, call: Call, error: AacError) -> None:
        code, message, details = to_status(error, call.request_id)
        try:
            own = ((INSTANCE_KEY, tag_of(self._instance())),) if code in FAULTS else ()
            await call.context.abort(code, message, (*call.trailers.items(), *own, *details))
        except (grpc.aio.InternalError, grpc.aio.UsageError):
            # The caller has gone, or has its status already: an interrupted handler was about to give it.
            raise asyncio.CancelledError from None


class StreamContext:
    """What handlers of streams see: `read` and `write` run the hooks and take and give messages."""

    def __init__(self, adapter: MethodAdapter, call: Call) -> None:
        self._adapter = adapter
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call.context, name)

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`."""
        raw: Any = await self._call.context.read()
        return raw if raw is grpc.aio.EOF else await self._adapter.receive(self._call, raw)

    async def write(self, response: Any) -> None:
        """Sends one message."""
        await self._adapter.send(self._call, response)


def adapt(adapter: MethodAdapter, handler: Handler) -> Handler:
    """The handler that gRPC gets in place of a method's own."""
    return _HANDLERS[handler.request_streaming, handler.response_streaming](adapter.serve, None, None)


def unknown_method(path: str) -> Handler:
    """The handler for a path that is not served here; it fits calls of all arities."""

    async def refuse(_: Any, context: Context) -> None:
        request_id = request_id_of(dict(context.invocation_metadata() or ()))
        code, message, details = to_status(UnknownMethod(path), request_id)
        await context.abort(code, message, (("x-request-id", request_id), *details))

    return grpc.stream_stream_rpc_method_handler(refuse, None, None)
