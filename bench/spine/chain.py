"""What everything that the base does around a method costs: server CPU per unary call, bare grpc.aio against ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub

from bench.authority import authority
from bench.load import closed_loop
from bench.options import Options
from bench.pairs import by_turns, compare
from bench.processes import START_TIMEOUT_S, cpu_seconds, free_port, program
from bench.report import Row

CALLERS = 50
CHANNELS = 5
"""Connections that the callers share."""
UNLIMITED = {"bench": {name: [1e9, 1e9] for name in ("READ", "STREAM")}}
"""Budgets that are charged and never used up."""

REQUEST = pb.GetQuotesRequest(symbols=["GOOG"])


@dataclass(slots=True)
class Contestant:
    """One of the two servers."""

    process: asyncio.subprocess.Process
    calls: "list[grpc.aio.UnaryUnaryMultiCallable[Any, Any]]"
    metadata: tuple[tuple[str, str], ...]

    async def cpu_per_call(self, calls: int) -> float:
        """CPU seconds of the server for each of so many calls.

        Raises:
            RuntimeError: A call failed.
        """
        before = cpu_seconds(self.process.pid)
        load = await closed_loop(self._call, callers=CALLERS, calls=calls)
        used = cpu_seconds(self.process.pid) - before
        if load.failures:
            raise RuntimeError(f"calls failed: {load.describe()}")
        return used / calls

    async def _call(self, number: int) -> None:
        await self.calls[number % CHANNELS](REQUEST, metadata=self.metadata, timeout=30)


async def measure_chain(options: Options) -> AsyncIterator[Row]:
    """Server CPU of a call, by turns."""
    pairs, calls = options.pick(21, 5), options.pick(3000, 800)
    async with AsyncExitStack() as stack:
        signer = await stack.enter_async_context(authority())
        metadata = (("authorization", f"Bearer {signer.token(['market:read'], plan='bench')}"),)
        bare = await _contestant(stack, "bare", signer.address, metadata)
        ours = await _contestant(stack, "chain", signer.address, metadata)
        found = await by_turns(
            {"bare": lambda: bare.cpu_per_call(calls), "ours": lambda: ours.cpu_per_call(calls)}, pairs
        )
    yield to_row([(one["bare"], one["ours"]) for one in found], calls)


def to_row(pairs: list[tuple[float, float]], calls: int) -> Row:
    """The row of measured pairs (CPU seconds of a call, bare and ours)."""
    return compare(
        "spine.chain_vs_bare_cpu",
        pairs,
        "us server CPU/call",
        inverse=True,
        scale=1e6,
        goal=">= 0.92",
        detail=f"{calls} calls each; {CALLERS} callers in a closed loop on {CHANNELS} connections; GetQuotes"
        " by the same handler in two processes on uvloop: grpc.aio alone, and our server with its whole chain"
        " (recovery, metrics, access log, deadline, authentication by EdDSA JWT through the verified-token cache,"
        " authorization, rate limit, breaker, validation)",
    )


async def _contestant(
    stack: AsyncExitStack, kind: str, auth_address: str, metadata: tuple[tuple[str, str], ...]
) -> Contestant:
    port = free_port()
    environment = {
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_AUTH_ADDRESS": auth_address,
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_RATE_LIMITS": json.dumps(UNLIMITED),
    }
    process = await stack.enter_async_context(program("-m", "bench.spine.chain_servers", kind, environment=environment))
    calls = []
    for _ in range(CHANNELS):
        # Otherwise channels to one address share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options))
        async with asyncio.timeout(START_TIMEOUT_S):
            await channel.channel_ready()
        calls.append(MarketDataServiceStub(channel).GetQuotes)
    return Contestant(process, calls, metadata)
