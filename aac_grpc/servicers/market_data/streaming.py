"""One caller's market data stream: what it is subscribed to, and the answer to each item."""

from collections.abc import AsyncIterator, Callable

from aac.marketdata.v1.marketdata_pb2 import StreamRequest
from aac.marketdata.v1.marketdata_pb2 import Subscription as SubscriptionMessage
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, AlreadyExists, InvalidField, NotFound
from aac_grpc.common.interceptors.validate import check_fields
from aac_grpc.common.streams import EventTopic, StateTopic, StreamSession, Subscription, position
from aac_grpc.common.types import NANOSECONDS, from_duration, venue_of
from aac_grpc.servicers.market_data.venues import Venues

MIN_HEARTBEAT_S = 0.1
MAX_ITEMS = 256


class MarketStream:
    """Takes a caller's messages and moves its session's subscriptions accordingly."""

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
        self._subscriptions: dict[str, Subscription] = {}

    async def take(self, requests: AsyncIterator[StreamRequest]) -> None:
        """Takes messages until the caller has no more; the stream goes on without any."""
        async for request in requests:
            if request.HasField("heartbeat"):
                self._session.heartbeat = max(MIN_HEARTBEAT_S, from_duration(request.heartbeat) / NANOSECONDS)
            for item_id in request.unsubscribe:
                await self._answer(item_id, self._unsubscribe, item_id)
            if len(request.subscribe) > MAX_ITEMS:
                raise InvalidField("subscribe", f"has {len(request.subscribe)} items; send at most {MAX_ITEMS} at once")
            for item in request.subscribe:
                await self._subscribe(item)

    async def _answer(self, item_id: str, act: Callable[[str], None], argument: str) -> None:
        try:
            act(argument)
        except AacError as error:
            await self._session.item_status(item_id, error)
        else:
            await self._session.item_status(item_id)

    def _unsubscribe(self, item_id: str) -> None:
        subscription = self._subscriptions.pop(item_id, None)
        if subscription is None:
            raise NotFound("subscription", item_id)
        self._session.unsubscribe(subscription)

    async def _subscribe(self, item: SubscriptionMessage) -> None:
        try:
            subscription = await self._open(item)
        except AacError as error:
            await self._session.item_status(item.id, error)
        else:
            self._subscriptions[item.id] = subscription
            await self._session.item_status(item.id, subscription=subscription)

    async def _open(self, item: SubscriptionMessage) -> Subscription:
        check_fields(item)
        if item.id in self._subscriptions:
            raise AlreadyExists("subscription", item.id)
        if len(self._subscriptions) >= self._limit:
            raise InvalidField("subscribe", f"the stream has {self._limit} subscriptions already: end one first")
        follower = await self._venues.follower(venue_of(item))
        streams = await follower.instrument(item.symbol)
        topics: dict[int, EventTopic | StateTopic] = {
            stream_pb2.TOPIC_TRADES: streams.trades,
            stream_pb2.TOPIC_DEPTH: streams.depth,
            stream_pb2.TOPIC_QUOTES: streams.quotes,
        }
        resume = position(item.resume) if item.HasField("resume") else None
        return self._session.subscribe(topics[item.topic], resume)
