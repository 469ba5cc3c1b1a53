"""What the messages of a day tell about each order: when it may have rested, and how much of it was left.

The file shows only events inside the top levels, so an order may enter or leave unseen. But an order that has a later
event rests until then, and its size is the sum of what its later events take away. Ids grow with time, which bounds
when an order entered whose entry the file does not show.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aac_grpc.feeds.lobster.files import Messages

_ENTRY = 1
_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Life:
    """An order that has an event after some row."""

    order_id: int
    quantity: int
    """What its later events take away."""
    certain: bool
    """It had surely entered by that row; else it may have."""


class OrderLives:
    """The orders of a day, sorted by level and id; about 60 bytes an order."""

    __slots__ = (
        "_certain_from",
        "_event_rows",
        "_last_row",
        "_levels",
        "_order_ids",
        "_possible_from",
        "_remaining",
        "_starts",
    )

    def __init__(self, messages: Messages) -> None:
        """Sorts the events of visible orders into lives."""
        visible = np.flatnonzero((messages.kind >= _ENTRY) & (messages.kind <= 4))
        columns = (visible, messages.order_id[visible], messages.price[visible], messages.direction[visible])
        rows: NDArray[np.int32] = visible[np.lexsort(columns)].astype(np.int32)
        ids, prices, directions = messages.order_id[rows], messages.price[rows], messages.direction[rows]
        entries = messages.kind[rows] == _ENTRY
        sizes = np.where(entries, 0, messages.size[rows])

        new_level = _changes(prices) | _changes(directions)
        starts = np.flatnonzero(new_level | _changes(ids))
        self._starts: NDArray[np.int64] = np.append(starts, len(rows))
        self._order_ids: NDArray[np.int64] = ids[starts]
        self._event_rows = rows
        self._last_row: NDArray[np.int32] = rows[self._starts[1:] - 1]
        total = np.append(np.cumsum(sizes[::-1])[::-1], 0)
        ends = np.repeat(self._starts[1:], np.diff(self._starts))
        self._remaining: NDArray[np.int64] = total[: len(rows)] - total[ends]
        """At each event, the sum of its order's sizes from it on."""
        self._possible_from, self._certain_from = _entry_bounds(
            messages, self._order_ids, rows[starts], entries[starts]
        )
        self._levels = _level_ranges(directions[starts], prices[starts])

    def after(self, direction: int, price: int, row: int) -> list[Life]:
        """Returns the orders of a level that may rest after a row and have a later event, by id."""
        block = self._levels.get((direction, price))
        if block is None:
            return []
        possible = (self._possible_from[block] <= row) & (self._last_row[block] > row)
        return [self._life(block.start + index, row) for index in np.flatnonzero(possible).tolist()]

    def _life(self, index: int, row: int) -> Life:
        event = int(self._starts[index])
        while self._event_rows[event] <= row:
            event += 1
        certain = bool(self._certain_from[index] <= row)
        return Life(int(self._order_ids[index]), int(self._remaining[event]), certain)


def _changes(column: NDArray[np.int64] | NDArray[np.int8]) -> NDArray[np.bool_]:
    """Tells where a value differs from the one before it; the first one does."""
    changes = np.ones(len(column), bool)
    np.not_equal(column[1:], column[:-1], out=changes[1:])
    return changes


def _entry_bounds(
    messages: Messages, ids: NDArray[np.int64], first_rows: NDArray[np.int32], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Returns the first rows after which each order may rest, and surely has entered.

    Both are the row of its entry where the file shows it. Otherwise it may rest once all entries with lower ids have
    been seen, and has entered once one with a higher id has.
    """
    entry_rows = np.flatnonzero(messages.kind == _ENTRY).astype(np.int32)
    entry_ids = messages.order_id[entry_rows]
    by_id = np.argsort(entry_ids, kind="stable")
    sorted_ids, sorted_rows = entry_ids[by_id], entry_rows[by_id]
    lower_seen = np.append(np.int32(-1), np.maximum.accumulate(sorted_rows)).astype(np.int32)
    higher_seen = np.append(np.minimum.accumulate(sorted_rows[::-1])[::-1], _NEVER).astype(np.int32)
    place = np.searchsorted(sorted_ids, ids)
    possible = np.where(seen, first_rows, lower_seen[place])
    certain = np.where(seen, first_rows, higher_seen[place])
    if len(entry_ids):
        before_the_day = ~seen & (ids < entry_ids[0])
        possible[before_the_day] = certain[before_the_day] = -1
    return possible.astype(np.int32), certain.astype(np.int32)


def _level_ranges(directions: NDArray[np.int8], prices: NDArray[np.int64]) -> dict[tuple[int, int], slice]:
    """Returns which orders each (direction, price) has, in arrays that are sorted by them."""
    starts = np.flatnonzero(_changes(directions) | _changes(prices))
    ends = np.append(starts, len(prices))[1:]
    keys = zip(directions[starts].tolist(), prices[starts].tolist(), strict=True)
    return {key: slice(start, end) for key, start, end in zip(keys, starts.tolist(), ends.tolist(), strict=True)}
