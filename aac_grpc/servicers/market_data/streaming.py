"""One caller's market data stream: what it is subscribed to, and the answer to each item."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aac.marketdata.v1.marketdata_pb2 import StreamRequest
from aac.marketdata.v1.marketdata_pb2 import Subscription as SubscriptionMessage
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, AlreadyExists, DeadlineExceeded, InvalidField, NotFound, Unavailable
from aac_grpc.common.call import current_call
from aac_grpc.common.interceptors.validate import check_fields
from aac_grpc.common.streams import StreamSession, Subscription, position
from aac_grpc.common.types import NANOSECONDS, from_duration, venue_of
from aac_grpc.servicers.market_data.follower import VenueFollower
from aac_grpc.servicers.market_data.venues import Venues

MIN_HEARTBEAT_S = 0.1
MAX_HEARTBEAT_S = 3600.0
MAX_ITEMS = 256
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class _Open:
    """A subscription that frames are sent of."""

    item: SubscriptionMessage
    follower: VenueFollower
    subscription: Subscription


class MarketStream:
    """Takes a caller's messages and moves its session's subscriptions accordingly.

    An item whose venue is not current yet (this process or the engine has just started) waits without holding up the
    others. Where a venue's topics are made anew, its subscriptions move over to them and go on where they are.
    """

    def __init__(self, session: StreamSession, venues: Venues, limit: int) -> None:
        """Begins without a subscription.

        Args:
            session: The outgoing side.
            venues: Where topics are.
            limit: Subscriptions at most.
        """
        self._session = session
        self._venues = venues
        self._limit = limit
        self._open: dict[str, _Open] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._held: Counter[VenueFollower] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._held:
            follower.unlisten(self._move)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self, requests: AsyncIterator[StreamRequest]) -> None:
        """Takes messages until the caller has no more; the stream goes on without any."""
        self._spawn(self._take(requests))

    def check(self) -> None:
        """Raises what ended the stream: a message that can't be taken does, a bad item does not."""
        if self._failure is not None:
            raise self._failure

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = failure
            self._session.close()

    async def _take(self, requests: AsyncIterator[StreamRequest]) -> None:
        async for request in requests:
            if request.HasField("heartbeat"):
                seconds = from_duration(request.heartbeat) / NANOSECONDS
                self._session.heartbeat = min(max(MIN_HEARTBEAT_S, seconds), MAX_HEARTBEAT_S)
            for item_id in request.unsubscribe:
                await self._session.item_status(item_id, self._unsubscribe(item_id))
            if len(request.subscribe) > MAX_ITEMS:
                raise InvalidField("subscribe", f"has {len(request.subscribe)} items; send at most {MAX_ITEMS} at once")
            for item in request.subscribe:
                await self._subscribe(item)

    def _unsubscribe(self, item_id: str) -> AacError | None:
        if (task := self._waiting.pop(item_id, None)) is not None:
            task.cancel()
            return None
        if (kept := self._open.pop(item_id, None)) is None:
            return NotFound("subscription", item_id)
        self._leave(kept)
        return None

    async def _subscribe(self, item: SubscriptionMessage) -> None:
        try:
            self._check(item)
            follower = self._venues.known(venue_of(item))
            if follower is None or follower.current is None:
                self._waiting[item.id] = self._spawn(self._begin_when_current(item))
                return
            subscription = self._begin(item, follower)
        except AacError as error:
            await self._session.item_status(item.id, error)
        else:
            await self._session.item_status(item.id, subscription=subscription)

    def _check(self, item: SubscriptionMessage) -> None:
        if (overloaded := current_call().item_refusal()) is not None:
            raise overloaded
        check_fields(item)
        if item.id in self._open or item.id in self._waiting:
            raise AlreadyExists("subscription", item.id)
        if len(self._open) + len(self._waiting) >= self._limit:
            raise InvalidField("subscribe", f"the stream has {self._limit} subscriptions already: end one first")
        if item.HasField("resume") and item.resume.key not in ("", item.symbol):
            raise InvalidField("resume.key", f"is not the symbol {item.symbol!r}")
        if item.HasField("resume") and item.resume.topic not in (stream_pb2.TOPIC_UNSPECIFIED, item.topic):
            raise InvalidField("resume.topic", "is not the item's topic")

    async def _begin_when_current(self, item: SubscriptionMessage) -> None:
        """Opens a subscription once its venue is current, however long that takes."""
        subscription, refusal = None, None
        while subscription is None and refusal is None:
            try:
                follower = await self._venues.follower(venue_of(item))
                with self._holding(follower):
                    await follower.markets(patience=None)
                    subscription = self._begin(item, follower)
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(RETRY_S)
            except AacError as error:
                refusal = error
        self._waiting.pop(item.id, None)
        await self._session.item_status(item.id, refusal, subscription=subscription)

    def _begin(self, item: SubscriptionMessage, follower: VenueFollower) -> Subscription:
        markets = follower.current
        if markets is None:
            raise Unavailable("the venue's markets are not current")
        topic = markets.instrument(item.symbol).topic(item.topic)
        resume = position(item.resume) if item.HasField("resume") else None
        subscription = self._session.subscribe(topic, resume)
        self._open[item.id] = _Open(item, follower, subscription)
        self._hold(follower)
        return subscription

    def _leave(self, kept: _Open) -> None:
        self._session.unsubscribe(kept.subscription)
        self._release(kept.follower)

    def _hold(self, follower: VenueFollower) -> None:
        """The follower must live, and tell when its topics are others."""
        self._held[follower] += 1
        follower.listen(self._move)

    def _release(self, follower: VenueFollower) -> None:
        self._held[follower] -= 1
        if not self._held[follower]:
            del self._held[follower]
            follower.unlisten(self._move)

    @contextmanager
    def _holding(self, follower: VenueFollower) -> Iterator[None]:
        self._hold(follower)
        try:
            yield
        finally:
            self._release(follower)

    def _move(self, follower: VenueFollower) -> None:
        """Moves a venue's subscriptions over to its present topics, or ends them where it is gone."""
        markets = follower.current
        for item_id, kept in tuple(self._open.items()):
            if kept.follower is not follower:
                continue
            streams = markets.instruments.get(kept.item.symbol) if markets is not None else None
            if streams is None:
                del self._open[item_id]
                self._leave(kept)
                self._spawn(self._session.item_status(item_id, NotFound("venue", follower.venue)))
            elif (topic := streams.topic(kept.item.topic)) is not kept.subscription.topic:
                moved = self._session.subscribe(topic, kept.subscription.position)
                self._session.unsubscribe(kept.subscription)
                self._open[item_id] = _Open(kept.item, follower, moved)
