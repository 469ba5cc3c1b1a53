"""Buckets in Redis, of which instances hold leases: units debited in advance, so that the common call asks nobody."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.clock import Clock
from aac_grpc.common.quota.bucket import Budget, Grant
from aac_grpc.common.quota.lease import LEASE_S, Charge, Lease
from aac_grpc.common.quota.local import MAX_BUCKETS
from aac_grpc.common.quota.outage import Outage
from aac_grpc.common.quota.store import AWAY, BucketStore, Order, Reply

TIMEOUT_S = 0.05
"""A charge waits this long for Redis, then it is decided here."""
LOST_S = 0.5
"""An answer that takes longer does not come."""
GATHER_S = 0.02
"""Top-ups that nobody waits for yet are asked for together: what comes due within so many seconds."""
LAG_S = 0.01
"""A timer that fires later than this tells that this process was busy, not that Redis is slow."""


class LeasedQuotas:
    """Budgets that all instances share.

    A charge is paid from this instance's lease of the bucket, at most 100 ms' worth of its rate, which is topped up in
    the background before it runs out. While the bucket is more than half full, as much may be spent in advance and
    settled afterwards. Else the charge waits for Redis; charges of all buckets that wait share one round trip. Where
    100 ms are worth next to nothing, Redis is asked for each charge. What a lease's 100 ms leave over goes back.

    With Redis away or slow, the buckets go on in this process, from what is known of them: each instance grants a
    whole budget then.
    """

    def __init__(
        self,
        store: BucketStore,
        breaker: Breaker,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        """Configures; until `run` runs, charges are decided here.

        Args:
            store: The buckets.
            breaker: Of Redis.
            clock: Monotonic time.
            timeout_s: How long a charge may wait for Redis.
            max_buckets: Buckets that are remembered.
        """
        self._store = store
        self._breaker = breaker
        self._clock = clock
        self._timeout_s = timeout_s
        self._max_buckets = max_buckets
        self._leases: dict[str, Lease] = {}
        self._due: list[Lease] = []
        self._wake = asyncio.Event()
        self._gathering = False
        self._outage = Outage()
        self._running = False
        # Of the round trip that is under way.
        self._late = False
        self._watching: asyncio.TimerHandle

    @property
    def shared(self) -> bool:
        """Redis decides; else this process does for now."""
        return self._running and not self._outage.lasts

    def take(self, key: str, budget: Budget, cost: float) -> Grant | Awaitable[Grant]:
        """Charges a bucket: from the lease at once, else after waiting for Redis."""
        now = self._clock.monotonic()
        lease = self._leases.get(key)
        if lease is None or lease.budget is not budget:
            lease = self._begin(key, budget, now)
        held = lease.held - cost
        if held >= lease.floor and not self._outage.lasts:
            lease.held = held
            if (held < lease.low or now >= lease.ends_at) and not lease.asking:
                self._ask(lease)
            return lease.granted(now)
        if not self.shared:
            return self._decide_here(lease, cost, now)
        return lease.known_refusal(cost, now) or self._wait(lease, cost)

    async def run(self) -> None:
        """Asks Redis for what charges need, until cancelled."""
        this = asyncio.current_task()
        assert this is not None
        self._running = True
        try:
            # Redis's client answers now and then although it was cancelled.
            while not this.cancelling():
                await self._wake.wait()
                self._wake.clear()
                due, self._due = self._due, []
                if due:
                    await self._ask_for(due)
            raise asyncio.CancelledError
        finally:
            self._running = False
            self._decide_waiting(self._leases.values())
            # Nobody asks for them any more: who runs this again must.
            self._due.clear()
            for lease in self._leases.values():
                lease.finish()

    def _begin(self, key: str, budget: Budget, now: float) -> Lease:
        if len(self._leases) >= self._max_buckets:
            self._forget_oldest()
        lease = self._leases[key] = Lease(key, budget, now)
        return lease

    def _forget_oldest(self) -> None:
        """Makes room. The longest unused go first: what is in their buckets, Redis knows."""
        idle = sorted((lease for lease in self._leases.values() if not lease.asking), key=lambda lease: lease.ends_at)
        for lease in idle[: self._max_buckets // 10 + 1]:
            del self._leases[lease.key]

    def _wait(self, lease: Lease, cost: float) -> Awaitable[Grant]:
        charge = Charge(cost, asyncio.get_running_loop().create_future())
        lease.waiting.append(charge)
        self._ask(lease)
        return charge.answer

    def _ask(self, lease: Lease) -> None:
        """Has Redis asked: at once where a charge waits, else soon.

        Who is being asked for already is asked for again when the answer is there.
        """
        if not lease.asking:
            lease.asking = True
            self._due.append(lease)
        if lease.waiting:
            self._wake.set()
        elif not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._wake.set()

    def _decide_here(self, lease: Lease, cost: float, now: float) -> Grant:
        if self._running and self._outage.probe_is_due(now):
            self._ask(lease)
        metrics.QUOTA_LOCAL.inc()
        return lease.charge_here(cost, now, self._outage.number)

    async def _ask_for(self, due: Sequence[Lease]) -> None:
        """One round trip for all that are due."""
        now = self._clock.monotonic()
        orders = [lease.order(now, forgiven=self._outage.forgives(lease.outage, now)) for lease in due]
        self._watch(due, self._timeout_s)
        self._late = False
        try:
            with self._breaker.guard(*AWAY):
                async with asyncio.timeout(self._timeout_s + LOST_S):
                    replies = await self._store.charge(orders)
        except (*AWAY, DependencyUnavailable) as error:
            self._lose(due, orders, error)
            return
        finally:
            self._watching.cancel()
        for lease, reply in zip(due, replies, strict=True):
            self._take_in(lease, reply, now)
        metrics.QUOTA_ASKS.labels("late" if self._late else "answered").inc(len(due))
        if not self._late:
            self._outage.end(self._clock.monotonic())

    def _take_in(self, lease: Lease, reply: Reply, asked_at: float) -> None:
        lease.take_in(reply, asked_at)
        if lease.held > 0:
            asyncio.get_running_loop().call_later(LEASE_S, self._return_rest, lease)
        if lease.waiting:
            self._ask(lease)

    def _return_rest(self, lease: Lease) -> None:
        """Gives back what is left of a lease, unless it was renewed meanwhile."""
        if lease.held > 0 and self._clock.monotonic() >= lease.ends_at and self.shared:
            self._ask(lease)

    def _watch(self, due: Sequence[Lease], seconds: float) -> None:
        """Ends the waiting for Redis, if the answer is not there after so many seconds."""
        loop = asyncio.get_running_loop()
        self._watching = loop.call_later(seconds, self._overdue, due, loop.time() + seconds)

    def _overdue(self, due: Sequence[Lease], deadline: float) -> None:
        if asyncio.get_running_loop().time() - deadline > LAG_S:
            # The answer may be there, and not be read yet.
            self._watch(due, LAG_S)
            return
        self._late = True
        self._go_on_here(due, "slow")

    def _lose(self, due: Sequence[Lease], orders: Sequence[Order], error: Exception) -> None:
        metrics.QUOTA_ASKS.labels("failed").inc(len(due))
        for lease, order in zip(due, orders, strict=True):
            lease.restore(order)
        self._go_on_here(due, repr(error))
        for lease in due:
            lease.finish()

    def _go_on_here(self, due: Iterable[Lease], reason: str) -> None:
        """Decides here what waits for Redis, and all that comes until Redis answers again."""
        self._outage.begin(self._clock.monotonic(), reason)
        self._decide_waiting((*due, *self._due))

    def _decide_waiting(self, leases: Iterable[Lease]) -> None:
        now = self._clock.monotonic()
        for lease in leases:
            metrics.QUOTA_LOCAL.inc(lease.decide_waiting(now, self._outage.number))
