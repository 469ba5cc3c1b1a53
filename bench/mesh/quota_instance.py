"""One instance of a service that charges one caller's budget, as a process of its own: `python -m ... JSON`.

It says "ready", reads the monotonic time to begin at, makes charges at the times of a Poisson process, whether or not
earlier ones are decided, and prints what became of each: [monotonic time, whether it was allowed].
"""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable
from dataclasses import asdict, dataclass

import uvloop
from prometheus_client import Counter
from redis.asyncio import Redis

from aac_grpc.common import metrics
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.quota import Budget, Grant
from aac_grpc.common.quota.leased import LeasedQuotas
from aac_grpc.common.quota.store import BucketStore

STEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Plan:
    """What an instance is to do.

    Attributes:
        url: Of Redis.
        key: Of the budget.
        rate: Units of the budget that come back each second.
        burst: Units that it holds.
        offered: Charges a second.
        seconds: How long.
        seed: Of the times.
        timeout_s: How long a charge may wait for Redis. On a busy machine a short one measures the machine.
    """

    url: str
    key: str
    rate: float
    burst: float
    offered: float
    seconds: float
    seed: int
    timeout_s: float = 5.0

    def arguments(self) -> tuple[str, ...]:
        """For the interpreter."""
        return ("-m", __name__, json.dumps(asdict(self)))


class Load:
    """Charges in an open loop."""

    def __init__(self, quotas: LeasedQuotas, plan: Plan) -> None:
        self.outcomes: list[tuple[float, bool]] = []
        self._quotas = quotas
        self._plan = plan
        self._budget = Budget(plan.rate, plan.burst)
        self._clock = SystemClock()
        self._waiting: set[asyncio.Task[None]] = set()

    async def run(self, begin: float) -> None:
        """Makes all charges and waits for their answers."""
        plan, times = self._plan, random.Random(self._plan.seed)
        due = begin
        while due < begin + plan.seconds:
            now = self._clock.monotonic()
            while due <= now:
                self._charge(now)
                due += times.expovariate(plan.offered)
            await asyncio.sleep(STEP_S)
        await asyncio.gather(*self._waiting)

    def _charge(self, now: float) -> None:
        grant = self._quotas.take(self._plan.key, self._budget, 1)
        if isinstance(grant, Grant):
            self.outcomes.append((now, grant.allowed))
            return
        task = asyncio.create_task(self._await(now, grant))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _await(self, now: float, grant: Awaitable[Grant]) -> None:
        self.outcomes.append((now, (await grant).allowed))


async def main(plan: Plan) -> None:
    """Charges as planned and prints the outcomes."""
    async with Redis.from_url(plan.url, socket_connect_timeout=5) as redis:
        quotas = LeasedQuotas(BucketStore(redis), Breaker("redis"), SystemClock(), timeout_s=plan.timeout_s)
        running = asyncio.create_task(quotas.run())
        load = Load(quotas, plan)
        print("ready", flush=True)
        await load.run(float(await asyncio.to_thread(sys.stdin.readline)))
        running.cancel()
        await asyncio.wait({running})
    print(
        json.dumps({"outcomes": load.outcomes, "local": total(metrics.QUOTA_LOCAL), "asked": total(metrics.QUOTA_ASKS)})
    )


def total(counter: Counter) -> int:
    """What a counter has come to, over all labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))


if __name__ == "__main__":
    uvloop.run(main(Plan(**json.loads(sys.argv[1]))))
