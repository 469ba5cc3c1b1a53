"""Orders through the whole platform: gateway, engine, risk, journal and back, as a client sees it."""

import itertools
import json
import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from aac.trading.v1 import order_pb2, trading_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.trading.v1.venue_pb2 import CreateVenueRequest
from aac.type.v1 import market_pb2

from aac_grpc.client import AsyncClient
from aac_grpc.feeds.runner import FEED, venue_service
from bench.installation import Installation, new_installation
from bench.load import Load, closed_loop, open_loop
from bench.market import new_users, stock
from bench.options import Options
from bench.report import Row

CALLERS = 50
TRADERS = 10
RATE = 100.0
"""Orders a second of the open loop."""
TARGET_MS = 100.0
"""What the ancestor promised for a response."""
VENUE, SYMBOL = "bench", "GOOG"
CASH = "1000000000"
WHAT = (
    f"PlaceOrder through the gateway on the running platform (real PostgreSQL with fsync, Valkey, Kafka; every order is"
    f" judged by risk-management and committed before its answer); {TRADERS} users and accounts in one venue, one"
    " instrument, limit orders of both sides within five ticks, so that about half of them trade; no other flow; the"
    " load generator is one more process on the same machine"
)


@dataclass(slots=True)
class Trader:
    """A user who places orders on a connection of their own."""

    place: "grpc.aio.UnaryUnaryMultiCallable[Any, Any]"
    metadata: tuple[tuple[str, str], ...]
    account: str


class Orders:
    """Makes and places orders; one that risk or venue refuses is a failure."""

    def __init__(self, traders: Sequence[Trader]) -> None:
        self._traders = traders
        self._numbers = itertools.count()
        self._random = random.Random(20120621)
        self._run = secrets.token_hex(4)

    async def place(self, number: int) -> None:
        """Places one order.

        Raises:
            RuntimeError: It was refused.
        """
        trader = self._traders[number % len(self._traders)]
        side = self._random.choice((market_pb2.SIDE_BUY, market_pb2.SIDE_SELL))
        request = trading_pb2.PlaceOrderRequest(
            venue=VENUE,
            account_id=trader.account,
            client_order_id=f"{self._run}-{next(self._numbers)}",
            symbol=SYMBOL,
            side=side,
            type=order_pb2.ORDER_TYPE_LIMIT,
            time_in_force=order_pb2.TIME_IN_FORCE_GTC,
            quantity=str(self._random.randint(1, 9)),
            price=f"100.0{self._random.randint(1, 5)}",
        )
        response = await trader.place(request, metadata=trader.metadata, timeout=30)
        if response.order.state == order_pb2.ORDER_STATE_REJECTED:
            raise RuntimeError(response.order.reject_reasons[0].code)


async def measure_orders(options: Options) -> AsyncIterator[Row]:
    """Throughput in a closed loop, then latency at a steady rate."""
    seconds = options.pick(20.0, 4.0)
    async with new_installation({"AAC_RATE_LIMITS": json.dumps(unlimited())}) as installation:
        await installation.up("--no-flow")
        async with trading(installation) as orders:
            await closed_loop(orders.place, callers=CALLERS, seconds=seconds / 5)
            before = installation.cpu_by_part()
            load = await closed_loop(orders.place, callers=CALLERS, seconds=seconds)
            yield throughput_row(load, cpu_per_call(before, installation.cpu_by_part(), load.done))
            yield latency_row(await open_loop(orders.place, rate=RATE, seconds=seconds))


def cpu_per_call(before: Mapping[str, float], after: Mapping[str, float], calls: int) -> str:
    """CPU of each part of the platform for one call, in words; the largest first."""
    used = {name: (after[name] - before.get(name, 0.0)) / max(calls, 1) * 1e3 for name in after}
    return ", ".join(f"{name} {ms:.2f}" for name, ms in sorted(used.items(), key=lambda one: -one[1]) if ms >= 0.005)


def throughput_row(load: Load, cpu: str) -> Row:
    """The row of a closed loop."""
    how = f"closed loop, {CALLERS} callers at a time: {load.describe()}; CPU ms an order: {cpu}. {WHAT}"
    return Row("spine.place_order_per_s", load.per_second, "orders/s", detail=how)


def latency_row(load: Load) -> Row:
    """The row of an open loop."""
    p99 = load.latencies.percentile(99) * 1e3
    how = (
        f"open loop, {RATE:g} orders/s, timed from when each was due: {load.describe()}; baseline is the ancestor's"
        f" target for a response, ratio = target / measured. {WHAT}"
    )
    return Row("spine.place_order_p99_ms", p99, "ms", TARGET_MS, TARGET_MS / p99, how)


def unlimited() -> dict[str, dict[str, tuple[float, float]]]:
    """Budgets that are charged and never used up, for every plan: the quota is not what is measured."""
    classes = ("READ", "ORDER", "STREAM", "LOGIN", "ADMIN")
    return {plan: dict.fromkeys(classes, (1e9, 1e9)) for plan in ("standard", "professional")}


@asynccontextmanager
async def trading(installation: Installation) -> AsyncIterator[Orders]:
    """A venue, and users with cash in it who are signed in."""
    platform = installation.platform
    gateway = platform.address("api-gateway")
    async with venue_service(installation.mesh_settings(FEED)) as venues:
        await venues.CreateVenue(CreateVenueRequest(venue=VENUE, instruments=[stock(SYMBOL)]))
    names = [f"bench-{number}" for number in range(TRADERS)]
    admin = partial(AsyncClient, gateway, username="admin", password=platform.password("admin"))
    passwords = await new_users(admin, names, [VENUE], CASH)
    async with AsyncExitStack() as stack:
        yield Orders([await _sign_in(stack, gateway, *user) for user in zip(names, passwords, strict=True)])


async def _sign_in(stack: AsyncExitStack, gateway: str, name: str, password: str) -> Trader:
    async with AsyncClient(gateway) as client:
        tokens, _ = await client.login(name, password)
    # Otherwise channels to one address share one connection.
    channel = await stack.enter_async_context(
        grpc.aio.insecure_channel(gateway, options=[("grpc.use_local_subchannel_pool", 1)])
    )
    metadata = (("authorization", f"Bearer {tokens.access_token}"),)
    return Trader(TradingServiceStub(channel).PlaceOrder, metadata, name)
