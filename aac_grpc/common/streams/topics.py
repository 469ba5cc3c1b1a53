"""What a stream is made of: the events, or the state, of one (venue, key, topic)."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class SequenceError(Exception):
    """An event was appended that does not follow the last one."""


class Entry(NamedTuple):
    """One event, framed (`frame`) as an entry of the response's repeated field."""

    sequence: int
    data: bytes
    tag: object = None
    """What subscriptions with `accept` look at, such as the event's type."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Full state as of `sequence`: framed entries."""

    sequence: int
    entries: Sequence[bytes]


SnapshotSource = Callable[[], Snapshot | Awaitable[Snapshot]]
History = Callable[[int, int], Awaitable[Sequence[Entry]]]
"""`history(after, limit)`: durable events after a sequence, oldest first, at most `limit`; fewer or none where there are no more."""


class EventTopic:
    """An EVENT topic: a bounded ring of its latest events, shared by all its readers. Nothing is skipped in silence.

    A reader that asks for what has left the ring gets it from `history`, else an explicit GAP and then a `snapshot`,
    else a GAP and then what the ring still has.
    """

    def __init__(
        self,
        topic: int,
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

    epoch: int
    sequence: int
    """The last event's."""

    def append(self, sequence: int, data: bytes, tag: object = None) -> None:
        """Adds one event, already committed, and wakes its readers. An event that is there already is passed over.

        Raises:
            SequenceError: It does not follow the last one; `reset` where events are lost for good.
        """

    def extend(self, entries: Iterable[Entry]) -> None:
        """Adds a batch of events at once: readers get it in one frame."""

    def reset(self, epoch: int, sequence: int) -> None:
        """Goes on from another point: readers get a GAP, and the snapshot where there is one."""


class StateTopic:
    """A STATE topic: only its latest state counts, and each frame holds all of it (kind SNAPSHOT)."""

    def __init__(self, topic: int, key: str, *, venue: str = "", epoch: int = 1) -> None:
        """Begins without a state: a new reader waits for the first one."""

    epoch: int
    sequence: int

    def publish(self, sequence: int, entries: Sequence[bytes], tag: object = None) -> None:
        """Replaces the state by a later one. `entries` are framed. An older state is passed over."""

    def reset(self, epoch: int) -> None:
        """Goes on in another numbering; the state is forgotten."""
