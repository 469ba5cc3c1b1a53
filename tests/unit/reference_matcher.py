"""A matcher that is slow and obviously right: one list of orders, searched afresh for each fill."""

from dataclasses import dataclass

from aac_grpc.domain.orders import Side


@dataclass
class Resting:
    """An order in the reference book; `arrival` is its time priority."""

    order_id: str
    side: Side
    price: int
    leaves: int
    arrival: int


class ReferenceBook:
    """Price-time priority by its definition."""

    def __init__(self) -> None:
        self.orders: list[Resting] = []
        self._arrivals = 0

    def best(self, side: Side, limit: int | None) -> Resting | None:
        """Returns the order that an incoming order of `side` trades with first."""
        candidates = [
            order
            for order in self.orders
            if order.side is not side
            and (limit is None or (order.price <= limit if side is Side.BUY else order.price >= limit))
        ]
        sign = 1 if side is Side.BUY else -1
        return min(candidates, key=lambda order: (sign * order.price, order.arrival), default=None)

    def take(self, side: Side, limit: int | None, quantity: int) -> tuple[list[tuple[str, int, int]], int]:
        """Trades; returns (maker, price, lots) of each fill and what is left."""
        fills = []
        while quantity and (maker := self.best(side, limit)) is not None:
            traded = min(quantity, maker.leaves)
            quantity -= traded
            maker.leaves -= traded
            fills.append((maker.order_id, maker.price, traded))
            if not maker.leaves:
                self.orders.remove(maker)
        return fills, quantity

    def available(self, side: Side, limit: int | None) -> int:
        """Returns how many lots an incoming order could trade."""
        reachable = [
            order.leaves
            for order in self.orders
            if order.side is not side
            and (limit is None or (order.price <= limit if side is Side.BUY else order.price >= limit))
        ]
        return sum(reachable)

    def add(self, order_id: str, side: Side, price: int, leaves: int) -> None:
        """Lets an order join behind all that are there."""
        self._arrivals += 1
        self.orders.append(Resting(order_id, side, price, leaves, self._arrivals))

    def find(self, order_id: str) -> Resting | None:
        """Returns a resting order."""
        return next((order for order in self.orders if order.order_id == order_id), None)

    def cancel(self, order_id: str) -> bool:
        """Takes an order out; False if it is not there."""
        order = self.find(order_id)
        if order is not None:
            self.orders.remove(order)
        return order is not None

    def levels(self, side: Side) -> list[tuple[int, int, int]]:
        """Returns (price, lots, orders) of a side, best first."""
        prices = {order.price for order in self.orders if order.side is side}
        levels = []
        for price in sorted(prices, reverse=side is Side.BUY):
            leaves = [order.leaves for order in self.orders if order.side is side and order.price == price]
            levels.append((price, sum(leaves), len(leaves)))
        return levels
