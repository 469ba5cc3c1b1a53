"""How long a call waits inside of gRPC before this process begins it.

gRPC takes calls from the network by threads of its own and hands them to the event loop one at a time: under load they
wait where nobody sees them, and gRPC tells neither how many they are nor since when. So the process calls itself, by a
socket that no other machine reaches and a path that only it knows, and looks how long that call takes to come up: it
waits in the same line as all others.
"""

import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc
import structlog

TIMEOUT_S = 30.0
LISTEN_EVERY_S = 10.0
DEAF_AFTER = 2
"""Calls in a row that nobody answered. A process that was stopped, or is overloaded, misses one at most."""

_log = structlog.get_logger("pulse")


class Pulse:
    """Measures the line.

    Attributes:
        path: Method that it calls.
        handler: Of that method; to be returned after `arrived` was called.
    """

    def __init__(self) -> None:
        self.path = f"/aac.Pulse/{secrets.token_hex(16)}"
        self.handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(_answer)
        self._clock = asyncio.get_running_loop().time
        self._folder: Path | None = None
        self._sent_at: float | None = None
        self._last = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._beating: asyncio.Task[None] | None = None

    def listen(self, server: grpc.aio.Server) -> None:
        """Has the server listen to it; called before the server starts.

        Raises:
            RuntimeError: There are no such sockets here.
        """
        address = self._new_address()
        server.add_insecure_port(address)
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])

    def _new_address(self) -> str:
        if sys.platform == "linux":  # without a file, which a process that is killed would leave
            return f"unix-abstract:aac-{secrets.token_hex(16)}"
        self._folder = Path(tempfile.mkdtemp(prefix="aac-"))
        return f"unix:{self._folder / 'pulse'}"

    def beat(self) -> None:
        """Sends a call, unless one is under way."""
        if self._beating is None and self._channel is not None:
            self._sent_at = self._clock()
            self._beating = asyncio.create_task(self._call(self._channel))

    def arrived(self) -> None:
        """The call came up."""
        if self._sent_at is not None:
            self._last = self._clock() - self._sent_at
            self._sent_at = None

    def delay(self, now: float) -> float:
        """Seconds for which the last call waited; or for which the present one has, where that is longer."""
        return self._last if self._sent_at is None else max(self._last, now - self._sent_at)

    async def until_deaf(self) -> None:
        """Returns once this process takes no calls any more, although its event loop runs."""
        missed = 0
        while self._channel is None or missed < DEAF_AFTER:
            await asyncio.sleep(LISTEN_EVERY_S)
            if self._channel is not None:
                missed = 0 if await self._is_answered(self._channel) else missed + 1

    def forget(self) -> None:
        """Nothing waits: there was nothing to measure."""
        if self._sent_at is None:
            self._last = 0.0

    async def close(self) -> None:
        """Ends it."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        if self._channel is not None:
            await self._channel.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _call(self, channel: grpc.aio.Channel) -> None:
        try:
            if not await self._is_answered(channel):
                self._sent_at = None
        finally:
            self._beating = None

    async def _is_answered(self, channel: grpc.aio.Channel) -> bool:
        try:
            call: Any = channel.unary_unary(self.path)
            await call(b"", timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            _log.debug("a pulse failed", error=error.details())
            return False
        return True


async def _answer(request: bytes, context: Any) -> bytes:
    return b""
