"""Where a stream stands, key by key: what is new in a frame, what came twice, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint, StreamHeader

EntryT = TypeVar("EntryT")

_STATE_TOPICS = frozenset({stream_pb2.TOPIC_QUOTES})
_WITH_SNAPSHOT = frozenset({stream_pb2.TOPIC_DEPTH, stream_pb2.TOPIC_ORDERS, stream_pb2.TOPIC_REVOCATIONS})
_OF_A_KEY = frozenset({stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE, stream_pb2.FRAME_KIND_GAP})


@dataclass(frozen=True, slots=True)
class Missed:
    """Events that can't be had: sequences `first` to `last`; both 0 where the numbering itself changed."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Step(Generic[EntryT]):
    """What a frame brings."""

    fresh: Sequence[EntryT] = ()
    """Its new entries; for a snapshot that came in parts, those of all parts."""
    snapshot: bool = False
    """They are the full state."""
    missed: Missed | None = None
    """What lies between what came before and this frame."""
    announced: bool = True
    """The service itself said what is missed, and sends a snapshot where the topic has one."""


class Position(Generic[EntryT]):
    """Where one key and topic stands."""

    def __init__(self, topic: Any, epoch: int = 0, sequence: int = 0) -> None:
        """Begins at a point; epoch 0 is before the first frame."""
        self.topic = topic
        self.epoch = epoch
        self.sequence = sequence
        self._parts: list[EntryT] = []
        self._torn = False
        """A GAP came, and the snapshot after it did not yet: what there was before does not hold any more."""

    def resume_point(self, key: str, venue: str = "") -> ResumePoint | None:
        """Where a new connection goes on; None to begin anew: before the first frame, between a GAP and its snapshot.

        A snapshot that came in part comes anew, from its first part.
        """
        self._parts.clear()
        if not self.epoch or self._torn:
            return None
        return ResumePoint(key=key, topic=self.topic, epoch=self.epoch, sequence=self.sequence, venue=venue)

    def begin(self, header: StreamHeader) -> None:
        """Takes a heartbeat that says where the key begins, before its first event."""
        if not self.epoch and header.epoch:
            self._move(header)

    def advance(self, header: StreamHeader, entries: Sequence[EntryT]) -> Step[EntryT]:
        """Takes a frame of this key and topic.

        Args:
            header: Its header.
            entries: What it carries; an UPDATE has at most one entry a sequence that it covers.
        """
        match header.kind:
            case stream_pb2.FRAME_KIND_SNAPSHOT:
                return self._snapshot(header, entries)
            case stream_pb2.FRAME_KIND_GAP:
                self._move(header)
                self._torn = self.topic in _WITH_SNAPSHOT
                return Step(missed=Missed(header.gap_first, header.gap_last))
            case stream_pb2.FRAME_KIND_UPDATE:
                return self._update(header, entries)
        return Step()

    def _snapshot(self, header: StreamHeader, entries: Sequence[EntryT]) -> Step[EntryT]:
        if not header.epoch:  # more parts follow; the last one has the numbers
            self._parts.extend(entries)
            return Step()
        self._move(header)
        whole = [*self._parts, *entries]
        self._parts.clear()
        return Step(whole, snapshot=True)

    def _update(self, header: StreamHeader, entries: Sequence[EntryT]) -> Step[EntryT]:
        epoch, last = self.epoch, self.sequence
        if epoch == header.epoch and header.sequence <= last:
            return Step()
        self._move(header)
        if not epoch or self.topic in _STATE_TOPICS:
            return Step(entries)
        if epoch != header.epoch:
            return Step(entries, missed=Missed(0, 0), announced=False)
        first = header.first_sequence
        if first > last + 1:
            return Step(entries, missed=Missed(last + 1, first - 1), announced=False)
        # Only a frame with an entry for each of its sequences can be cut where it repeats what we have.
        whole = len(entries) == header.sequence - first + 1
        return Step(entries[last + 1 - first :] if whole else entries)

    def _move(self, header: StreamHeader) -> None:
        self.epoch, self.sequence = header.epoch, header.sequence
        self._torn = False


def is_about_a_key(header: StreamHeader) -> bool:
    """Whether the frame belongs to a key and topic, and not to the stream itself."""
    return header.kind in _OF_A_KEY
