"""One outgoing stream: merges any number of topics into frames, at the pace of its reader.

    async def WatchOrders(self, request, context):
        session = StreamSession()
        current_call().on_drain(session.drain)
        session.subscribe(self._topics.orders(account), position(request.resume))
        async for encoded in session.frames():
            yield encoded

A session copies nothing: what its reader has not taken yet waits in the topics' rings, which all readers share. Its own
memory is one frame (`MAX_FRAME_BYTES`) and at most `max_statuses` item statuses.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import monotonic

from aac.type.v1.stream_pb2 import FRAME_KIND_DRAINING, FRAME_KIND_HEARTBEAT, FRAME_KIND_ITEM_STATUS, StreamHeader

from aac_grpc.client.errors import AacError, to_status_message
from aac_grpc.common.call import find_call
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams import metrics
from aac_grpc.common.streams.events import EventSubscription
from aac_grpc.common.streams.frames import Position, encode, now_header
from aac_grpc.common.streams.subscriptions import Accept, StateSubscription, Subscription
from aac_grpc.common.streams.topics import EventTopic, History, SnapshotSource, StateTopic
from aac_grpc.common.types import to_duration


class StreamSession:
    """One outgoing stream."""

    def __init__(
        self,
        *,
        heartbeat: float = 5.0,
        max_statuses: int = 256,
        staleness: Callable[[], float] | None = None,
    ) -> None:
        """Opens a session on the running loop.

        Args:
            heartbeat: Seconds between HEARTBEAT frames.
            max_statuses: Item statuses that wait at most; `item_status` waits for room.
            staleness: Seconds since the source last spoke; default: since a topic of the session last had news.
        """
        call = find_call()
        self._request_id = call.request_id if call is not None else ""
        self._heartbeat = heartbeat
        self._staleness = staleness or self._topics_silence
        self._subscriptions: dict[Subscription, None] = {}
        self._queue: deque[Subscription] = deque()
        self._statuses: deque[Encoded] = deque()
        self._max_statuses = max_statuses
        self._room = asyncio.Semaphore(max_statuses)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._conflated = 0
        self._beat_due = self._started = self._draining = self._closed = False

    @property
    def heartbeat(self) -> float:
        """Seconds between HEARTBEAT frames."""
        return self._heartbeat

    @heartbeat.setter
    def heartbeat(self, seconds: float) -> None:
        self._heartbeat = seconds
        if self._timer is not None and not self._closed:
            self._arm()

    def subscribe(
        self,
        topic: EventTopic | StateTopic,
        resume: Position | None = None,
        *,
        snapshot: SnapshotSource | None = None,
        history: History | None = None,
        accept: Accept | None = None,
    ) -> Subscription:
        """Adds a topic to the stream.

        Args:
            topic: What to send.
            resume: Where the reader stands (epoch 0: the one in force); None begins with the snapshot, or with the next
                event where there is none.
            snapshot: In place of the topic's own.
            history: In place of the topic's own.
            accept: Which events to send, by their tag; the others only move the sequence on.
        """
        subscription: Subscription
        if isinstance(topic, StateTopic):
            subscription = StateSubscription(self, topic, resume, accept)
        else:
            subscription = EventSubscription(self, topic, resume, accept, snapshot, history)
        if not self._closed:
            self._subscriptions[subscription] = None
            if self._started:
                self._join(subscription)
        return subscription

    def _join(self, subscription: Subscription) -> None:
        subscription.topic.join(subscription)
        subscription.wake()

    def unsubscribe(self, subscription: Subscription) -> None:
        """Takes a topic out of the stream; no frame of it comes any more."""
        if subscription.active:
            subscription.active = False
            self._conflated += subscription.conflated
            subscription.topic.leave(subscription)
            self._subscriptions.pop(subscription, None)

    async def item_status(
        self, item_id: str, error: AacError | None = None, *, subscription: Subscription | None = None
    ) -> None:
        """Answers one item of the client's: accepted, or why not. Waits while too many answers are unread.

        Args:
            item_id: The client's name for the item.
            error: Why it was not accepted.
            subscription: What the item led to; its topic and position go into the answer.
        """
        await self._room.acquire()
        if self._closed:
            return
        header = now_header(FRAME_KIND_ITEM_STATUS)
        if subscription is not None:
            topic = subscription.topic
            at = subscription.position or Position(topic.epoch, topic.sequence)
            header = topic.header(FRAME_KIND_ITEM_STATUS, at.sequence)
            header.epoch = at.epoch
        header.item_id = item_id
        header.status.SetInParent()
        if error is not None:
            header.status.CopyFrom(to_status_message(error, self._request_id))
        self._statuses.append(encode(header))
        self._wake()

    async def frames(self) -> AsyncIterator[Encoded]:
        """The stream's frames, until `drain` or `close`, or until a snapshot or history source fails.

        Iterate it once. While one frame is being written, later events gather and leave in one frame.
        """
        metrics.SESSIONS.inc()
        self._arm()
        self._started = True
        try:
            # Only now, so that a session whose handler fails before it sends anything leaves nothing behind.
            for subscription in self._subscriptions:
                self._join(subscription)
            while not self._closed:
                if (urgent := self._urgent()) is not None:
                    yield urgent
                elif self._draining:
                    yield self._farewell()
                    return
                elif self._queue:
                    subscription = self._queue.popleft()
                    encoded = self._take(subscription)
                    if encoded is not None:
                        yield encoded
                    elif subscription.active and subscription.pending:
                        for encoded in await subscription.recover():
                            if subscription.active:
                                yield encoded
                        subscription.wake()
                else:
                    await self._news()
        finally:
            metrics.SESSIONS.dec()
            self.close()

    def drain(self) -> None:
        """Sends DRAINING with the points to resume from, and ends the stream."""
        self._draining = True
        self._wake()

    def close(self) -> None:
        """Ends the stream without a word and leaves all topics."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for subscription in tuple(self._subscriptions):
            self.unsubscribe(subscription)
        for _ in range(self._max_statuses):
            self._room.release()
        self._wake()

    def enqueue(self, subscription: Subscription) -> None:
        """A subscription has something to send."""
        self._queue.append(subscription)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _news(self) -> None:
        """Waits for something to send; the heartbeat's timer ends the wait at the latest."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self, subscription: Subscription) -> Encoded | None:
        subscription.leave_queue()
        if not subscription.active:
            return None
        encoded = subscription.take()
        if encoded is not None and subscription.pending:
            subscription.wake()
        return encoded

    def _urgent(self) -> Encoded | None:
        """What does not stand in the queue: item statuses, then the heartbeat."""
        if self._statuses:
            self._room.release()
            return self._statuses.popleft()
        if self._beat_due:
            self._beat_due = False
            self._arm()
            return self._beat()
        return None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat, self._on_time)

    def _on_time(self) -> None:
        self._beat_due = True
        self._wake()

    def _beat(self) -> Encoded:
        for subscription in self._subscriptions:
            subscription.check()
        header = now_header(FRAME_KIND_HEARTBEAT)
        self._name_only_topic(header)
        header.resume.extend(one.resume_point() for one in self._subscriptions)
        header.queue_lag = sum(one.lag for one in self._subscriptions) + len(self._statuses)
        header.conflated = self._conflated + sum(one.conflated for one in self._subscriptions)
        header.staleness.CopyFrom(to_duration(max(0, int(self._staleness() * 1e9))))
        return encode(header)

    def _name_only_topic(self, header: StreamHeader) -> None:
        """A stream of one topic says in the header itself where it stands."""
        if len(self._subscriptions) != 1:
            return
        (subscription,) = self._subscriptions
        topic, at = subscription.topic, subscription.position
        header.topic, header.venue, header.key = topic.topic, topic.venue, topic.key
        if at is not None:
            header.epoch, header.sequence = at.epoch, at.sequence

    def _farewell(self) -> Encoded:
        header = now_header(FRAME_KIND_DRAINING)
        header.resume.extend(one.resume_point() for one in self._subscriptions)
        return encode(header)

    def _topics_silence(self) -> float:
        spoke_at = max((one.topic.spoke_at for one in self._subscriptions), default=None)
        return 0.0 if spoke_at is None else monotonic() - spoke_at
