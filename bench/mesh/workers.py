"""What a second worker brings to a stateless service."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil

from bench.authority import Authority, authority
from bench.callers.remote import DESCRIPTION, RemoteCallers, Run, calling
from bench.mesh.backends import backends
from bench.mesh.servers import PATIENT, grpc_settings, quotes, ready, tokens
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.processes import START_TIMEOUT_S, free_port, program
from bench.report import Row

CALLERS = 64
"""Each with a connection of its own: the kernel spreads connections, not calls."""
WHAT = (
    f"one port, {CALLERS} callers with a connection each in a closed loop, GetQuotes through the whole chain; nothing"
    " is pinned, and the callers take their share of the same cores: on two of them a second worker can't double the"
    " rate; " + DESCRIPTION
)


async def measure_workers(options: Options) -> AsyncIterator[Row]:
    """The same service with one worker and with two."""
    seconds, rounds = options.pick(2.0, 0.6), options.pick(PAIRS, QUICK_PAIRS)
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(backends("REDIS_URL"))
        signer = await stack.enter_async_context(authority())
        one, two = [await stack.enter_async_context(_workers(number, signer, urls)) for number in (1, 2)]
        runs = await by_turns({"one": lambda: one.run(seconds), "two": lambda: two.run(seconds)}, rounds)
    costs = [sorted(run[name].cpu_per_call for run in runs)[len(runs) // 2] * 1e6 for name in ("one", "two")]
    yield compare(
        "mesh.workers_2_vs_1",
        [(run["one"].rate, run["two"].rate) for run in runs],
        "calls/s",
        detail=f"server CPU {costs[0]:.0f} us a call with one, {costs[1]:.0f} us with two; {WHAT}",
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """A service that several processes serve."""

    callers: RemoteCallers

    async def run(self, seconds: float) -> Run:
        """One run."""
        return await self.callers.run(callers=CALLERS, seconds=seconds)


@asynccontextmanager
async def _workers(number: int, signer: Authority, urls: Mapping[str, str]) -> AsyncIterator[Workers]:
    port = free_port()
    environment = {**grpc_settings(port, signer), **PATIENT, **urls, "AAC_WORKERS": str(number)}
    async with program("-m", "bench.spine.chain_servers", "chain", environment=environment) as server:
        await ready(f"127.0.0.1:{port}")
        pids = await _pids(server.pid, number)
        async with calling(quotes(f"127.0.0.1:{port}", tokens(signer)), *pids) as callers:
            yield Workers(callers)


async def _pids(parent: int, number: int) -> list[int]:
    """The processes that serve; with several workers they are children of the one that was started."""
    if number == 1:
        return [parent]
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            # All of them listen before the first call, or the kernel would give every connection to the first.
            serving = [child.pid for child in psutil.Process(parent).children() if _listens(child)]
            if len(serving) == number:
                return serving
            await asyncio.sleep(0.2)


def _listens(process: psutil.Process) -> bool:
    """Something of the process listens on its gRPC port, beside the admin port."""
    return sum(one.status == psutil.CONN_LISTEN for one in process.net_connections()) > 1
