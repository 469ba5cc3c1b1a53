"""Callables that generated stubs get instead of a bare channel's: all four arities, one way of failing."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import structlog

from aac_grpc.client.errors import AacError, DependencyUnavailable, UnknownOutcome, from_rpc_error
from aac_grpc.client.retry import RetryPolicy, is_retryable
from aac_grpc.client.writing import write
from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breaker, Breakers
from aac_grpc.common.call import find_call
from aac_grpc.common.contract import MethodPolicy, policy_of
from aac_grpc.common.interceptors.metrics import grpc_type
from aac_grpc.common.settings import ServiceSettings

if TYPE_CHECKING:
    from aac_grpc.common.channel import Target

Metadata = tuple[tuple[str, str], ...]


class Identity(Protocol):
    """Proves who this process is."""

    async def metadata(self, service: str) -> Metadata:
        """What a service takes for proof."""

    def refused(self) -> None:
        """A service did not take it."""


_log = structlog.get_logger("outgoing")
_Code = grpc.StatusCode

FAILURES = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.INTERNAL, _Code.UNKNOWN, _Code.DATA_LOSS})
"""What counts against a target: it could not do its part. Anything else is an answer."""
NOT_THE_CALLERS = frozenset({_Code.UNAUTHENTICATED, _Code.UNIMPLEMENTED, _Code.UNKNOWN, _Code.CANCELLED})
"""What a target says about this process, not about what its own caller asked for."""
RETRY = RetryPolicy(attempt_timeout_s=0.8, first_backoff_s=0.02, longest_backoff_s=0.25, max_attempts=4)
DOWNSTREAM_MARGIN = 0.05
"""Share of the remaining time that a call downstream must leave for the answer."""


class StubChannel:
    """What a generated stub takes for a channel."""

    def __init__(self, target: "Target", settings: ServiceSettings, breakers: Breakers, identity: Identity) -> None:
        self._target = target
        self._settings = settings
        self._breakers = breakers
        self._identity = identity

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> "UnaryMethod":
        """A method that takes and gives one message."""
        return UnaryMethod(self._method("unary_unary", path, request_serializer, response_deserializer))

    def stream_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> "UnaryMethod":
        """A method that takes a stream and gives one message."""
        return UnaryMethod(self._method("stream_unary", path, request_serializer, response_deserializer))

    def unary_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> "StreamMethod":
        """A method that takes one message and gives a stream."""
        return StreamMethod(self._method("unary_stream", path, request_serializer, response_deserializer))

    def stream_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> "StreamMethod":
        """A method that takes and gives a stream."""
        return StreamMethod(self._method("stream_stream", path, request_serializer, response_deserializer))

    def _method(self, arity: str, path: str, serializer: Any, deserializer: Any) -> "Method":
        policy = policy_of(path)
        breaker = self._breakers.get(f"{self._target.service}/{policy.name}")
        timeout = self._settings.timeout(policy.timeout_class)
        return Method(policy, arity, self._target, serializer, deserializer, breaker, timeout, self._identity)


class Method:
    """What calls of one method have in common, whatever its arity."""

    def __init__(
        self,
        policy: MethodPolicy,
        arity: str,
        target: "Target",
        serializer: Any,
        deserializer: Any,
        breaker: Breaker,
        timeout: float | None,
        identity: Identity,
    ) -> None:
        self.policy = policy
        self.breaker = breaker
        self._arity = arity
        self._target = target
        self._codecs = (serializer, deserializer)
        self._timeout = timeout
        self._identity = identity
        self._generation = -1
        self._callable: Any = None
        self._labels = (grpc_type(policy), policy.service, policy.name)

    @property
    def callable(self) -> Any:
        """gRPC's own callable, on the target's present channel."""
        if self._generation != self._target.generation:
            self._callable = getattr(self._target.channel, self._arity)(self.policy.path, *self._codecs)
            self._generation = self._target.generation
        return self._callable

    def budget(self, timeout: float | None) -> float | None:
        """Seconds that the call may take in all; None without a limit."""
        own = timeout if timeout is not None else self._timeout
        call = find_call()
        remaining = call.time_remaining() if call is not None else None
        if remaining is None:
            return own
        remaining *= 1 - DOWNSTREAM_MARGIN
        return remaining if own is None else min(own, remaining)

    async def metadata(self, given: Sequence[tuple[str, str]] | None) -> Metadata:
        """Identity and request id, beside what the caller gives."""
        call = find_call()
        identity = await self._identity.metadata(self._target.service) if self.policy.authenticated else ()
        traced = (("x-request-id", call.request_id),) if call is not None else ()
        return (*identity, *traced, *(given or ()))

    def answered(self) -> None:
        """The target did its part."""
        self.breaker.succeeded()
        metrics.CLIENT_HANDLED.labels(*self._labels, "OK").inc()

    def failure(self, raised: grpc.RpcError, allowed_s: float | None = None) -> AacError:
        """Counts a failed call and says what it means to this service.

        Args:
            raised: gRPC's error.
            allowed_s: What the attempt was given; a deadline that was hopelessly short says nothing about the target.
        """
        error = from_rpc_error(raised)
        metrics.CLIENT_HANDLED.labels(*self._labels, error.code.name).inc()
        if error.code is _Code.DEADLINE_EXCEEDED and allowed_s is not None and allowed_s < 0.1:
            self.breaker.abandoned()
        elif error.code in FAILURES:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        if error.code is _Code.UNAUTHENTICATED:
            self._identity.refused()
        return error

    def translate(self, error: AacError) -> AacError:
        """The error that the calling code gets: faults between the two services are not the fault of its caller."""
        if isinstance(error, UnknownOutcome):
            return error
        if error.code is _Code.UNAUTHENTICATED and not self.policy.authenticated:
            return error  # about a credential in the request itself
        if error.code is _Code.UNAVAILABLE or error.code in NOT_THE_CALLERS:
            _log.warning("call to another service failed", target=self.policy.path, error=str(error))
            return DependencyUnavailable(self._target.service, retry_after=error.retry_after)
        return error


class UnaryMethod:
    """Calls a method that gives one message: `response = await stub.Method(request, timeout=2.0)`."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._repeatable = method.policy.idempotent and not method.policy.client_streaming

    async def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] | None = None
    ) -> Any:
        """Makes the call, again where the contract allows it and there is time.

        Raises:
            AacError: See `Channels`.
        """
        method = self._method
        clock = asyncio.get_running_loop().time
        budget = method.budget(timeout)
        ends = float("inf") if budget is None else clock() + budget
        failures = 0
        while True:
            method.breaker.check()
            try:
                return await self._attempt(request, max(0.0, ends - clock()), metadata)
            except AacError as error:
                failures += 1
                pause = RETRY.pause(failures, error, random.random())  # noqa: S311 no secret
                repeatable = self._repeatable and is_retryable(error)
                # A token may have outlived its key. The next attempt gets a new one; nothing was done yet.
                repeatable |= error.code is _Code.UNAUTHENTICATED and failures == 1
                if not repeatable or failures >= RETRY.max_attempts or clock() + pause >= ends:
                    raise method.translate(error) from error
            metrics.CLIENT_RETRIES.labels(method.policy.service, method.policy.name).inc()
            await asyncio.sleep(pause)

    async def _attempt(self, request: Any, remaining: float, given: Sequence[tuple[str, str]] | None) -> Any:
        method = self._method
        limit = RETRY.attempt_timeout(remaining) if method.policy.idempotent else remaining
        allowed = None if limit == float("inf") else limit
        try:
            metadata = await method.metadata(given)
            response = await method.callable(request, timeout=allowed, metadata=metadata)
        except grpc.RpcError as raised:
            raise method.failure(raised, allowed) from raised
        except BaseException:
            method.breaker.abandoned()
            raise
        method.answered()
        return response


class StreamMethod:
    """Calls a method that gives a stream: `async for response in stub.Method(request)`."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> "OutgoingStream":
        """A stream that begins with its first read or write.

        Args:
            request: The request; an iterator of requests where the method takes a stream, or None to `write` them.
            timeout: Seconds for the whole stream; none as a rule.
            metadata: Beside identity and request id.
        """
        return OutgoingStream(self._method, request, timeout, metadata)


class OutgoingStream:
    """One stream to another service. It is not retried: the reader resumes where it stood."""

    def __init__(
        self, method: Method, request: Any, timeout: float | None, metadata: Sequence[tuple[str, str]] | None
    ) -> None:
        self._method = method
        self._request = request
        self._timeout = timeout
        self._metadata = metadata
        self._opening = asyncio.Lock()
        self._call: Any = None
        self._judged = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF` at the good end.

        Raises:
            AacError: The stream failed.
        """
        call = await self._opened()
        try:
            message = await call.read()
        except grpc.RpcError as raised:
            raise self._failed(raised) from raised
        except BaseException:
            self.cancel()
            raise
        self._answered()
        return message

    async def write(self, request: Any) -> None:
        """Sends one message.

        Raises:
            AacError: The stream has ended.
        """
        call = await self._opened()
        try:
            await write(call, request)
        except asyncio.InvalidStateError:
            raise self._failed(await _status_of(call)) from None

    async def done_writing(self) -> None:
        """Tells the other side that no more messages come."""
        await (await self._opened()).done_writing()

    def cancel(self) -> None:
        """Ends the stream."""
        if self._call is not None:
            self._call.cancel()
        if not self._judged:
            self._judged = True
            self._method.breaker.abandoned()

    async def _opened(self) -> Any:
        async with self._opening:
            if self._call is None:
                method = self._method
                method.breaker.check()
                try:
                    metadata = await method.metadata(self._metadata)
                except BaseException:
                    method.breaker.abandoned()
                    raise
                given = {} if self._request is None else {"request": self._request}
                if method.policy.client_streaming:
                    given = {"request_iterator": self._request}
                self._call = method.callable(**given, timeout=method.budget(self._timeout), metadata=metadata)
        return self._call

    def _answered(self) -> None:
        if not self._judged:
            self._judged = True
            self._method.answered()

    def _failed(self, raised: grpc.RpcError) -> AacError:
        if self._judged:
            return self._method.translate(from_rpc_error(raised))
        self._judged = True
        return self._method.translate(self._method.failure(raised))


async def _status_of(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call that has ended, for a writer that comes too late."""
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
