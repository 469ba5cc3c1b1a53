"""The limit order book of one instrument: price-time priority over integer ticks and lots.

Each side is a sorted list of its prices, best last, and a level for each price; a level is a doubly linked
list of orders in time priority. Joining a level, leaving it and trading at the best price cost O(1); a new
price costs a binary search and a list insertion.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from aac_grpc.domain.orders import RestingOrder, Side

_new = tuple.__new__  # half the cost of calling the class: every fill passes here
_BUY = Side.BUY

OrderT = TypeVar("OrderT", bound=RestingOrder)


class Level(Generic[OrderT]):
    """The orders at one price, in time priority from `head` to `tail`."""

    __slots__ = ("head", "orders", "price", "quantity", "tail")

    def __init__(self, price: int) -> None:
        self.price = price
        self.quantity = 0
        """Sum of the orders' open lots."""
        self.orders = 0
        """How many orders rest here."""
        self.head: OrderT | None = None
        self.tail: OrderT | None = None

    def __iter__(self) -> Iterator[OrderT]:
        order = self.head
        while order is not None:
            yield order
            order = order.next


class Fill(NamedTuple, Generic[OrderT]):
    """One match: the maker, already reduced (`maker.leaves` is after it), and its level after it."""

    maker: OrderT
    price: int
    quantity: int
    level: Level[OrderT]


class _Ladder(Generic[OrderT]):
    """One side's levels. A key is the price on the buy side and its negative on the sell side: the best is last."""

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, Level[OrderT]] = {}

    def add_level(self, price: int) -> Level[OrderT]:
        level = self.levels[price] = Level(price)
        key, keys = price * self.sign, self.keys
        if not keys or key > keys[-1]:
            keys.append(key)
        else:
            insort(keys, key)
        return level

    def drop_level(self, price: int) -> None:
        key, keys = price * self.sign, self.keys
        del self.levels[price]
        if keys[-1] == key:
            keys.pop()
        else:
            del keys[bisect_left(keys, key)]


class Book(Generic[OrderT]):
    """The resting orders of one instrument.

    It holds the orders it is given and changes their `leaves` and links, and nothing else of them. Looking an
    order up by id is its owner's part.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids: _Ladder[OrderT] = _Ladder(1)
        self._asks: _Ladder[OrderT] = _Ladder(-1)

    def add(self, order: OrderT) -> Level[OrderT]:
        """Puts an order at the back of its level and returns the level; it must not cross (see `match`)."""
        ladder = self._bids if order.side is _BUY else self._asks
        level = ladder.levels.get(order.price)
        if level is None:
            level = ladder.add_level(order.price)
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.next = order
            order.previous = tail
        level.tail = order
        order.level = level
        level.quantity += order.leaves
        level.orders += 1
        return level

    def cancel(self, order: OrderT) -> Level[OrderT]:
        """Takes a resting order out and returns its level, which may now be empty; `leaves` stays as it was."""
        level: Level[OrderT] | None = order.level
        if level is None:
            raise ValueError(f"{order} does not rest")
        level.quantity -= order.leaves
        self._unlink(order, level)
        return level

    def reduce(self, order: OrderT, quantity: int) -> Level[OrderT]:
        """Takes `quantity` lots off a resting order, which keeps its place; all of them take it out.

        Raises:
            ValueError: The order does not rest or has fewer lots.
        """
        level: Level[OrderT] | None = order.level
        if level is None or not 0 < quantity <= order.leaves:
            raise ValueError(f"{order} cannot be reduced by {quantity}")
        order.leaves -= quantity
        level.quantity -= quantity
        if not order.leaves:
            self._unlink(order, level)
        return level

    def match(self, side: Side, limit: int | None, quantity: int) -> Iterator[Fill[OrderT]]:
        """Trades up to `quantity` lots for an incoming order of `side` at `limit` ticks or better (None: any price).

        Yields the fills one by one; the book is consistent after each, and makers that are filled have left it.
        What the fills do not cover is the caller's to rest or cancel.
        """
        ladder = self._asks if side is _BUY else self._bids
        keys, levels, sign = ladder.keys, ladder.levels, ladder.sign
        worst = None if limit is None else limit * sign
        while quantity and keys:
            key = keys[-1]
            if worst is not None and key < worst:
                return
            price = key * sign
            level = levels[price]
            while quantity and (maker := level.head) is not None:
                leaves = maker.leaves
                traded = leaves if leaves <= quantity else quantity
                quantity -= traded
                level.quantity -= traded
                maker.leaves = leaves = leaves - traded
                if not leaves:
                    self._unlink(maker, level)
                yield _new(Fill, (maker, price, traded, level))

    def available(self, side: Side, limit: int | None, quantity: int) -> bool:
        """Says whether an incoming order of `side` could trade all of `quantity` lots at once."""
        ladder = self._asks if side is _BUY else self._bids
        for key in reversed(ladder.keys):
            if limit is not None and key < limit * ladder.sign:
                return False
            quantity -= ladder.levels[key * ladder.sign].quantity
            if quantity <= 0:
                return True
        return False

    def cost(self, side: Side, quantity: int) -> int:
        """Returns the sum of price x quantity (ticks x lots) that a market order of `side` would trade now."""
        ladder = self._asks if side is _BUY else self._bids
        value = 0
        for key in reversed(ladder.keys):
            level = ladder.levels[key * ladder.sign]
            traded = min(level.quantity, quantity)
            value += traded * level.price
            quantity -= traded
            if not quantity:
                break
        return value

    def best_bid(self) -> tuple[int, int] | None:
        """Returns the highest buying price (ticks) and its visible lots."""
        return _best(self._bids)

    def best_ask(self) -> tuple[int, int] | None:
        """Returns the lowest selling price (ticks) and its visible lots."""
        return _best(self._asks)

    def crosses(self, side: Side, price: int) -> bool:
        """Says whether an order of `side` at `price` would trade at once."""
        if side is _BUY:
            keys = self._asks.keys
            return bool(keys) and price >= -keys[-1]
        keys = self._bids.keys
        return bool(keys) and price <= keys[-1]

    def level(self, side: Side, price: int) -> Level[OrderT] | None:
        """Returns the level at a price; None where nothing rests."""
        return (self._bids if side is _BUY else self._asks).levels.get(price)

    def levels(self, side: Side, n: int | None = None) -> list[tuple[int, int, int]]:
        """Returns (price, visible lots, orders) of the best `n` levels, best first; None: of all."""
        ladder = self._bids if side is _BUY else self._asks
        keys = ladder.keys[::-1] if n is None else ladder.keys[: -n - 1 : -1]
        levels = (ladder.levels[key * ladder.sign] for key in keys)
        return [(level.price, level.quantity, level.orders) for level in levels]

    def orders(self, side: Side) -> Iterator[OrderT]:
        """Yields a side's orders in price-time priority."""
        ladder = self._bids if side is _BUY else self._asks
        for key in reversed(ladder.keys):
            yield from ladder.levels[key * ladder.sign]

    def _unlink(self, order: OrderT, level: Level[OrderT]) -> None:
        """Takes an order out of its level's list, and the level out of the book with its last order."""
        previous, following = order.previous, order.next
        if previous is None:
            level.head = following
        else:
            previous.next = following
        if following is None:
            level.tail = previous
        else:
            following.previous = previous
        order.level = order.previous = order.next = None
        level.orders -= 1
        if not level.orders:
            (self._bids if order.side is _BUY else self._asks).drop_level(level.price)


def _best(ladder: _Ladder[OrderT]) -> tuple[int, int] | None:
    if not ladder.keys:
        return None
    price = ladder.keys[-1] * ladder.sign
    return price, ladder.levels[price].quantity
