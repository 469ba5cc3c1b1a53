"""The subscription of an EVENT topic: every sequence once and in order, or a GAP that says what is missing."""

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic

from aac.type.v1.stream_pb2 import FRAME_KIND_GAP, FRAME_KIND_HEARTBEAT

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams import metrics
from aac_grpc.common.streams.frames import MAX_FRAME_ITEMS, Position, encode, split
from aac_grpc.common.streams.ring import Entry
from aac_grpc.common.streams.subscriptions import AHEAD_PATIENCE_S, Accept, Owner, Subscription
from aac_grpc.common.streams.topics import EventTopic, History, KeptSnapshot, SnapshotSource

SOURCE_TIMEOUT_S = 10.0
"""How long a snapshot or history source may take."""
HISTORY_PAGE = 1000
"""Events that are asked of `history` at once."""


class EventSubscription(Subscription):
    """Sends events from the ring; what has left it, from `history`; else a GAP, and the snapshot where there is one."""

    topic: EventTopic

    def __init__(
        self,
        owner: Owner,
        topic: EventTopic,
        position: Position | None,
        accept: Accept | None,
        snapshot: SnapshotSource | None,
        history: History | None,
    ) -> None:
        if position is not None and position.epoch == 0:
            position = Position(topic.epoch, position.sequence)
        super().__init__(owner, position, accept)
        self.topic = topic
        self._snapshot = snapshot or topic.snapshot
        self._history = history or topic.history
        self._begins = Position(topic.epoch, topic.sequence)
        """Where a reader without a position begins that gets no snapshot: the events after this one are its own."""
        self._caught_up = True
        """It was at the end since its last snapshot, so that `max_lag` may send another one."""
        self._claims_since = monotonic() if position and position.sequence > topic.sequence else None
        """Since when the reader claims events that the topic does not have yet."""
        self._mistrusted = False
        """It claimed them for too long."""
        self._told: int | None = None
        """Last sequence that the reader was told of, where events that it does not want have moved it on since."""

    @property
    def pending(self) -> bool:
        here = self.position
        if here is None or here.epoch != self.topic.epoch or self._mistrusted:
            return True
        return here.sequence < self.topic.sequence

    @property
    def lag(self) -> int:
        if self.position is None or not self.pending:
            return 0
        return -(-self.topic.ring.count_after(self.position.sequence) // MAX_FRAME_ITEMS) or 1

    def take(self) -> Encoded | None:
        topic, here = self.topic, self.position
        if here is None or here.epoch != topic.epoch or here.sequence < topic.ring.floor or self._mistrusted:
            return None
        if here.sequence >= topic.sequence or self._too_far_behind(here):
            return None
        if self._accept is not None:
            return self._take_accepted(here.sequence, self._accept)
        encoded, position = topic.frame_after(here.sequence)
        self._move(position)
        return encoded

    def _take_accepted(self, after: int, accept: Accept) -> Encoded | None:
        """The next frame with an event that the reader wants; passes over the others."""
        told = after if self._told is None else self._told
        while entries := self.topic.ring.part(after):
            after = entries[-1].sequence
            self._move(Position(self.topic.epoch, after))
            if wanted := [entry for entry in entries if accept(entry.tag)]:
                self._told = None
                return self.topic.update(wanted, told, after)
        self._told = told
        return None

    def _move(self, position: Position) -> None:
        self.position = position
        if position.sequence >= self.topic.sequence:
            self._caught_up = True

    def _too_far_behind(self, here: Position) -> bool:
        limit = self.topic.max_lag
        if limit is None or self._snapshot is None or not self._caught_up:
            return False
        return self.topic.sequence - here.sequence > limit

    async def recover(self) -> Iterable[Encoded]:
        here = self.position
        if here is None:
            return await self._begin()
        page = await self._missed(here)
        if page and (page[0].sequence == here.sequence + 1 or not self.topic.contiguous):
            return self._page_frames(page)
        return await self._jump(here, page[0].sequence - 1 if page else None)

    async def _missed(self, here: Position) -> Sequence[Entry]:
        """Events after `here` from durable storage, cut before the first hole; none where it can't help."""
        topic = self.topic
        if not self._history or here.epoch != topic.epoch or self._mistrusted or self._too_far_behind(here):
            return ()
        metrics.HISTORY_READS.inc()
        async with asyncio.timeout(SOURCE_TIMEOUT_S):
            found = await self._history(here.sequence, HISTORY_PAGE)
        if topic.epoch != here.epoch:
            return ()
        page = [entry for entry in found if entry.sequence > here.sequence]
        if topic.contiguous:
            for index in range(1, len(page)):
                if page[index].sequence != page[index - 1].sequence + 1:
                    return page[:index]
        return page

    def _page_frames(self, page: Sequence[Entry]) -> Iterator[Encoded]:
        done, epoch = 0, self.topic.epoch
        for part in split([entry.data for entry in page]):
            entries = page[done : done + len(part)]
            done += len(part)
            if self.topic.epoch != epoch or self.position is None:
                return
            told, last = self.position.sequence if self._told is None else self._told, entries[-1].sequence
            self._move(Position(epoch, last))
            wanted = [entry for entry in entries if self._accept is None or self._accept(entry.tag)]
            self._told = None if wanted else told
            if wanted:
                yield self.topic.update(wanted, told, last)

    async def _begin(self) -> Iterable[Encoded]:
        """The snapshot; without one, a HEARTBEAT that says where the reader begins."""
        kept = await self._full_state()
        if kept is None:
            here = self._begins
            if here.epoch != self.topic.epoch:
                here = Position(self.topic.epoch, self.topic.sequence)
            self.position = here
            header = self.topic.header(FRAME_KIND_HEARTBEAT, here.sequence)
            header.resume.append(self.resume_point())
            return (encode(header),)
        return self._arriving(kept.frames, Position(self.topic.epoch, kept.sequence))

    async def _jump(self, here: Position, floor: int | None) -> Iterable[Encoded]:
        """A GAP, then the snapshot; without a useful one, the events that are left follow.

        Args:
            here: Where the reader stands.
            floor: The sequence before the first event that history has; None where it has none.
        """
        kept = await self._full_state()
        known = here.epoch == self.topic.epoch and not self._mistrusted
        if kept is not None and not (known and kept.sequence <= here.sequence):
            target = kept.sequence
        else:
            kept, target = None, self._first_left(floor)
            if known and target <= here.sequence:
                self._caught_up = False
                return ()
        frames = (self._gap(here, target), *(kept.frames if kept else ()))
        return self._arriving(frames, Position(self.topic.epoch, target))

    def _first_left(self, floor: int | None) -> int:
        """The sequence after which events can still be had."""
        if self._mistrusted:
            return self.topic.sequence
        if floor is not None:
            return floor
        if self._history and self.position and self.position.epoch != self.topic.epoch:
            return 0
        return self.topic.ring.floor

    def _arriving(self, frames: Sequence[Encoded], there: Position) -> Iterator[Encoded]:
        """Frames that take the reader to a position together: it is not there before the last one.

        Who takes the subscription over in between begins with the first one again, and no snapshot is left out.
        """
        *first, last = frames
        yield from first
        self.position = there
        self._told = None
        self._mistrusted = False
        self._claims_since = None
        self._caught_up = there.sequence >= self.topic.sequence
        yield last

    def _gap(self, here: Position, sequence: int) -> Encoded:
        """Says what lies between `here` and `sequence`: nothing that has a number where the epoch is new."""
        header = self.topic.header(FRAME_KIND_GAP, sequence)
        if here.epoch == self.topic.epoch:
            header.gap_first = min(here.sequence, sequence) + 1
            header.gap_last = max(here.sequence, sequence)
        metrics.GAPS[self.topic.topic].inc()
        return encode(header)

    async def _full_state(self) -> KeptSnapshot | None:
        """Frames of the full state, for all readers alike where the topic's own source answers at once."""
        source, topic = self._snapshot, self.topic
        if source is None:
            return None
        own = source is topic.snapshot
        if own and topic.kept_snapshot is not None:
            return topic.kept_snapshot
        while True:
            epoch = topic.epoch
            result = source()
            if inspect.isawaitable(result):
                own = False
                async with asyncio.timeout(SOURCE_TIMEOUT_S):
                    result = await result
            if topic.epoch == epoch:
                return topic.snapshot_frames(result, keep=own)

    def check(self) -> None:
        here = self.position
        if self._claims_since is None or here is None:
            return
        if here.epoch != self.topic.epoch or here.sequence <= self.topic.sequence:
            self._claims_since = None
        elif monotonic() - self._claims_since > AHEAD_PATIENCE_S:
            self._mistrusted = True
            self.wake()
