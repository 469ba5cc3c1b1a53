"""A book kept on the client's side from depth updates."""

from __future__ import annotations

from decimal import Decimal

from aac_grpc.client.models.market import BookLevel, Side
from aac_grpc.client.updates import DepthUpdate


class LocalBook:
    """The levels of one instrument, as of `sequence`."""

    def __init__(self) -> None:
        """Begins empty; the first snapshot fills it."""
        self.sequence = 0
        self._levels: dict[Side, dict[Decimal, BookLevel]] = {Side.BUY: {}, Side.SELL: {}}

    def apply(self, update: DepthUpdate) -> None:
        """Takes an update of this instrument."""
        if update.snapshot:
            for levels in self._levels.values():
                levels.clear()
        for change in update.changes:
            levels = self._levels[change.side]
            if change.quantity:
                levels[change.price] = BookLevel(change.price, change.quantity, change.orders)
            else:
                levels.pop(change.price, None)
        self.sequence = update.sequence

    def bids(self, depth: int | None = None) -> list[BookLevel]:
        """The best levels of the buyers, best first."""
        return [self._levels[Side.BUY][price] for price in sorted(self._levels[Side.BUY], reverse=True)[:depth]]

    def asks(self, depth: int | None = None) -> list[BookLevel]:
        """The best levels of the sellers, best first."""
        return [self._levels[Side.SELL][price] for price in sorted(self._levels[Side.SELL])[:depth]]
