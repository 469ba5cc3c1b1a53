"""Calls that give a stream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import grpc

from aac_grpc.client.errors import AacError, Unavailable, from_rpc_error
from aac_grpc.client.writing import write
from aac_grpc.common.outgoing.method import Method


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
        self._reading = False

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
        self._reading = True
        try:
            message = await call.read()
        except grpc.RpcError as raised:
            raise self._failed(raised) from raised
        except BaseException:
            self.cancel()
            raise
        finally:
            self._reading = False
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
            if not self._reading:
                await _read_out(call)
            status = await _status_of(call)
            if status.code() is grpc.StatusCode.OK:
                raise Unavailable("the other side has ended the stream") from None
            raise self._failed(status) from None

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
            self._method.retries.succeeded()

    def _failed(self, raised: grpc.RpcError) -> AacError:
        if self._judged:
            return self._method.translate(from_rpc_error(raised))
        self._judged = True
        error = self._method.failure(raised)
        self._method.retries.failed(error)
        return self._method.translate(error)


async def _read_out(call: Any) -> None:
    """Reads what nobody else reads any more: gRPC tells the status of a call only after the messages before it."""
    with suppress(grpc.RpcError):
        while await call.read() is not grpc.aio.EOF:
            pass


async def _status_of(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call that has ended, for a writer that comes too late."""
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
