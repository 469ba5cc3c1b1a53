"""Budgets that instances share through Redis: the script, the leases, four instances together."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aac.auth.v1.auth_pb2 import ExchangeApiKeyRequest, LoginRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from aac_grpc.client.errors import RateLimited, Unauthenticated, from_rpc_error
from aac_grpc.common.breaker import Breaker
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.quota import Budget, Grant, LocalQuotas
from aac_grpc.common.quota.leased import LeasedQuotas
from aac_grpc.common.quota.store import BucketStore, Order, Reply, bucket_name
from bench.mesh.quota_load import charge
from tests.integration.services import DEMO, auth_serving, new_installation
from tests.support.mesh import bearer, eventually, ping_mesh
from tests.unit.test_tokens import ManualClock

WIDE = Budget(rate=1000, burst=2000)
TIGHT = Budget(rate=400, burst=100)
SMALL = Budget(rate=5, burst=4)


@pytest.fixture(scope="module")
async def redis(backends: Mapping[str, str]) -> AsyncIterator["Redis"]:
    async with Redis.from_url(backends["REDIS_URL"], socket_connect_timeout=5) as client:
        yield client


@pytest.fixture
def key() -> str:
    return f"test:{secrets.token_hex(6)}"


@asynccontextmanager
async def instance(redis: "Redis") -> AsyncIterator[LeasedQuotas]:
    """One process's quotas; on a busy machine Redis may be slow without being away."""
    quotas = LeasedQuotas(BucketStore(redis), Breaker("redis"), SystemClock(), timeout_s=10)
    running = asyncio.create_task(quotas.run())
    await asyncio.sleep(0)
    yield quotas
    running.cancel()
    await asyncio.wait({running})


async def take(quotas: LeasedQuotas, key: str, budget: Budget, cost: float = 1) -> Grant:
    grant = quotas.take(key, budget, cost)
    return grant if isinstance(grant, Grant) else await grant


async def ask(redis: "Redis", key: str, budget: Budget, *costs: float, settle: float = 0, lease: float = 0) -> Reply:
    order = Order(bucket_name(key), budget.rate, budget.burst, settle, lease, costs)
    return (await BucketStore(redis).charge([order]))[0]


Steps = st.lists(st.tuples(st.sampled_from([0, 0, 0.002, 0.01]), st.lists(st.integers(1, 130), max_size=4)), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=Steps)
async def test_the_script_decides_as_a_bucket_in_memory_does(
    redis: "Redis", steps: list[tuple[float, list[int]]]
) -> None:
    key, clock = f"test:{secrets.token_hex(6)}", ManualClock()
    quotas, first = LocalQuotas(clock), None
    for pause, costs in steps:
        await asyncio.sleep(pause)
        reply = await ask(redis, key, TIGHT, *costs)
        first = first or reply.at
        clock.seconds = reply.at - first
        # The server's clock read as a float: a few ten thousandths of a unit.
        for cost, allowed in zip(costs, reply.allowed, strict=True):
            before = quotas.take(key, TIGHT, 0).remaining
            if abs(before - min(cost, TIGHT.burst)) > 1:
                assert quotas.take(key, TIGHT, cost).allowed is allowed
            elif allowed:
                quotas._buckets[key].units -= cost
        quotas.take(key, TIGHT, 0)
        if key in quotas._buckets:
            assert quotas._buckets[key].units == pytest.approx(reply.units, abs=0.05)


async def test_a_charge_above_the_burst_passes_from_a_full_bucket_which_then_owes_the_rest(
    redis: "Redis", key: str
) -> None:
    first = await ask(redis, key, SMALL, 9, 1)
    assert first.allowed == [True, False]
    assert first.units == -5
    second = await ask(redis, key, SMALL, 9)
    assert second.allowed == [False]
    assert second.units < 0


async def test_a_lease_takes_an_eighth_at_most_and_what_comes_back_fills_the_bucket_no_further(
    redis: "Redis", key: str
) -> None:
    slow = Budget(rate=0.001, burst=80)
    reply = await ask(redis, key, slow, lease=1000)
    assert (reply.lease, reply.units) == (10, 70)
    reply = await ask(redis, key, slow, settle=-10)
    assert reply.units == pytest.approx(80)
    reply = await ask(redis, key, slow, settle=-10)
    assert reply.units == 80
    assert (await ask(redis, key, slow, settle=100, lease=5)).lease == 0


async def test_a_bucket_is_forgotten_when_it_would_be_full(redis: "Redis", key: str) -> None:
    await ask(redis, key, WIDE, 1000)
    assert 1000 < await redis.pttl(bucket_name(key)) <= 2000


async def test_a_script_that_redis_has_dropped_is_sent_again(redis: "Redis", key: str) -> None:
    await redis.script_flush()
    assert (await ask(redis, key, SMALL, 1)).allowed == [True]


async def test_instances_share_a_small_budget_to_the_unit(redis: "Redis", key: str) -> None:
    rare = Budget(rate=0.001, burst=4)
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(instance(redis)) for _ in range(3)]
        grants = [await take(instances[number % 3], key, rare) for number in range(6)]
    assert [grant.allowed for grant in grants] == [True] * 4 + [False] * 2
    assert [grant.remaining for grant in grants] == [3, 2, 1, 0, 0, 0]
    assert grants[-1].retry_after_s == pytest.approx(1000, rel=0.01)


async def test_many_charges_of_one_key_share_a_round_trip(redis: "Redis", key: str) -> None:
    asked: list[int] = []

    class Counted(BucketStore):
        async def charge(self, orders: Sequence[Order]) -> list[Reply]:
            replies = await super().charge(orders)
            asked.append(sum(len(order.costs) for order in orders))
            return replies

    quotas = LeasedQuotas(Counted(redis), Breaker("redis"), SystemClock(), timeout_s=10)
    running = asyncio.create_task(quotas.run())
    await asyncio.sleep(0)
    grants = await asyncio.gather(*(take(quotas, key, Budget(5, 60)) for _ in range(50)))
    running.cancel()
    await asyncio.wait({running})
    assert all(grant.allowed for grant in grants)
    assert sum(asked) == 50
    assert len(asked) <= 3


async def test_the_common_call_waits_for_nobody_and_what_is_left_of_a_lease_goes_back(redis: "Redis", key: str) -> None:
    async with instance(redis) as quotas:
        await take(quotas, key, WIDE)
        waited = 0
        for _ in range(300):
            waited += not isinstance(quotas.take(key, WIDE, 1), Grant)
            await asyncio.sleep(0.001)
        # None, unless the machine is so busy that Redis takes a tenth of a second.
        assert waited <= 10
        lease = quotas._leases[key]
        await eventually(lambda: lease.held == 0 and not lease.asking)


async def test_four_instances_together_do_not_exceed_the_limit(backends: Mapping[str, str]) -> None:
    outcome = await charge(backends["REDIS_URL"], TIGHT, 2.0, 3.0)
    assert outcome.local == 0
    assert -0.25 < outcome.overshoot <= 0.02


async def test_a_caller_slightly_below_the_limit_of_four_instances_is_not_refused(backends: Mapping[str, str]) -> None:
    outcome = await charge(backends["REDIS_URL"], TIGHT, 0.95, 3.0)
    assert outcome.local == 0
    assert outcome.false_refusals < 0.02


async def test_two_servers_grant_one_budget_between_them_and_say_what_is_left(backends: Mapping[str, str]) -> None:
    shared: dict[str, Any] = {
        "quota_store": "redis",
        "redis_url": backends["REDIS_URL"],
        "rate_limits": {"standard": {"READ": [0.001, 3], "ADMIN": [0.001, 3]}},
    }
    async with ping_mesh(**shared) as one, ping_mesh(**shared) as other:
        for mesh in (one, other):
            await eventually(lambda mesh=mesh: mesh.server.resources.quotas.shared)  # type: ignore[misc]
        subject, left = f"user-{secrets.token_hex(4)}", []
        for mesh in (one, other, one):
            call = mesh.begin("Unary", metadata=bearer(mesh.signer.token(subject)))
            await call
            trailers = dict(await call.trailing_metadata())
            left.append((trailers["x-ratelimit-limit"], trailers["x-ratelimit-remaining"]))
        assert left == [("3", "2"), ("3", "1"), ("3", "0")]
        with pytest.raises(RateLimited) as refused:
            await other.call("Unary", metadata=bearer(other.signer.token(subject)))
        assert refused.value.retry_after == pytest.approx(1000, rel=0.01)
        assert refused.value.metadata["quota"] == "READ"


async def test_guessing_api_keys_does_not_keep_others_of_the_address_from_signing_in(
    backends: Mapping[str, str],
) -> None:
    limits = {"standard": {"LOGIN": (0.001, 2)}}
    async with (
        new_installation(backends) as installation,
        auth_serving(installation, rate_limits=limits, quota_store="local") as server,
        aio.insecure_channel(server.address) as channel,
    ):
        stub = AuthServiceStub(channel)
        refusals = []
        for _ in range(3):
            with pytest.raises(aio.AioRpcError) as failed:
                await stub.ExchangeApiKey(ExchangeApiKeyRequest(api_key="aac_0123456789abcdef_wrong"))
            refusals.append(type(from_rpc_error(failed.value)))
        assert refusals == [Unauthenticated, Unauthenticated, RateLimited]
        assert await stub.Login(LoginRequest(username=DEMO[0], password=DEMO[1]))
