"""One topic in one session: how far its reader is, and what comes next. States here, events in `events.py`."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from aac.type.v1.stream_pb2 import ResumePoint

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams import metrics
from aac_grpc.common.streams.frames import Position
from aac_grpc.common.streams.topics import EventTopic, StateTopic

Accept = Callable[[object], bool]

AHEAD_PATIENCE_S = 5.0
"""How long a topic may lag behind what a reader says that it has, before the reader is told what there is."""


class Owner(Protocol):
    """The session of a subscription."""

    def enqueue(self, subscription: "Subscription") -> None:
        """The subscription may have something to send."""


class Subscription:
    """One topic in one session.

    Attributes:
        topic: What is sent.
        position: What was sent; None while nothing was.
        active: False once it was taken out of the session.
    """

    topic: EventTopic | StateTopic

    def __init__(self, owner: Owner, position: Position | None, accept: Accept | None) -> None:
        self._owner = owner
        self._accept = accept
        self._queued = False
        self.position = position
        self.active = True

    def wake(self) -> None:
        """The topic has news: stand in the session's queue."""
        if not self._queued:
            self._queued = True
            self._owner.enqueue(self)

    def leave_queue(self) -> None:
        """The session looks at it now."""
        self._queued = False

    @property
    def pending(self) -> bool:
        """There is more to send."""
        raise NotImplementedError

    @property
    def lag(self) -> int:
        """Frames that wait."""
        raise NotImplementedError

    @property
    def conflated(self) -> int:
        """States that were overtaken before the reader took them."""
        return 0

    def take(self) -> Encoded | None:
        """The next frame, if it can be made at once."""
        raise NotImplementedError

    async def recover(self) -> Iterable[Encoded]:
        """Frames that must be fetched or explained, where `take` gave none though something is pending."""
        return ()

    def check(self) -> None:
        """Called at each heartbeat."""

    def resume_point(self) -> ResumePoint:
        """Where the reader resumes."""
        return self.topic.resume_point(self.position)


class StateSubscription(Subscription):
    """Sends the latest state whenever there is a later one."""

    topic: StateTopic

    def __init__(self, owner: Owner, topic: StateTopic, position: Position | None, accept: Accept | None) -> None:
        super().__init__(owner, position, accept)
        self.topic = topic
        self._conflated = 0
        self._seen = topic.version
        self._claims_since = monotonic() if position is not None and self._is_ahead(position) else None
        """Since when the reader claims a later state than the topic has."""

    @property
    def pending(self) -> bool:
        topic, here = self.topic, self.position
        if not topic.known or here == Position(topic.epoch, topic.sequence):
            return False
        # A state that is older than what the reader has from another instance is not sent.
        return here is None or not self._is_ahead(here) or self._claims_since is None

    @property
    def lag(self) -> int:
        return int(self.pending)

    @property
    def conflated(self) -> int:
        return self._conflated

    def take(self) -> Encoded | None:
        if not self.pending:
            return None
        topic = self.topic
        overtaken = topic.version - self._seen - 1
        if overtaken > 0:
            self._conflated += overtaken
            metrics.CONFLATED.inc(overtaken)
        self._seen = topic.version
        self._claims_since = None
        self.position = Position(topic.epoch, topic.sequence)
        if self._accept is not None and not self._accept(topic.tag):
            return None
        return topic.frame()

    def check(self) -> None:
        if self._claims_since is not None and monotonic() - self._claims_since > AHEAD_PATIENCE_S:
            self._claims_since = None
            self.wake()

    def _is_ahead(self, here: Position) -> bool:
        return here.epoch == self.topic.epoch and here.sequence > self.topic.sequence
