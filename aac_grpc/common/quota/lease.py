"""What an instance knows of one shared bucket, and what it may spend of it without asking."""

import asyncio
import math
from dataclasses import dataclass

from aac_grpc.common.quota.bucket import Bucket, Budget, Grant, answer
from aac_grpc.common.quota.store import Order, Reply, bucket_name

LEASE_S = 0.1
"""How many seconds' worth of its rate an instance holds of a bucket at most, and for how long."""
SMALLEST = 3.0
"""Units: where 100 ms are worth less, there are no leases."""
SHARE = 8
"""A bucket gives this part of itself at most, as the script does."""
HEADROOM = 1.5
LOW_SHARE = 4
"""At this part of what was wanted it is topped up early; where spending goes on as it was, its time is over first."""


@dataclass(slots=True, eq=False)
class Charge:
    """A charge that waits for Redis."""

    cost: float
    answer: asyncio.Future[Grant]


class Lease:
    """This instance's part of one bucket.

    Attributes:
        key: The bucket.
        budget: Its size.
        held: Units that are debited and not spent; below zero, spent and not debited.
        floor: How far `held` may fall.
        outage: Number of the outage in which charges were decided here that Redis does not know of; else 0.
        low: Where it is topped up, before it runs out.
        ends_at: When what is held goes back.
        waiting: Charges that wait for Redis and are not in the order that is under way.
        sent: Those that are.
        asking: It is due to be asked for, or is being asked for.
    """

    __slots__ = (
        "_asked_at", "_bucket", "_had", "_most", "_name", "_told_at", "asking", "budget", "ends_at", "floor",
        "held", "key", "low", "outage", "sent", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, budget: Budget, now: float) -> None:
        worth = budget.rate * LEASE_S
        self.key = key
        self.budget = budget
        self.held = self.floor = self.low = 0.0
        self.ends_at = now
        self.waiting: list[Charge] = []
        self.sent: list[Charge] = []
        self.asking = False
        self._name = bucket_name(key)
        self._most = worth if worth >= SMALLEST else 0.0
        # As far as is known: full, until Redis says otherwise.
        self._bucket = Bucket(budget.burst, now)
        self._told_at = -math.inf
        self._asked_at = now - LEASE_S
        self._had = 0.0
        self.outage = 0

    def granted(self, now: float) -> Grant:
        """What to tell about a charge that was just paid from what is held."""
        budget, bucket = self.budget, self._bucket
        left = bucket.units + (now - bucket.updated_at) * budget.rate + self.held
        if left >= budget.burst:
            return Grant(True, int(budget.burst), 0.0, 0.0)
        return Grant(True, int(left) if left > 0 else 0, (budget.burst - left) / budget.rate, 0.0)

    def known_refusal(self, cost: float, now: float) -> Grant | None:
        """A refusal, where Redis need not be asked: a moment ago it had too little, and not enough came back since."""
        if self.outage or now - self._told_at > LEASE_S:
            return None
        budget = self.budget
        left = min(budget.burst, self._bucket.units + (now - self._bucket.updated_at) * budget.rate) + self.held
        return answer(budget, cost, left, allowed=False) if left < min(cost, budget.burst) else None

    def charge_here(self, cost: float, now: float, outage: int) -> Grant:
        """Decides a charge by what is known of the bucket, while Redis is away for the nth time.

        What is allowed is owed to Redis; `order` settles it, or not.
        """
        if self.outage != outage:
            self.outage = outage
            self._bucket.refill(self.budget, now)
            self._bucket.units = min(self.budget.burst, self._bucket.units + self.held)
        grant = self._bucket.charge(self.budget, cost, now)
        if grant.allowed:
            self.held -= cost
        self.ends_at = now
        return grant

    def order(self, now: float, *, forgiven: bool) -> Order:
        """What to ask Redis for: to settle what is owed, to judge what waits, and the next lease.

        Args:
            now: Monotonic time.
            forgiven: What was spent while Redis was away is not settled.
        """
        self.sent, self.waiting = self.waiting, []
        costs = [charge.cost for charge in self.sent]
        spent = max(0.0, self._had - self.held) + sum(costs)
        wanted = min(self._most, HEADROOM * spent / max(now - self._asked_at, 0.001) * LEASE_S)
        if wanted < 1:
            wanted = 0.0
        if forgiven and self.held < 0:
            self.held = 0.0
        # With charges that wait, all goes into one pot. Else what is more than wanted goes back.
        settle = -self.held if costs or self.held < 0 else min(0.0, wanted - self.held)
        self.held += settle
        self._asked_at = now
        self.low = wanted / LOW_SHARE
        return Order(self._name, self.budget.rate, self.budget.burst, settle, wanted - self.held, costs)

    def take_in(self, reply: Reply, asked_at: float) -> None:
        """Takes a reply: the lease begins, and charges that waited are decided."""
        budget, bucket = self.budget, self._bucket
        # Since it was asked, not since it answered: rather more may have come back than less.
        bucket.units, bucket.updated_at = reply.units, asked_at
        self._told_at = asked_at
        self.outage = 0
        self.held += reply.lease
        plenty = reply.units >= budget.burst / 2
        self.floor = -min(self._most, reply.units / SHARE) if plenty else 0.0
        for charge, allowed in zip(self.sent, reply.allowed, strict=True):
            if not charge.answer.done():
                charge.answer.set_result(answer(budget, charge.cost, reply.units + self.held, allowed=allowed))
            elif allowed:
                # Its caller is gone, or it was decided here, which counted it as owed.
                self.held += charge.cost
        self.finish()

    def restore(self, order: Order) -> None:
        """Takes that an order was not answered. What was to be settled is still owed; what was to go back is lost."""
        self.held -= max(0.0, order.settle)

    def decide_waiting(self, now: float, outage: int) -> int:
        """Decides here what waits for Redis, and tells how many charges that were."""
        waiting = [charge for charge in (*self.sent, *self.waiting) if not charge.answer.done()]
        for charge in waiting:
            charge.answer.set_result(self.charge_here(charge.cost, now, outage))
        self.waiting = []
        return len(waiting)

    def finish(self) -> None:
        """The order is not under way any more."""
        self.sent = []
        self._had = self.held
        self.ends_at = self._asked_at + LEASE_S
        self.asking = False
