"""Eight times as many calls as can be served: what is still served, and how soon."""

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aac.marketdata.v1 import marketdata_pb2
from aac.trading.v1 import trading_pb2

from bench import cores
from bench.authority import Authority, authority
from bench.callers.remote import RemoteCallers, Run, calling
from bench.callers.target import Target
from bench.mesh.servers import ready
from bench.options import Options
from bench.pairs import compare
from bench.processes import free_port, program
from bench.report import Row

WORK_MS = 10.0
OVERLOAD = 8.0
WAITING = 3000
"""Calls without an answer at most, for each priority."""
CONNECTIONS = 8
SETTLE_S = 4.0
ENOUGH = 20
"""Calls that a p99 can be told of."""
UNLIMITED = {"bench": {name: [1e9, 1e9] for name in ("READ", "STREAM", "ORDER")}}
SCOPES = ["market:read", "orders:read", "orders:write"]

_TRADING, _MARKET = "/aac.trading.v1.TradingService", "/aac.marketdata.v1.MarketDataService"
METHODS: Mapping[str, tuple[str, Any, float]] = {
    "LOW": (f"{_MARKET}/ListTrades", marketdata_pb2.ListTradesRequest(symbol="GOOG"), 0.3),
    "NORMAL": (f"{_MARKET}/GetQuotes", marketdata_pb2.GetQuotesRequest(symbols=["GOOG"]), 0.5),
    "HIGH": (
        f"{_TRADING}/AmendOrder",
        trading_pb2.AmendOrderRequest(account_id="a", order_id="1", price="1", request_id="k"),
        0.2,
    ),
    "CRITICAL": (
        f"{_TRADING}/CancelOrder",
        trading_pb2.CancelOrderRequest(account_id="a", order_id="1", request_id="k"),
        0.0,
    ),
}
"""By priority: a method, its request, and its share of the load; cancels come at a steady twentieth of what can be
served, however much else there is."""
CANCELS = 0.05


@dataclass(frozen=True, slots=True)
class Tally:
    """What callers of all priorities met in the same time."""

    runs: Mapping[str, Run]

    @property
    def goodput(self) -> float:
        """Calls that succeeded, a second."""
        return sum(run.rate for run in self.runs.values())

    @property
    def offered(self) -> float:
        """Calls that were made, a second."""
        return sum((run.done + sum(run.failures.values())) / run.seconds for run in self.runs.values())

    @property
    def p99(self) -> float:
        """Of those that succeeded, in seconds, of the priority that waited longest and has one."""
        return max((run.p99 for run in self.runs.values() if run.done >= ENOUGH), default=math.nan)

    def describe(self) -> str:
        """By priority, calls that were served of those that were made."""
        return ", ".join(
            f"{name} {run.done} of {run.done + sum(run.failures.values()) + run.skipped} (p99 {run.p99 * 1e3:.0f} ms)"
            for name, run in self.runs.items()
        )


class Crowd:
    """Callers of each priority."""

    def __init__(self, callers: Mapping[str, RemoteCallers]) -> None:
        self._callers = callers

    async def capacity(self, seconds: float) -> float:
        """Calls a second that the server serves to a few callers who wait for their answers."""
        run = await self._callers["NORMAL"].run(callers=6, seconds=seconds)
        return run.rate

    async def run(self, rate: float, cancels: float, seconds: float) -> Tally:
        """An open loop of so many calls a second in all, and so many cancels."""

        async def one(name: str) -> Run:
            share = cancels if name == "CRITICAL" else rate * METHODS[name][2]
            callers = self._callers[name]
            return await callers.run(callers=WAITING, seconds=seconds, rate=share, must_succeed=False)

        runs = await asyncio.gather(*map(one, METHODS))
        return Tally(dict(zip(METHODS, runs, strict=True)))


async def measure_overload(options: Options) -> AsyncIterator[Row]:
    """The service alone, and behind the gateway."""
    async with AsyncExitStack() as stack:
        signer = await stack.enter_async_context(authority())
        service = await stack.enter_async_context(working_server(signer))
        for row in await measure(service, signer, options, ""):
            yield row
        gateway = await stack.enter_async_context(gateway_before(service, signer))
        for row in await measure(gateway, signer, options, "gateway_"):
            yield row


async def measure(address: str, signer: Authority, options: Options, prefix: str) -> list[Row]:
    """Pairs of runs: as many calls as can be served, and eight times as many."""
    seconds, pairs = options.pick(5.0, 3.0), options.pick(15, 2)
    found: list[tuple[Tally, Tally]] = []
    async with crowd(address, signer) as callers:
        capacity = await callers.capacity(seconds)
        cancels = capacity * CANCELS
        for _ in range(pairs):
            both = []
            for factor in (1.0, OVERLOAD):
                rate = capacity * factor - cancels
                await callers.run(rate, cancels, SETTLE_S)
                both.append(await callers.run(rate, cancels, seconds))
            options.say(f"  {both[1].describe()}")
            found.append((both[0], both[1]))
    what = (
        f"open loop (Poisson) of {OVERLOAD:g} times the {capacity:.0f} calls/s that a closed loop gets, against once as"
        f" many, {seconds:g} s each after {SETTLE_S:g} s of the same; each call takes {WORK_MS:g} ms CPU; LOW, NORMAL"
        f" and HIGH 30:50:20, and cancels at {CANCELS:.0%} of capacity; served at the last overload:"
        f" {found[-1][1].describe()}; {where(prefix)}"
    )
    return [
        compare(
            f"mesh.{prefix}goodput_at_8x_vs_peak",
            [(peak.goodput, over.goodput) for peak, over in found],
            "calls/s",
            goal=">= 0.8",
            detail=what,
        ),
        compare(
            f"mesh.{prefix}p99_at_8x_vs_peak",
            [(peak.p99, over.p99) for peak, over in found],
            "ms",
            scale=1e3,
            goal="<= 3",
            detail="of the calls that were let in, by the priority that waited longest; " + what,
        ),
    ]


def where(prefix: str) -> str:
    """Who has which core."""
    if not prefix:
        return cores.describe()
    if not cores.PINNED:
        return "not pinned to cores"
    return f"the service on core {cores.SERVERS}, the gateway and the callers on core {cores.CALLERS}"


@asynccontextmanager
async def crowd(address: str, signer: Authority) -> AsyncIterator[Crowd]:
    """Callers of each priority, each kind a process."""
    token = f"Bearer {signer.token(SCOPES, plan='bench')}"
    async with AsyncExitStack() as stack:
        callers = {}
        for name, (path, request, _) in METHODS.items():
            message = base64.b64encode(request.SerializeToString()).decode()
            target = Target("grpc", address, path, [token], message, CONNECTIONS)
            callers[name] = await stack.enter_async_context(calling(target))
        yield Crowd(callers)


@asynccontextmanager
async def working_server(
    signer: Authority, work_ms: float = WORK_MS, settings: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """A service whose calls cost so much CPU; its address."""
    port = free_port()
    environment = {
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_AUTH_ADDRESS": signer.address,
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_RATE_LIMITS": json.dumps(UNLIMITED),
        "AAC_QUOTA_STORE": "local",
        "AAC_REVOCATION_WATCH": "false",
        "AAC_BENCH_WORK_MS": str(work_ms),
        **(settings or {}),
    }
    async with program("-m", "bench.mesh.working_server", environment=environment, core=cores.SERVERS):
        await ready(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def gateway_before(service: str, signer: Authority) -> AsyncIterator[str]:
    """A gateway that forwards to the service; its address."""
    port = free_port()
    environment = {
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_AUTH_ADDRESS": signer.address,
        "AAC_TRADING_ADDRESS": service,
        "AAC_MARKET_DATA_ADDRESS": service,
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_QUOTA_STORE": "local",
        "AAC_REVOCATION_WATCH": "false",
    }
    async with program("-m", "aac_grpc.cli.serve", "api-gateway", environment=environment, core=cores.CALLERS):
        await ready(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
