"""Calls that another instance of the same service has to answer: handed on once, as bytes, in their own arity.

The caller's own credential goes along, with this process's token as proof that the call was judged and charged here
(`common/interceptors/auth.py`). Deadline, request id, cancellation, status details and flow control go through.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import grpc
from grpc import aio

from aac_grpc.client.cancellation import is_cancelled
from aac_grpc.client.errors import DETAILS_KEY, AacError, from_rpc_error
from aac_grpc.client.retry import NO_RETRY, RetryBudget, call_with_retry
from aac_grpc.client.writing import write
from aac_grpc.common.call import Call, current_call
from aac_grpc.common.channel import Channels
from aac_grpc.common.interceptors.auth import FORWARDER_KEY
from aac_grpc.common.target import was_sent

T = TypeVar("T")

PROBE_S = 0.5
"""How long a process may take to accept a connection before nothing is known about it."""
TIME_SHARE = 0.95
"""Of the remaining time that a peer gets, so that its answer still finds its way back."""

_DROPPED = frozenset({"te", "content-type", "user-agent", "x-request-id"})
_DROPPED_PREFIXES = ("grpc-", ":", "x-aac-")


class PeerLost(Exception):
    """The peer did not answer the call: it is away, or no longer the one to ask.

    Attributes:
        sent: It may have begun the call.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Peer:
    """Another instance, as long as it is the one to ask.

    Attributes:
        address: Its host:port.
        over: It is not the one to ask any more; calls to it were ended.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.over = False
        self._calls: set[Callable[[], Any]] = set()

    def end(self) -> None:
        """It is not the one to ask any more: ends the calls to it."""
        if not self.over:
            self.over = True
            for cancel in tuple(self._calls):
                cancel()

    @contextlib.contextmanager
    def ending(self, rpc: Any) -> Iterator[None]:
        """Runs the block around a call to the peer, which ends where the peer's time is over.

        Raises:
            PeerLost: It is, or gRPC could not bring the call to its end.
            AacError: The peer's own answer.
        """
        self._calls.add(rpc.cancel)
        try:
            if self.over:
                raise PeerLost(f"{self.address} is not the one to ask any more", sent=True)
            yield
        except aio.AioRpcError as raised:
            raise _meaning(raised, self.address) from raised
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # The call was, because the peer's time is over, or its connection is not used any more.
            raise PeerLost(f"{self.address} is not the one to ask any more", sent=True) from None
        finally:
            self._calls.discard(rpc.cancel)
            rpc.cancel()


class Peers:
    """The other instances of this service. Hands on the call that is being served (`current_call()`)."""

    def __init__(self, service: str, channels: Channels) -> None:
        self._service = service
        self._channels = channels
        self._budget = RetryBudget()

    async def ask(self, peer: Peer, request: bytes) -> bytes:
        """Hands a call on that gives one message.

        Raises:
            PeerLost: The peer did not answer.
            AacError: It refused.
        """

        async def attempt(seconds: float) -> bytes:
            rpc = await self._begin(peer, "unary_unary", request)
            with peer.ending(rpc):
                answer: bytes = await rpc
                return answer

        return await call_with_retry(
            attempt, timeout_s=float("inf"), policy=NO_RETRY, budget=self._budget, renew=self._renew
        )

    async def _renew(self) -> bool:
        """It may be our own token that has outlived its key."""
        self._channels.refused()
        return True

    def stream(self, peer: Peer, request: bytes) -> "PeerStream":
        """Hands a call on that gives a stream; it begins with its first read."""
        return PeerStream(self._begin(peer, "unary_stream", request), peer)

    async def converse(self, peer: Peer, first: bytes, more: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Hands a call on whose both sides stream. What follows the first message goes out once that was answered.

        Args:
            peer: Who answers.
            first: The caller's first message, so that it can be sent again elsewhere where the peer does not take it.
            more: Those that follow.

        Raises:
            PeerLost: The peer went away.
            AacError: The status that it ended the stream with.
        """
        rpc = await self._begin(peer, "stream_stream")
        with peer.ending(rpc):
            with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already: its status tells
                await write(rpc, first)
            message = await rpc.read()
            if message is aio.EOF:
                return
            yield message
            pump = asyncio.create_task(_pump(more, rpc))
            try:
                while (message := await rpc.read()) is not aio.EOF:
                    yield message
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _begin(self, peer: Peer, arity: str, *request: bytes) -> Any:
        call = current_call()
        proof = await self._channels.tokens.get()
        metadata = (*_passed_on(call), (FORWARDER_KEY, proof), ("x-request-id", call.request_id))
        remaining = call.time_remaining()
        timeout = None if remaining is None else remaining * TIME_SHARE
        target = self._channels.instance(self._service, peer.address)
        return target.callable(arity, call.policy.path)(*request, metadata=metadata, timeout=timeout)

    def forget(self, peer: Peer) -> None:
        """Connects anew with the next call: gRPC would wait for a while after a failure."""
        self._channels.instance(self._service, peer.address).retire()


class PeerStream:
    """A stream of a peer's."""

    def __init__(self, beginning: Coroutine[Any, Any, Any], peer: Peer) -> None:
        self._beginning = beginning
        self._peer = peer
        self._rpc: Any = None
        self._stopped = False

    def stop(self) -> None:
        """Ends it from this side."""
        self._stopped = True
        if self._rpc is not None:
            self._rpc.cancel()

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yields what the peer sends, until either side ends it.

        Raises:
            PeerLost: The peer went away.
            AacError: The status that it ended the stream with.
        """
        rpc = self._rpc = await self._beginning
        with self._peer.ending(rpc):
            try:
                while not self._stopped and (message := await rpc.read()) is not aio.EOF:
                    yield message
            except asyncio.CancelledError:
                if not self._stopped or is_cancelled():
                    raise


async def is_gone(address: str) -> bool:
    """Whether no process listens at an address, as its host says. A stopped process still accepts connections."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


def _passed_on(call: Call) -> Iterator[tuple[str, Any]]:
    return (
        (key, value)
        for key, value in call.metadata.items()
        if key not in _DROPPED and not key.startswith(_DROPPED_PREFIXES)
    )


def _meaning(raised: aio.AioRpcError, address: str) -> AacError | PeerLost:
    """What the end of a call means: the peer's own word where it spoke, else gRPC's about the connection."""
    spoke = any(key == DETAILS_KEY for key, _ in raised.trailing_metadata() or ())
    # gRPC on the peer's side, where it has too much to do or stops, ends calls as if we had cancelled them.
    if not spoke and raised.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        message = raised.details() or ""
        return PeerLost(f"{address}: {message}", sent=was_sent(message))
    return from_rpc_error(raised)


async def _pump(messages: AsyncIterator[bytes], rpc: Any) -> None:
    """Sends the caller's messages and its half-close on; where the peer has ended the call, its status tells."""
    with contextlib.suppress(asyncio.InvalidStateError, aio.AioRpcError, aio.UsageError, AacError):
        async for message in messages:
            await write(rpc, message)
        await rpc.done_writing()
