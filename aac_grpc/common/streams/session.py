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

from collections.abc import AsyncIterator, Callable

from aac_grpc.client.errors import AacError
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams.frames import Position
from aac_grpc.common.streams.topics import EventTopic, History, SnapshotSource, StateTopic

MAX_FRAME_BYTES = 256 * 1024
MAX_FRAME_ITEMS = 2000


class Subscription:
    """One topic in one session, and how far it was sent."""

    topic: EventTopic | StateTopic

    @property
    def position(self) -> Position | None:
        """What was sent; None while nothing was."""
        raise NotImplementedError


class StreamSession:
    """One outgoing stream."""

    def __init__(self, *, heartbeat: float = 5.0, max_statuses: int = 256) -> None:
        """Opens a session on the running loop.

        Args:
            heartbeat: Seconds between HEARTBEAT frames.
            max_statuses: Item statuses that wait at most; `item_status` waits for room.
        """

    heartbeat: float

    def subscribe(
        self,
        topic: EventTopic | StateTopic,
        resume: Position | None = None,
        *,
        snapshot: SnapshotSource | None = None,
        history: History | None = None,
        accept: Callable[[object], bool] | None = None,
    ) -> Subscription:
        """Adds a topic to the stream.

        Args:
            topic: What to send.
            resume: Where the reader stands; None begins with the snapshot, or with the next event where there is none.
            snapshot: In place of the topic's own.
            history: In place of the topic's own.
            accept: Which events to send, by their tag; the others only move the sequence on.
        """
        raise NotImplementedError

    def unsubscribe(self, subscription: Subscription) -> None:
        """Takes a topic out of the stream; no frame of it comes any more."""

    async def item_status(
        self, item_id: str, error: AacError | None = None, *, subscription: Subscription | None = None
    ) -> None:
        """Answers one item of the client's: accepted, or why not. Waits while too many answers are unread."""

    def frames(self) -> AsyncIterator[Encoded]:
        """The stream's frames, until `drain` or `close`, or until a snapshot or history source fails.

        Iterate it once. While one frame is being written, later events gather and leave in one frame.
        """
        raise NotImplementedError

    def drain(self) -> None:
        """Sends DRAINING with the points to resume from, and ends the stream."""

    def close(self) -> None:
        """Ends the stream without a word and leaves all topics."""
