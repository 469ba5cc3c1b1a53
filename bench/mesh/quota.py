"""Budgets that instances share: what they cost a call, and how right they are."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from aac_grpc.common.breaker import Breaker
from aac_grpc.common.call import Call, Principal
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.contract import policy_of
from aac_grpc.common.expiry import Expiry
from aac_grpc.common.interceptors.ratelimit import RateLimit
from aac_grpc.common.quota import Budget, LocalQuotas, Quotas
from aac_grpc.common.quota.leased import LeasedQuotas
from aac_grpc.common.quota.store import BucketStore, Order, bucket_name
from aac_grpc.common.settings import ServiceSettings
from bench.mesh.backends import backends
from bench.mesh.quota_load import INSTANCES, charge
from bench.mesh.servers import PATH
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, single
from bench.report import Row

PLANS = {"bench": {"READ": (1e6, 2e6)}}
"""Wide enough that a tight loop of calls does not use it up."""
OVER, BELOW = 2.0, 0.95
"""Offered load as a multiple of the budget's rate."""
BUDGET = Budget(400, 100)
HOW = f"{INSTANCES} processes, one caller, Poisson arrivals in an open loop, budget of {BUDGET}, real Valkey"


async def measure_quota(options: Options) -> AsyncIterator[Row]:
    """What the limit adds to a call, what asking Redis costs, overshoot and false refusals."""
    rounds = options.pick(PAIRS, QUICK_PAIRS)
    async with backends("REDIS_URL") as urls:
        url = urls["REDIS_URL"]
        async with Redis.from_url(url) as redis:
            async for row in _costs(redis, options.pick(20_000, 4_000), rounds):
                yield row
        runs, seconds = options.pick(5, 1), options.pick(10.0, 4.0)
        over = [await charge(url, BUDGET, OVER, seconds) for _ in range(runs)]
        below = [await charge(url, BUDGET, BELOW, seconds) for _ in range(runs)]
    yield single(
        "mesh.ratelimit_overshoot",
        [one.overshoot for one in over],
        "share",
        goal="<= 0.02",
        detail=f"allowed beyond burst + rate x time, at {OVER:g} times the rate, {seconds:g} s; {HOW};"
        f" {sum(one.local for one in over)} decided without Valkey, which was asked {asks(over):.2f} times a charge",
    )
    yield single(
        "mesh.ratelimit_false_refusals",
        [one.false_refusals for one in below],
        "share",
        goal="<= 0.02",
        detail=f"charges refused beyond those that one bucket would have refused at the same times, at {BELOW:g} of the"
        f" rate, {seconds:g} s; {HOW}; Valkey was asked {asks(below):.2f} times a charge",
    )


def asks(outcomes: Any) -> float:
    """Times that Redis was asked for the bucket, for each charge."""
    return float(sum(one.asked for one in outcomes) / sum(len(one.charges) for one in outcomes))


async def _costs(redis: "Redis", calls: int, rounds: int) -> AsyncIterator[Row]:
    quotas = LeasedQuotas(BucketStore(redis), Breaker("redis"), SystemClock(), timeout_s=5)
    running = asyncio.create_task(quotas.run())
    variants = {
        "none": timed(None, calls),
        "leased": timed(quotas, calls),
        "local": timed(LocalQuotas(SystemClock()), calls),
    }
    found = await by_turns(variants, rounds)
    running.cancel()
    await asyncio.wait({running})
    for name, variant in (("mesh.ratelimit_added_us", "leased"), ("mesh.ratelimit_local_added_us", "local")):
        yield single(
            name,
            [(run[variant] - run["none"]) * 1e6 for run in found],
            "us CPU/call",
            goal="<= 5" if variant == "leased" else "",
            detail=f"the interceptor with {variant} budgets: key, charge, three headers, and what Valkey is asked in"
            f" the background; {calls} calls of one user, without a network around them",
        )
    store = BucketStore(redis)
    for size in (1, 50):
        orders = [Order(bucket_name(f"bench-{at}"), 200, 400, 0, 3, [1]) for at in range(size)]
        yield single(
            f"mesh.ratelimit_ask_us_{size}",
            [await _ask(store, orders) * 1e6 for _ in range(rounds)],
            "us CPU/bucket",
            detail=f"asking Valkey for {size} bucket(s) in one round trip: what a charge costs that no lease covers",
        )


def timed(quotas: Quotas | None, calls: int) -> Callable[[], Awaitable[float]]:
    """CPU seconds of this thread for each of so many calls by one user, with the limit or without it."""
    policy = policy_of(PATH)
    settings = ServiceSettings(rate_limits=PLANS, default_plan="bench")
    limit = None if quotas is None else RateLimit(settings, quotas).for_method(policy)
    user = Principal("user-1", "user", "user", plan="bench")

    async def measure() -> float:
        began = time.thread_time()
        for number in range(calls):
            call = Call(policy, None, {}, "id", 0.0, Expiry())
            call.principal = user
            if limit is not None and (wait := limit.on_start(call)) is not None:
                await wait
            if number % 20 == 0:
                await asyncio.sleep(0)
        return (time.thread_time() - began) / calls

    return measure


async def _ask(store: BucketStore, orders: list[Order], times: int = 100) -> float:
    began = time.thread_time()
    for _ in range(times):
        await store.charge(orders)
    return (time.thread_time() - began) / times / len(orders)
