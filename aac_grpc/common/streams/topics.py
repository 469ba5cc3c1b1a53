"""What a stream is made of: the events, or the state, of one (venue, key, topic).

A topic lives on one event loop; it wakes its readers and knows nothing else of them.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from aac.type.v1.stream_pb2 import FRAME_KIND_SNAPSHOT, FRAME_KIND_UPDATE, FrameKind, ResumePoint, StreamHeader, Topic

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams.frames import Position, encode, now_header, split
from aac_grpc.common.streams.ring import Entry, Ring

CACHED_FRAMES = 4
"""Frames that a topic keeps for readers that stand at the same point; forgotten with the next event."""


class SequenceError(Exception):
    """An event was appended that does not follow the last one."""


class Reader(Protocol):
    """Somebody to wake when a topic has news."""

    def wake(self) -> None:
        """The topic has news."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Full state as of `sequence`: framed entries."""

    sequence: int
    entries: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class KeptSnapshot:
    """Frames of the full state as of `sequence`."""

    sequence: int
    frames: Sequence[Encoded]


SnapshotSource = Callable[[], Snapshot | Awaitable[Snapshot]]
History = Callable[[int, int], Awaitable[Sequence[Entry]]]
"""`history(after, limit)`: durable events after a sequence, oldest first, at most `limit`; none where none are left."""


class _Topic:
    """What both kinds share: a name, a numbering, readers."""

    def __init__(self, topic: "Topic.ValueType", key: str, venue: str, epoch: int, sequence: int) -> None:
        self.topic = topic
        self.key = key
        self.venue = venue
        self.epoch = epoch
        self.sequence = sequence
        self.spoke_at = monotonic()
        self._readers: dict[Reader, None] = {}

    @property
    def readers(self) -> int:
        """How many subscriptions it has."""
        return len(self._readers)

    def join(self, reader: Reader) -> None:
        """Has the reader woken by news from now on."""
        self._readers[reader] = None

    def leave(self, reader: Reader) -> None:
        """Forgets the reader."""
        self._readers.pop(reader, None)

    def header(self, kind: "FrameKind.ValueType", sequence: int) -> StreamHeader:
        """The header of a frame of this topic."""
        header = now_header(kind)
        header.epoch = self.epoch
        header.sequence = sequence
        header.topic = self.topic
        header.venue = self.venue
        header.key = self.key
        return header

    def resume_point(self, position: Position | None) -> ResumePoint:
        """Where a reader at `position` resumes; epoch and sequence 0 where it begins anew."""
        if position is None:
            return ResumePoint(venue=self.venue, key=self.key, topic=self.topic)
        return ResumePoint(
            venue=self.venue, key=self.key, topic=self.topic, epoch=position.epoch, sequence=position.sequence
        )

    def _wake(self) -> None:
        self.spoke_at = monotonic()
        for reader in self._readers:
            reader.wake()


class EventTopic(_Topic):
    """An EVENT topic: a bounded ring of its latest events, shared by all its readers. Nothing is skipped in silence.

    A reader that asks for what has left the ring gets it from `history`, else an explicit GAP and then a `snapshot`,
    else a GAP and then what the ring still has. A GAP whose epoch is new has gap_first and gap_last 0.

    Attributes:
        epoch: The source's numbering.
        sequence: The last event's.
        kept_snapshot: Frames of a snapshot that still holds; forgotten with the next event.
    """

    def __init__(
        self,
        topic: "Topic.ValueType",
        key: str,
        *,
        venue: str = "",
        epoch: int = 1,
        sequence: int = 0,
        snapshot: SnapshotSource | None = None,
        history: History | None = None,
        max_entries: int = 4096,
        max_bytes: int = 1 << 20,
        max_lag: int | None = None,
        contiguous: bool = True,
    ) -> None:
        """Begins an empty ring.

        Args:
            topic: `aac.type.v1.Topic`.
            key: Instrument symbol or account id.
            venue: Of the key.
            epoch: The source's numbering, from 1.
            sequence: Last sequence that the source has assigned before.
            snapshot: Gives the full state; absent where the topic has none (trades).
            history: Reads durable events.
            max_entries: Events in the ring.
            max_bytes: Bytes in the ring.
            max_lag: A reader further behind than this many events gets one snapshot instead of them (after a GAP).
            contiguous: Sequences have no holes; False for such as Kafka offsets.
        """
        super().__init__(topic, key, venue, epoch, sequence)
        self.snapshot = snapshot
        self.history = history
        self.max_lag = max_lag
        self.contiguous = contiguous
        self.ring = Ring(sequence, max_entries, max_bytes)
        self.kept_snapshot: KeptSnapshot | None = None
        self._frames: dict[int, tuple[Encoded, Position]] = {}

    def append(self, sequence: int, data: bytes, tag: object = None) -> None:
        """Adds one event, already committed, and wakes its readers. An event that is there already is passed over.

        Raises:
            SequenceError: It does not follow the last one; `reset` where events are lost for good.
        """
        self.extend((Entry(sequence, data, tag),))

    def extend(self, entries: Iterable[Entry]) -> None:
        """Adds a batch of events at once, so that readers get it in one frame. See `append`.

        Raises:
            SequenceError: See `append`; the events before the hole were added.
        """
        try:
            for entry in entries:
                if entry.sequence <= self.sequence:
                    continue
                if self.contiguous and entry.sequence != self.sequence + 1:
                    raise SequenceError(f"{self.key}: {entry.sequence} does not follow {self.sequence}")
                self.ring.append(entry)
                self.sequence = entry.sequence
        finally:
            self._frames.clear()
            self.kept_snapshot = None
            self._wake()

    def reset(self, epoch: int, sequence: int) -> None:
        """Goes on from another point: readers get what `history` has, else a GAP, and the snapshot where there is one.

        Raises:
            SequenceError: It would go back in the same epoch.
        """
        if (epoch, sequence) < (self.epoch, self.sequence):
            raise SequenceError(f"{self.key}: {epoch}/{sequence} is before {self.epoch}/{self.sequence}")
        self.epoch = epoch
        self.sequence = sequence
        self.ring.clear(sequence)
        self._frames.clear()
        self.kept_snapshot = None
        self._wake()

    def frame_after(self, after: int) -> tuple[Encoded, Position]:
        """The next frame for a reader that has everything up to `after`, and where it stands then.

        Readers at the same point share it. There must be an event after `after` in the ring.
        """
        found = self._frames.get(after)
        if found is None:
            entries = self.ring.part(after)
            last = entries[-1].sequence
            found = self.update(entries, after, last), Position(self.epoch, last)
            if len(self._frames) == CACHED_FRAMES:
                del self._frames[next(iter(self._frames))]
            self._frames[after] = found
        return found

    def update(self, entries: Sequence[Entry], after: int, last: int) -> Encoded:
        """An UPDATE frame of these events; it takes a reader who has everything up to `after` to `last`."""
        header = self.header(FRAME_KIND_UPDATE, last)
        header.first_sequence = after + 1
        return encode(header, [entry.data for entry in entries], len(entries))

    def snapshot_frames(self, snapshot: Snapshot, *, keep: bool) -> KeptSnapshot:
        """SNAPSHOT frames of a state. Where one frame can't hold it, all but the last have epoch and sequence 0.

        Args:
            snapshot: The state.
            keep: Hold the frames ready for other readers until the next event.
        """
        parts = split(snapshot.entries)
        frames = []
        for number, part in enumerate(parts, 1):
            header = self.header(FRAME_KIND_SNAPSHOT, snapshot.sequence)
            if number < len(parts):
                header.epoch = header.sequence = 0
            frames.append(encode(header, part, len(part)))
        made = KeptSnapshot(snapshot.sequence, frames)
        if keep:
            self.kept_snapshot = made
        return made


class StateTopic(_Topic):
    """A STATE topic: only its latest state counts, and each frame holds all of it (kind SNAPSHOT).

    Attributes:
        epoch: The source's numbering.
        sequence: The state's; 0 where there is none yet.
        version: How many states there were.
    """

    def __init__(self, topic: "Topic.ValueType", key: str, *, venue: str = "", epoch: int = 1) -> None:
        """Begins without a state: a new reader waits for the first one."""
        super().__init__(topic, key, venue, epoch, 0)
        self.version = 0
        self.tag: object = None
        self._entries: Sequence[bytes] | None = None
        self._frame: Encoded | None = None

    @property
    def known(self) -> bool:
        """There is a state."""
        return self._entries is not None

    def publish(self, sequence: int, entries: Sequence[bytes], tag: object = None) -> None:
        """Replaces the state by a later one. `entries` are framed. An older state is passed over."""
        if self._entries is not None and sequence <= self.sequence:
            return
        self.sequence = sequence
        self.tag = tag
        self.version += 1
        self._entries = entries
        self._frame = None
        self._wake()

    def reset(self, epoch: int) -> None:
        """Goes on in another numbering; the state is forgotten."""
        self.epoch = epoch
        self.sequence = 0
        self._entries = self._frame = None

    def frame(self) -> Encoded:
        """The state's frame, made once for all readers. There must be a state."""
        if self._frame is None:
            entries = self._entries or ()
            self._frame = encode(self.header(FRAME_KIND_SNAPSHOT, self.sequence), entries, len(entries))
        return self._frame
