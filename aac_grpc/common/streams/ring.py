"""A bounded, ordered memory of a topic's latest events."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from aac_grpc.common.streams.frames import MAX_FRAME_BYTES, MAX_FRAME_ITEMS


class Entry(NamedTuple):
    """One event, framed (`frame`) as an entry of the response's repeated field."""

    sequence: int
    data: bytes
    tag: object = None
    """What subscriptions with `accept` look at, such as the event's type."""


class Ring:
    """Events after `floor`, in order. Over its bounds it forgets the oldest eighth at once, which keeps appends cheap.

    Attributes:
        floor: Everything after this sequence is here.
        entries: Oldest first.
    """

    __slots__ = ("_ends", "_sequences", "entries", "floor", "max_bytes", "max_entries")

    def __init__(self, floor: int, max_entries: int, max_bytes: int) -> None:
        self.floor = floor
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.entries: list[Entry] = []
        self._sequences: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def size(self) -> int:
        """Bytes of its entries."""
        return self._ends[-1] - self._ends[0] + len(self.entries[0].data) if self.entries else 0

    def append(self, entry: Entry) -> None:
        """Adds an event that comes after all others."""
        self.entries.append(entry)
        self._sequences.append(entry.sequence)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(entry.data))
        if len(self.entries) > self.max_entries or self.size > self.max_bytes:
            self._forget()

    def part(self, after: int) -> Sequence[Entry]:
        """The first events after a sequence that fit one frame; at least one where there is any."""
        begin = bisect_right(self._sequences, after)
        if begin == len(self.entries):
            return ()
        limit = self._ends[begin] - len(self.entries[begin].data) + MAX_FRAME_BYTES
        end = min(bisect_right(self._ends, limit, begin), begin + MAX_FRAME_ITEMS)
        return self.entries[begin : max(end, begin + 1)]

    def count_after(self, sequence: int) -> int:
        """How many events come after a sequence."""
        return len(self._sequences) - bisect_right(self._sequences, sequence)

    def clear(self, floor: int) -> None:
        """Forgets everything and goes on after `floor`."""
        self.floor = floor
        self.entries.clear()
        self._sequences.clear()
        self._ends.clear()

    def _forget(self) -> None:
        keep_bytes = self._ends[-1] - self.max_bytes * 7 // 8
        count = max(len(self.entries) - self.max_entries * 7 // 8, bisect_left(self._ends, keep_bytes))
        count = min(max(count, 1), len(self.entries) - 1)
        if count == 0:
            return
        self.floor = self._sequences[count - 1]
        del self.entries[:count]
        del self._sequences[:count]
        del self._ends[:count]
