"""A stream that outlives its connections: opened again when the service goes away, drains or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import grpc
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader
from grpc import aio

from aac_grpc.client.errors import AacError, Unauthenticated, Unavailable, from_rpc_error
from aac_grpc.client.retry import RetryPolicy, is_retryable, no_other_credential


class Frame(Protocol):
    """A streamed response: its first field is the header."""

    @property
    def header(self) -> StreamHeader:
        """What the frame is."""


FrameT = TypeVar("FrameT", bound=Frame)
FrameT_co = TypeVar("FrameT_co", covariant=True)


class Call(Protocol[FrameT_co]):
    """An open call of a method that streams responses."""

    async def read(self) -> FrameT_co | Any:
        """The next response, or EOF."""

    def cancel(self) -> bool:
        """Ends the call."""


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How long a stream is kept up. Durations are seconds."""

    patience_s: float = 60.0
    """Longest time without a connection before the last error is raised."""
    first_patience_s: float = 10.0
    """The same before the first frame."""
    silence_s: float = 20.0
    """A connection on which neither frame nor heartbeat came for so long is given up."""
    endless: bool = False
    """No error and no absence ends the stream: a process needs it as long as it runs."""
    backoff: RetryPolicy = field(default_factory=RetryPolicy)


class ReconnectingStream(Generic[FrameT]):
    """Yields the frames of one call after another. What resumes, and where, is the matter of `open_call`."""

    def __init__(
        self,
        open_call: Callable[[], Awaitable[Call[FrameT]]],
        *,
        renew: Callable[[], Awaitable[bool]] = no_other_credential,
        policy: ReconnectPolicy | None = None,
        on_disconnect: Callable[[AacError | None], None] | None = None,
        explain: Callable[[AacError], AacError] = lambda error: error,
    ) -> None:
        """Prepares a stream.

        Args:
            open_call: Opens a call that goes on from what was last received.
            renew: Renews a refused credential; False where that can't be done.
            policy: How long to keep it up.
            on_disconnect: Told each time that a connection ended: why, or None when the service said goodbye.
            explain: Puts a call's error into words for whoever reads the stream.
        """
        self._explain = explain
        self._open_call = open_call
        self._renew = renew
        self._policy = policy or ReconnectPolicy()
        self._on_disconnect = on_disconnect
        self._patience_s = self._policy.first_patience_s
        self._heard_at = time.monotonic()
        self._renewed = False
        self._broken: AacError | None = None

    def break_off(self, error: AacError) -> None:
        """Gives up the call that the last frame came from, as if it had failed with this error."""
        self._broken = error

    async def frames(self) -> AsyncGenerator[FrameT, None]:
        """Yields every frame but those about the connection; ends only by an error or by being closed.

        Raises:
            AacError: The service refused the call for good, or was away for longer than the policy's patience.
        """
        failures = 0
        while True:
            error: AacError | None = None
            try:
                async with contextlib.aclosing(self._one_call()) as frames:
                    async for frame in frames:
                        failures = 0
                        yield frame
                        if self._broken is not None:
                            error, self._broken = self._broken, None
                            break
            except AacError as refusal:
                error = refusal
            await self._raise_if_final(error or Unavailable("the stream ended"))
            failures += 1
            if self._on_disconnect is not None:
                self._on_disconnect(error)
            await asyncio.sleep(self._policy.backoff.pause(failures, error, random.random()))  # noqa: S311  # jitter

    async def _raise_if_final(self, error: AacError) -> None:
        if isinstance(error, Unauthenticated) and not self._renewed:
            self._renewed = await self._renew()
            if self._renewed:
                return
        if self._policy.endless:
            return
        retryable = is_retryable(error) or error.code is grpc.StatusCode.CANCELLED
        if not retryable or time.monotonic() - self._heard_at > self._patience_s:
            raise error

    async def _one_call(self) -> AsyncGenerator[FrameT, None]:
        call = await self._open_call()
        try:
            while (frame := await self._read(call)) is not aio.EOF:
                self._heard_at = time.monotonic()
                self._patience_s, self._renewed = self._policy.patience_s, False
                if frame.header.kind == stream_pb2.FRAME_KIND_DRAINING:
                    return
                yield frame
        finally:
            call.cancel()

    async def _read(self, call: Call[FrameT]) -> Any:
        try:
            async with asyncio.timeout(self._policy.silence_s):
                return await call.read()
        except aio.AioRpcError as error:
            raise self._explain(from_rpc_error(error)) from None
        except TimeoutError:
            raise Unavailable(f"nothing came for {self._policy.silence_s:g} s") from None
