"""The client for programs without asyncio: the same surface, run by an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast

import grpc

from aac_grpc.client.aio import DEFAULT_TARGET, AsyncClient
from aac_grpc.client.errors import AacError
from aac_grpc.client.market_stream import DEFAULT_VENUE, MarketStream
from aac_grpc.client.models.identity import Tokens
from aac_grpc.client.models.topics import Topic
from aac_grpc.client.reconnect import ReconnectPolicy
from aac_grpc.client.retry import RetryPolicy
from aac_grpc.client.updates import MarketUpdate

P = ParamSpec("P")
T = TypeVar("T")


class _LoopThread:
    """The event loop that all blocking clients of a process share: gRPC wants one loop a process."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for it; an interrupt of the wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="aac client", daemon=True).start()
            return self._loop


_THREAD = _LoopThread()


class BlockingIterator(Generic[T]):
    """Iterates over what an asynchronous iterator yields."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        """Wraps an iterator that runs on the clients' loop."""
        self._source = source

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return _THREAD.run(_next(self._source))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Ends the iteration and what it keeps open."""
        _THREAD.run(_close(self._source))


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _close(source: AsyncIterator[Any]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


class BlockingMarketStream(BlockingIterator[MarketUpdate]):
    """An open market data stream; see `MarketStream`. Subscribe from any thread."""

    def __init__(self, stream: MarketStream) -> None:
        """Wraps a stream."""
        super().__init__(stream)
        self._stream = stream

    def subscribe(self, symbol: str, *topics: Topic, venue: str = DEFAULT_VENUE) -> None:
        """Begins to receive topics of an instrument."""
        _THREAD.run(self._stream.subscribe(symbol, *topics, venue=venue))

    def unsubscribe(self, symbol: str, *topics: Topic, venue: str = DEFAULT_VENUE) -> None:
        """Ends to receive topics of an instrument."""
        _THREAD.run(self._stream.unsubscribe(symbol, *topics, venue=venue))

    def close(self) -> None:
        """Ends the stream."""
        _THREAD.run(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return _THREAD.run(method(self.asynchronous, *args, **kwargs))

    return cast(Callable[Concatenate["Client", P], T], call)


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], BlockingIterator[T]]:
    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingIterator[T]:
        async def begin() -> AsyncIterator[T]:
            return method(self.asynchronous, *args, **kwargs)

        return BlockingIterator(_THREAD.run(begin()))

    return cast(Callable[Concatenate["Client", P], BlockingIterator[T]], call)


class ClientOptions(TypedDict, total=False):
    """What `AsyncClient` takes beside the target; described there."""

    api_key: str | None
    username: str | None
    password: str | None
    token: str | Callable[[], str] | None
    tokens: Tokens | None
    on_tokens: Callable[[Tokens], None] | None
    tls: bool | grpc.ChannelCredentials
    timeout: float
    retry: RetryPolicy | None
    reconnect: ReconnectPolicy | None


class Client:
    """A client of the platform; `AsyncClient` for programs without asyncio.

        with Client("127.0.0.1:50050", api_key=key) as client:
            placed = client.place_order("GOOG", "buy", 10, price="570.12")

    Methods may be called from any thread.
    """

    def __init__(self, target: str | Sequence[str] = DEFAULT_TARGET, **options: Unpack[ClientOptions]) -> None:
        """Connects with the first call; takes what `AsyncClient` takes."""

        async def make() -> AsyncClient:
            return AsyncClient(target, **options)

        self.asynchronous = _THREAD.run(make())

    def close(self) -> None:
        """Ends running calls and streams."""
        _THREAD.run(self.asynchronous.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stream(self, *, on_disconnect: Callable[[AacError | None], None] | None = None) -> BlockingMarketStream:
        """Opens a market data stream; use it in `with`."""

        async def begin() -> MarketStream:
            return self.asynchronous.stream(on_disconnect=on_disconnect)

        return BlockingMarketStream(_THREAD.run(begin()))

    place_order = _blocking(AsyncClient.place_order)
    amend_order = _blocking(AsyncClient.amend_order)
    cancel_order = _blocking(AsyncClient.cancel_order)
    order = _blocking(AsyncClient.order)
    list_orders = _iterating(AsyncClient.list_orders)
    list_executions = _iterating(AsyncClient.list_executions)
    watch_orders = _iterating(AsyncClient.watch_orders)
    account = _blocking(AsyncClient.account)
    list_positions = _iterating(AsyncClient.list_positions)
    open_account = _blocking(AsyncClient.open_account)

    list_instruments = _iterating(AsyncClient.list_instruments)
    instrument = _blocking(AsyncClient.instrument)
    quotes = _blocking(AsyncClient.quotes)
    quote = _blocking(AsyncClient.quote)
    book = _blocking(AsyncClient.book)
    list_trades = _iterating(AsyncClient.list_trades)
    list_candles = _iterating(AsyncClient.list_candles)

    limits = _blocking(AsyncClient.limits)
    set_limits = _blocking(AsyncClient.set_limits)
    exposure = _blocking(AsyncClient.exposure)
    performance = _blocking(AsyncClient.performance)
    indicators = _blocking(AsyncClient.indicators)

    access_token = _blocking(AsyncClient.access_token)
    login = _blocking(AsyncClient.login)
    refresh = _blocking(AsyncClient.refresh)
    logout = _blocking(AsyncClient.logout)
    create_api_key = _blocking(AsyncClient.create_api_key)
    list_api_keys = _iterating(AsyncClient.list_api_keys)
    revoke_api_key = _blocking(AsyncClient.revoke_api_key)
    list_sessions = _iterating(AsyncClient.list_sessions)
    revoke_session = _blocking(AsyncClient.revoke_session)
    create_user = _blocking(AsyncClient.create_user)
    update_user = _blocking(AsyncClient.update_user)
    disable_user = _blocking(AsyncClient.disable_user)
    enable_user = _blocking(AsyncClient.enable_user)
    list_users = _iterating(AsyncClient.list_users)
    create_account = _blocking(AsyncClient.create_account)
    list_accounts = _iterating(AsyncClient.list_accounts)

    overview = _blocking(AsyncClient.overview)
    methods = _blocking(AsyncClient.methods)
    services = _blocking(AsyncClient.services)
    watch_events = _iterating(AsyncClient.watch_events)
