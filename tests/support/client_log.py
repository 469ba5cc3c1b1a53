"""What clients did and what they were told: the log that a platform's state is checked against."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from aac_grpc.client.errors import AacError
from aac_grpc.client.models.market import Side
from aac_grpc.client.models.orders import AmendedOrder, CanceledOrder, Order, PlacedOrder

Answer = PlacedOrder | AmendedOrder | CanceledOrder


@dataclass(slots=True)
class Command:
    """One call that changes something, retries under its key included. Times are of `time.monotonic`."""

    kind: str
    """place, amend or cancel."""
    account: str
    client_order_id: str
    """Of the order that it is about."""
    sent_at: float
    side: Side | None = None
    price: Decimal | None = None
    quantity: Decimal | None = None
    done_at: float | None = None
    answer: Answer | None = None
    error: AacError | None = None
    """Set: nobody knows whether it was done."""

    @property
    def order(self) -> Order | None:
        """The order as the client was told that it is."""
        return None if self.answer is None else self.answer.order


@dataclass
class ClientLog:
    """The commands of all clients, in the order in which they were sent."""

    commands: list[Command] = field(default_factory=list)

    def acknowledged(self, kind: str = "") -> Iterator[Command]:
        """The commands that were answered."""
        return (one for one in self.commands if one.answer is not None and kind in ("", one.kind))

    def unanswered(self) -> list[Command]:
        """The commands whose outcome the clients do not know."""
        return [one for one in self.commands if one.answer is None]

    def rate(self, since: float, until: float) -> float:
        """Orders placed and acknowledged in a second, between two times."""
        done = sum(1 for one in self.acknowledged("place") if since <= (one.done_at or 0.0) < until)
        return done / (until - since)

    def longest_pause(self, since: float, until: float) -> float:
        """Longest time between two acknowledged orders, in seconds."""
        times = sorted(one.done_at or 0.0 for one in self.acknowledged("place"))
        marks = [since, *(at for at in times if since < at < until), until]
        return max(after - before for before, after in itertools.pairwise(marks))
