"""A recorded day as rows for a venue: our own book follows the recording and says what a venue lacks.

1. Row 0 opens the book: the first orderbook row with the first message undone. Message k is row k + 1.
2. A new order joins the back of its level, a partial cancel keeps its place, a delete takes it out. Hidden
   executions and crosses print. Halts do nothing.
3. An aggressor is the visible executions of one time and direction, next to each other or with only hidden ones
   between: an IOC order at the worst of their prices for the sum of their sizes.
4. The file knows only what happens inside its top levels. A level that comes into view is reset to what can rest
   there (`OrderLives`), the rest of its size being anonymous orders; a level of ours in view that the file does not
   show is dropped. Resets stand in the row that shows their need, and so after that row's comparison.
5. Where price-time priority does not give the recorded makers, the take names those that it does give, so that a
   venue without other orders follows exactly; the level is then reset to what the recording left there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from aac_grpc.domain.feed import Cancel, FeedRow, Item, New, Print, RecordedFill, Reduce, Reset, Take, TopOfBook
from aac_grpc.domain.orders import Side
from aac_grpc.feeds.lobster.files import Messages, Recording
from aac_grpc.feeds.lobster.lives import OrderLives
from aac_grpc.feeds.lobster.recorded_book import SIDES, RecordedBook, shown_sides
from aac_grpc.feeds.shadow import Met

_NEW, _REDUCE, _DELETE, _EXECUTION, _HIDDEN, _CROSS = 1, 2, 3, 4, 5, 6

_Message = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Counts:
    """What a translation met so far."""

    rows: int = 0
    aggressors: int = 0
    exact: int = 0
    """Aggressors whose makers and sizes price-time priority reproduces, in order."""
    split: int = 0
    """Aggressors that had to enter in parts, since what they would meet was not yet in view."""
    resets: int = 0
    unplaced: int = 0
    """Messages that could not be applied to our book; the level's reset mends it."""


class Translation:
    """Translates one recording, once, from its beginning."""

    def __init__(self, recording: Recording, messages: Messages, unit: int, compare_from_ns: int) -> None:
        """Prepares a translation.

        Args:
            recording: The files.
            messages: The recording's messages.
            unit: One tick, in the file's unit of 1/10,000 dollar.
            compare_from_ns: Rows from this time on say what the venue's top of book is to be compared with.
        """
        self.counts = Counts()
        self._recording = recording
        self._messages = messages
        self._unit = unit
        self._compare_from_ns = compare_from_ns
        self._ours = RecordedBook(OrderLives(messages), unit, recording.levels)
        self._top: tuple[list[bytes], TopOfBook | None] = ([], None)
        self._aggressor_end = self._take_end = 0
        """Last rows of the aggressor and of the take that are under way."""
        self._repair: set[int] = set()
        """File prices at which the take that is under way meets other makers than recorded."""

    def rows(self) -> Iterator[FeedRow]:
        """Yields the opening row, then one row for each message.

        Raises:
            ValueError: The orderbook file is not one, or ends early.
        """
        name = self._recording.orderbook_file
        with self._recording.open(name) as lines:
            previous = next(lines, b"")
            fields = previous.rstrip().split(b",")
            if len(fields) != 4 * self._recording.levels:
                raise ValueError(f"{name} does not have {self._recording.levels} levels a side")
            yield self._opening(fields)
            for row, (message, line) in enumerate(zip(self._messages, chain([previous], lines), strict=False), 1):
                changed = row == 1 or line != previous
                if changed:
                    fields, previous = line.rstrip().split(b","), line
                yield self._row(row, message, fields, changed)
        if self.counts.rows <= len(self._messages):
            raise ValueError(f"{name} has fewer rows than there are messages")

    def _opening(self, fields: list[bytes]) -> FeedRow:
        """Seeds the book with the first row, less what the first message did."""
        time_ns, kind, _, size, price, direction = next(iter(self._messages))
        resets = []
        for side, shown in shown_sides(fields):
            levels = {int(level): int(quantity) for level, quantity in shown.items()}
            if side == direction and kind in (_NEW, _REDUCE, _DELETE, _EXECUTION):
                levels[price] = levels.get(price, 0) + (-size if kind == _NEW else size)
            resets += self._ours.open(side, {level: quantity for level, quantity in levels.items() if quantity > 0})
        self.counts.rows += 1
        self.counts.resets += len(resets)
        return FeedRow(0, time_ns, resets=tuple(resets))

    def _row(self, row: int, message: _Message, fields: list[bytes], changed: bool) -> FeedRow:
        """Applies a message to our book and says what makes a venue follow."""
        time_ns, kind, order_id, size, price, direction = message
        items: tuple[Item, ...] = ()
        if kind == _NEW:
            items = self._new(str(order_id), SIDES[direction], price // self._unit, size)
        elif kind in (_DELETE, _REDUCE):
            items = self._withdraw(str(order_id), SIDES[direction], price // self._unit, size)
        elif kind == _EXECUTION:
            items = self._execution(row, direction)
        elif kind in (_HIDDEN, _CROSS):
            items = (_print(price, size, SIDES[-direction]),)
        expected = self._expected(fields) if time_ns >= self._compare_from_ns else None
        resets: tuple[Reset, ...] = ()
        if row >= self._take_end and (changed or self._repair):
            mended = self._ours.mend(row - 1, fields, price if kind == _NEW else 0, self._repair)
            if mended:
                resets = tuple(mended)
                self.counts.resets += len(resets)
            self._repair.clear()
        self.counts.rows += 1
        return FeedRow(row, time_ns, items, expected, resets)

    def _new(self, order_ref: str, side: Side, price: int, size: int) -> tuple[Item, ...]:
        ours = self._ours
        if order_ref in ours.orders or ours.book.crosses(side, price):
            self.counts.unplaced += 1
            return ()
        ours.add(order_ref, side, price, size)
        return (New(order_ref, side, price, size),)

    def _withdraw(self, order_ref: str, side: Side, price: int, size: int) -> tuple[Item, ...]:
        ours = self._ours
        order = ours.orders.get(order_ref) or ours.stand_in(side, price, size)
        if order is None:
            self.counts.unplaced += 1
            return ()
        if size >= order.leaves:
            ours.cancel(order)
            return (Cancel(order.order_id),)
        ours.book.reduce(order, size)
        return (Reduce(order.order_id, size),)

    def _execution(self, row: int, direction: int) -> tuple[Item, ...]:
        """Enters as much of an aggressor as our book reproduces; later executions of it follow in their rows."""
        if row <= self._take_end:
            return ()
        aggressor = self._aggressor(row - 1)
        is_new = row > self._aggressor_end
        self._aggressor_end = aggressor[-1][0]
        side, worst_of = SIDES[-direction], max if direction == -1 else min
        at_first_price = [part for part in aggressor if part[3] == aggressor[0][3]]
        for parts in (aggressor, at_first_price, aggressor[:1]):
            recorded = [(order_ref, size, price) for _, order_ref, size, price in parts]
            worst, quantity = worst_of(part[3] for part in parts), sum(part[2] for part in parts)
            met = self._ours.meets(side, worst, quantity)
            if [fill[1:] for fill in met] == [fill[1:] for fill in recorded]:
                break
        if is_new:
            self.counts.aggressors += 1
            self.counts.exact += met == recorded and parts is aggressor
            self.counts.split += len(parts) < len(aggressor)
        self._take_end = parts[-1][0]
        if met != recorded:
            self._repair = {price * self._unit for _, _, price in chain(met, recorded)}
        return self._take(side, worst, quantity, met, [part[0] for part in parts])

    def _take(self, side: Side, worst: int, quantity: int, met: list[Met], rows: list[int]) -> tuple[Item, ...]:
        """Lets an order trade with what it meets; what is not there to meet prints."""
        if sum(size for _, size, _ in met) < quantity:
            self.counts.unplaced += 1
            return (_print(worst * self._unit, quantity, side),)
        self._ours.take(side, worst, quantity)
        if len(rows) != len(met):
            rows = [rows[0]] * len(met)
        fills = tuple(RecordedFill(row, ref, size) for row, (ref, size, _) in zip(rows, met, strict=True))
        return (Take(side, worst, quantity, fills),)

    def _aggressor(self, index: int) -> list[tuple[int, str, int, int]]:
        """Returns (row, order_ref, lots, ticks) of the executions of the order that begins with a message."""
        messages = self._messages
        time_ns, direction = messages.time_ns[index], messages.direction[index]
        parts = []
        while index < len(messages) and messages.time_ns[index] == time_ns:
            kind = messages.kind[index]
            if kind == _EXECUTION and messages.direction[index] == direction:
                price = int(messages.price[index]) // self._unit
                parts.append((index + 1, str(messages.order_id[index]), int(messages.size[index]), price))
            elif kind != _HIDDEN:
                break
            index += 1
        return parts

    def _expected(self, fields: list[bytes]) -> TopOfBook:
        """Returns the recorded top of book."""
        texts, top = fields[:4], self._top[1]
        if top is None or texts != self._top[0]:
            ask_price, ask_size, bid_price, bid_size = (int(text) for text in texts)
            bid = (bid_price // self._unit, bid_size) if bid_size else (0, 0)
            ask = (ask_price // self._unit, ask_size) if ask_size else (0, 0)
            top = TopOfBook(*bid, *ask)
            self._top = (texts, top)
        return top


def _print(file_price: int, size: int, aggressor: Side) -> Print:
    return Print(Decimal(file_price).scaleb(-4), size, aggressor)
