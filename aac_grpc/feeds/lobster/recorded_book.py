"""Our own book beside a recording, and what it lacks of what the recording shows."""

from collections.abc import Iterable, Iterator

from aac_grpc.domain.feed import Reset
from aac_grpc.domain.orders import RestingOrder, Side
from aac_grpc.feeds.lobster.lives import OrderLives
from aac_grpc.feeds.shadow import ShadowBook

SIDES = {1: Side.BUY, -1: Side.SELL}
"""By LOBSTER's direction."""

Shown = dict[bytes, bytes]
"""Price to size of one side's levels, best first, as the file writes them; levels that are not there have size 0."""

_ANONYMOUS = "~"
"""Begins the references of orders that the file shows only as part of a level's size."""
_EMPTY = b"0"


def shown_sides(fields: list[bytes]) -> Iterator[tuple[int, Shown]]:
    """Yields (direction, levels) of an orderbook row."""
    yield -1, dict(zip(fields[0::4], fields[1::4], strict=True))
    yield 1, dict(zip(fields[2::4], fields[3::4], strict=True))


class RecordedBook(ShadowBook):
    """A book that follows a recording. Prices are ticks unless a name says `file_price` (1/10,000 dollar)."""

    def __init__(self, lives: OrderLives, unit: int, levels: int) -> None:
        """Makes an empty book.

        Args:
            lives: The orders of the day.
            unit: One tick, in 1/10,000 dollar.
            levels: Price levels a side that the recording shows.
        """
        super().__init__()
        self._lives = lives
        self._unit = unit
        self._levels = levels
        self._shown: dict[int, Shown] = {1: {}, -1: {}}
        self._ticks = _Ticks(unit)
        self._anonymous = 0

    def stand_in(self, side: Side, price: int, quantity: int) -> RestingOrder | None:
        """Returns the youngest anonymous order that one unknown to us must be part of."""
        level = self.book.level(side, price)
        large = [order for order in level or () if _is_anonymous(order.order_id) and order.leaves >= quantity]
        return large[-1] if large else None

    def open(self, direction: int, levels: dict[int, int]) -> list[Reset]:
        """Seeds a side before the first message, from file prices and sizes."""
        self._shown[direction] = {b"%d" % price: b"%d" % size for price, size in levels.items()}
        return [reset for price, size in levels.items() if (reset := self._compose(direction, price, size, -1))]

    def mend(self, index: int, fields: list[bytes], entered: int, repair: Iterable[int]) -> list[Reset]:
        """Makes the book show what the recording shows after a message, and returns what had to be set.

        Args:
            index: The message's.
            fields: Its orderbook row.
            entered: File price of the order that it entered, whose level holds nothing else that is new; 0: none.
            repair: File prices of levels whose orders are to be checked though their size may be right.
        """
        resets: list[Reset] = []
        for direction, shown in shown_sides(fields):
            before = self._shown[direction]
            if shown == before and not repair:
                continue
            self._shown[direction] = shown
            new_level = b"%d" % entered
            # A new order's level only pushes others out of view; any other change may bring stale ones into it.
            if shown.keys() != before.keys() and (new_level in before or new_level not in shown):
                resets += self._drop_unshown(direction, shown)
            for text in shown if repair else [text for text in shown if shown[text] != before.get(text)]:
                price, size = int(text), int(shown[text])
                into_view = text not in before and price != entered
                if not size or not (into_view or price in repair or self._quantity(direction, price) != size):
                    continue
                if (reset := self._compose(direction, price, size, index)) is not None:
                    resets.append(reset)
        return resets

    def _quantity(self, direction: int, file_price: int) -> int:
        level = self.book.level(SIDES[direction], file_price // self._unit)
        return 0 if level is None else level.quantity

    def _drop_unshown(self, direction: int, shown: Shown) -> list[Reset]:
        """Drops the levels in view that the recording does not show."""
        side, ticks = SIDES[direction], self._ticks
        prices = [ticks[price] for price, size in shown.items() if size != _EMPTY]
        if [level[0] for level in self.book.levels(side, self._levels)] == prices:
            return []
        is_whole_book = len(prices) < self._levels
        worst = (min if direction == 1 else max)(prices, default=0)
        resets: list[Reset] = []
        while True:
            ours = (price for price, _, _ in self.book.levels(side, self._levels))
            unshown = [p for p in ours if p not in prices and (is_whole_book or (p - worst) * direction > 0)]
            if not unshown:
                return resets
            resets += [self.set(side, price, []) for price in unshown]

    def _compose(self, direction: int, file_price: int, size: int, index: int) -> Reset | None:
        """Sets a level to the orders that can rest there after a message; None where they do already.

        Orders with later events come first: by id, those that surely have entered before those that may have, as far
        as they fit. What is left of the size is of orders without later events; they stand behind, since whatever
        the recording fills later was before them.
        """
        side, price = SIDES[direction], file_price // self._unit
        ours = self.at(side, price)
        lives = self._lives.after(direction, file_price, index)
        known = {order_ref for order_ref, _ in ours}
        lives.sort(key=lambda life: not (life.certain or str(life.order_id) in known))
        orders: list[tuple[str, int]] = []
        for life in lives:
            if life.quantity <= size:
                orders.append((str(life.order_id), life.quantity))
                size -= life.quantity
        with_events = {str(life.order_id) for life in lives}
        for order_ref, quantity in ours:
            if size and order_ref not in with_events:
                orders.append((order_ref, min(quantity, size)))
                size -= min(quantity, size)
        if size:
            self._anonymous += 1
            orders.append((f"{_ANONYMOUS}{self._anonymous}", size))
        return self.set(side, price, orders) if orders != ours else None


class _Ticks(dict[bytes, int]):
    """Prices as the file writes them, in ticks; filled as they are met."""

    def __init__(self, unit: int) -> None:
        super().__init__()
        self._unit = unit

    def __missing__(self, text: bytes) -> int:
        ticks = self[text] = int(text) // self._unit
        return ticks


def _is_anonymous(order_ref: str) -> bool:
    return order_ref.startswith(_ANONYMOUS)
