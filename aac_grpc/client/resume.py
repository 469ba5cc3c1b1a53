"""Where a stream stands, key by key: what is new in a frame, what came twice, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint, StreamHeader

_STATE_TOPICS = frozenset({stream_pb2.TOPIC_QUOTES})
# Filters, and the broker itself, leave holes among the offsets of domain events.
_SKIPPING_TOPICS = _STATE_TOPICS | {stream_pb2.TOPIC_EVENTS}


@dataclass(frozen=True, slots=True)
class Missed:
    """Events that can't be had: sequences `first` to `last`; both 0 where the numbering itself changed."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Step:
    """What a frame brings."""

    fresh: int
    """How many of its last entries are new."""
    missed: Missed | None = None
    """What lies between the frame before and this one."""


class Position:
    """Where one key and topic stands."""

    __slots__ = ("epoch", "sequence", "topic")

    def __init__(self, topic: Any, epoch: int = 0, sequence: int = 0) -> None:
        """Begins at a point; epoch 0 is before the first frame."""
        self.topic = topic
        self.epoch = epoch
        self.sequence = sequence

    def resume_point(self, key: str) -> ResumePoint | None:
        """Where to go on; None before the first frame."""
        if not self.epoch:
            return None
        return ResumePoint(key=key, topic=self.topic, epoch=self.epoch, sequence=self.sequence)

    def advance(self, header: StreamHeader, entries: int) -> Step:
        """Takes a frame of this key and topic.

        Args:
            header: Its header.
            entries: How many entries it carries, one a sequence; the last one's is the header's.
        """
        match header.kind:
            case stream_pb2.FRAME_KIND_SNAPSHOT:
                self._move(header.epoch, header.sequence)
                return Step(entries)
            case stream_pb2.FRAME_KIND_GAP:
                self._move(header.epoch, max(header.gap_last, header.sequence))
                return Step(entries, Missed(header.gap_first, header.gap_last))
            case stream_pb2.FRAME_KIND_UPDATE:
                return self._update(header, entries)
        return Step(0)

    def _update(self, header: StreamHeader, entries: int) -> Step:
        epoch, last = self.epoch, self.sequence
        state = self.topic in _STATE_TOPICS
        if epoch == header.epoch and (header.sequence < last or (header.sequence == last and not state)):
            return Step(0)
        self._move(header.epoch, header.sequence)
        if not epoch:
            return Step(entries)
        if epoch != header.epoch:
            return Step(entries, None if state else Missed(0, 0))
        if self.topic in _SKIPPING_TOPICS:
            return Step(entries)
        first = header.sequence - entries + 1
        if first > last + 1:
            return Step(entries, Missed(last + 1, first - 1))
        return Step(header.sequence - last)

    def _move(self, epoch: int, sequence: int) -> None:
        self.epoch = epoch
        self.sequence = sequence


_OF_A_KEY = frozenset({stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE, stream_pb2.FRAME_KIND_GAP})


def is_about_a_key(header: StreamHeader) -> bool:
    """Whether the frame belongs to a key and topic, and not to the stream itself."""
    return header.kind in _OF_A_KEY
