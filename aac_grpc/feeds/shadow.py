"""The book that a feed keeps beside a venue: what a venue without other orders would hold."""

from aac_grpc.domain.feed import Reset
from aac_grpc.domain.matching import Book
from aac_grpc.domain.orders import RestingOrder, Side

Met = tuple[str, int, int]
"""A fill: (order_ref, lots, ticks)."""


class ShadowBook:
    """A book of FLOW orders by reference. Prices are ticks, quantities lots."""

    def __init__(self) -> None:
        self.book: Book[RestingOrder] = Book()
        self.orders: dict[str, RestingOrder] = {}
        """Resting orders by reference."""

    def add(self, order_ref: str, side: Side, price: int, quantity: int) -> None:
        """Puts an order at the back of its level."""
        order = self.orders[order_ref] = RestingOrder(order_ref, side, price, quantity)
        self.book.add(order)

    def cancel(self, order: RestingOrder) -> None:
        """Takes an order out."""
        self.book.cancel(order)
        del self.orders[order.order_id]

    def meets(self, side: Side, limit: int, quantity: int) -> list[Met]:
        """Returns the fills that an incoming order would have, without changing anything."""
        fills = []
        for order in self.book.orders(side.opposite):
            if not quantity or (order.price > limit if side is Side.BUY else order.price < limit):
                break
            filled = min(order.leaves, quantity)
            fills.append((order.order_id, filled, order.price))
            quantity -= filled
        return fills

    def take(self, side: Side, limit: int, quantity: int) -> None:
        """Lets an incoming order trade."""
        for fill in self.book.match(side, limit, quantity):
            if not fill.maker.leaves:
                del self.orders[fill.maker.order_id]

    def at(self, side: Side, price: int) -> list[tuple[str, int]]:
        """Returns (order_ref, lots) of a level's orders in time priority."""
        return [(order.order_id, order.leaves) for order in self.book.level(side, price) or ()]

    def set(self, side: Side, price: int, orders: list[tuple[str, int]]) -> Reset:
        """Makes a level hold these orders in this order, and returns what makes a venue do so."""
        for order in list(self.book.level(side, price) or ()):
            self.cancel(order)
        for order_ref, quantity in orders:
            self.add(order_ref, side, price, quantity)
        return Reset(side, price, tuple(orders))
