"""The market data stream: subscribe and unsubscribe at any time; it reconnects and resumes by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from aac.marketdata.v1 import marketdata_pb2, marketdata_pb2_grpc
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader
from grpc import aio

from aac_grpc.client.connection import Connection
from aac_grpc.client.errors import AacError, from_status
from aac_grpc.client.models._record import to_duration
from aac_grpc.client.models.market import LevelChange, Quote, Trade
from aac_grpc.client.models.topics import Topic
from aac_grpc.client.reconnect import ReconnectingStream, ReconnectPolicy
from aac_grpc.client.resume import Position, Step, is_about_a_key
from aac_grpc.client.updates import DepthUpdate, Gap, MarketUpdate, QuoteUpdate, SubscriptionRefused, TradesUpdate
from aac_grpc.client.writing import write

Request = marketdata_pb2.StreamRequest
Response = marketdata_pb2.StreamResponse
MarketCall = aio.StreamStreamCall[Request, Response]

DEFAULT_VENUE = "main"
_HEARTBEAT = timedelta(seconds=5)


class _Subscription:
    """One topic of one instrument, and where it stands."""

    def __init__(self, venue: str, symbol: str, topic: Topic) -> None:
        self.venue, self.symbol, self.topic = venue, symbol, topic
        self.id = f"{topic}:{symbol}:{venue}"[:64]
        self.position: Position[Any] = Position(topic.to_wire())
        self.sent_on: MarketCall | None = None

    def message(self) -> marketdata_pb2.Subscription:
        return marketdata_pb2.Subscription(
            id=self.id,
            venue=self.venue,
            symbol=self.symbol,
            topic=self.topic.to_wire(),
            resume=self.position.resume_point(self.symbol, self.venue),
        )


class MarketStream:
    """An open market data stream.

        async with client.stream() as stream:
            await stream.subscribe("GOOG", Topic.TRADES, Topic.DEPTH)
            async for update in stream:
                ...

    After a lost connection it goes on where it stopped: no trade and no change of a book comes twice, and what can't be
    had again is told by a `Gap`.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        policy: ReconnectPolicy | None = None,
        on_disconnect: Callable[[AacError | None], None] | None = None,
    ) -> None:
        """Prepares a stream; the first read opens it."""
        self._connection = connection
        self._stub = marketdata_pb2_grpc.MarketDataServiceStub(connection.channel)
        self._subscriptions: dict[tuple[str, str, int], _Subscription] = {}
        self._call: MarketCall | None = None
        self._writing = asyncio.Lock()
        self._stream: ReconnectingStream[Response] = ReconnectingStream(
            self._open,
            renew=connection.credentials.renew,
            policy=policy,
            on_disconnect=on_disconnect,
            explain=connection.explain,
        )
        self._updates = self._read()
        self._closed = False
        self._reader: asyncio.Task[Any] | None = None
        """Who waits for the next update."""
        self._idle = asyncio.Event()
        self._idle.set()

    async def subscribe(self, symbol: str, *topics: Topic, venue: str = DEFAULT_VENUE) -> None:
        """Begins to receive topics of an instrument: the state as a snapshot (TRADES: the next trade), then changes."""
        for topic in topics:
            subscription = _Subscription(venue, symbol, topic)
            self._subscriptions.setdefault(_key(subscription), subscription)
        await self._subscribe_unsent()

    async def unsubscribe(self, symbol: str, *topics: Topic, venue: str = DEFAULT_VENUE) -> None:
        """Ends to receive topics of an instrument; what is on its way is dropped."""
        found = [self._subscriptions.pop((venue, symbol, topic.to_wire()), None) for topic in topics]
        await self._unsubscribe([subscription.id for subscription in found if subscription])

    async def close(self) -> None:
        """Ends the stream, and the iteration of whoever reads it."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
            await self._idle.wait()
        await self._updates.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MarketUpdate:
        """The next update.

        Raises:
            AacError: The service refused the stream, or was away for too long.
        """
        if self._closed:
            raise StopAsyncIteration
        reader = self._reader = asyncio.current_task()
        self._idle.clear()
        try:
            return await anext(self._updates)
        except asyncio.CancelledError:
            # By `close`, unless somebody else cancelled the reader as well.
            if not self._closed or reader is None or reader.uncancel():
                raise
            raise StopAsyncIteration from None
        finally:
            self._reader = None
            self._idle.set()

    async def _open(self) -> MarketCall:
        call: MarketCall = self._stub.Stream(metadata=await self._connection.stream_metadata())
        async with self._writing:
            self._call = call
            await _write(call, Request(heartbeat=to_duration(_HEARTBEAT)))
        await self._subscribe_unsent()
        return call

    async def _subscribe_unsent(self) -> None:
        """Sends the subscriptions that the open call does not know. Without a call, the next one begins with all."""
        async with self._writing:
            call = self._call
            unsent = [one for one in self._subscriptions.values() if one.sent_on is not call]
            if call is None or not unsent:
                return
            for subscription in unsent:
                subscription.sent_on = call
            await _write(call, Request(subscribe=[subscription.message() for subscription in unsent]))

    async def _unsubscribe(self, ids: list[str]) -> None:
        async with self._writing:
            if self._call is not None and ids:
                await _write(self._call, Request(unsubscribe=ids))

    async def _read(self) -> AsyncGenerator[MarketUpdate, None]:
        async with contextlib.aclosing(self._stream.frames()) as frames:
            async for frame in frames:
                if frame.header.kind == stream_pb2.FRAME_KIND_ITEM_STATUS:
                    for refusal in self._refusals(frame.header):
                        yield refusal
                elif is_about_a_key(frame.header):
                    for update in await self._take(frame):
                        yield update
                elif subscription := self._subscriptions.get(_key_of(frame.header)):
                    subscription.position.begin(frame.header)

    def _refusals(self, header: StreamHeader) -> Iterator[MarketUpdate]:
        refused = [found for found in self._subscriptions.values() if found.id == header.item_id]
        for subscription in refused if header.status.code else ():
            del self._subscriptions[_key(subscription)]
            yield SubscriptionRefused(
                subscription.venue, subscription.symbol, subscription.topic, from_status(header.status)
            )

    async def _take(self, frame: Response) -> list[MarketUpdate]:
        header = frame.header
        subscription = self._subscriptions.get(_key_of(header))
        if subscription is None:
            return []
        step = subscription.position.advance(header, frame.trades or frame.quotes or frame.levels)
        updates: list[MarketUpdate] = []
        if step.missed is not None:
            topic = subscription.topic
            updates.append(Gap(header.venue, header.key, topic, step.missed.first, step.missed.last))
            if topic is Topic.DEPTH and not step.announced:
                await self._begin_again(subscription)
                return updates
        updates.extend(_content(header, step))
        return updates

    async def _begin_again(self, subscription: _Subscription) -> None:
        """Asks for a snapshot: a book can't be kept over a hole that the service did not announce."""
        subscription.position = Position(subscription.topic.to_wire())
        subscription.sent_on = None
        await self._unsubscribe([subscription.id])
        await self._subscribe_unsent()


def _key(subscription: _Subscription) -> tuple[str, str, int]:
    return subscription.venue, subscription.symbol, subscription.topic.to_wire()


def _key_of(header: StreamHeader) -> tuple[str, str, int]:
    return header.venue, header.key, header.topic


def _content(header: StreamHeader, step: Step[Any]) -> Iterator[MarketUpdate]:
    venue, symbol = header.venue, header.key
    if header.topic == stream_pb2.TOPIC_DEPTH and (step.fresh or step.snapshot):
        changes = tuple(map(LevelChange.from_wire, step.fresh))
        yield DepthUpdate(venue, symbol, changes, step.snapshot, header.sequence)
    elif header.topic == stream_pb2.TOPIC_TRADES and step.fresh:
        yield TradesUpdate(venue, symbol, tuple(map(Trade.from_wire, step.fresh)))
    elif header.topic == stream_pb2.TOPIC_QUOTES and step.fresh:
        yield QuoteUpdate(venue, symbol, Quote.from_wire(step.fresh[-1]))


async def _write(call: MarketCall, request: Request) -> None:
    # A call that has ended refuses writes; its reader learns why, and the next call says it all again.
    with contextlib.suppress(asyncio.InvalidStateError):
        await write(call, request)
