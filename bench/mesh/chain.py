"""What everything that the base does around a unary call costs: grpc.aio alone against our server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

from bench import cores
from bench.authority import authority
from bench.callers.remote import DESCRIPTION, Run
from bench.mesh.backends import backends
from bench.mesh.servers import Contestant, grpc_contestant, tokens
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.report import Row

CALLERS = 50
CONNECTIONS = 5
WHAT = (
    f"{CALLERS} callers of 50 users in a closed loop on {CONNECTIONS} connections; GetQuotes by the same handler in two"
    " processes on uvloop: grpc.aio alone, and our server with its whole chain (all that the base does: recovery,"
    " metrics, access log, deadline, shedding, authentication by EdDSA JWT through the verified-token cache,"
    " authorization, rate limit, breaker, validation; load is watched and none is shed); " + DESCRIPTION
)


async def measure_chain(options: Options) -> AsyncIterator[Row]:
    """CPU and rate of the same runs."""
    seconds, rounds = options.pick(1.5, 0.4), options.pick(PAIRS + 6, QUICK_PAIRS)
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(backends("REDIS_URL"))
        signer = await stack.enter_async_context(authority())
        credentials = tokens(signer)
        bare, ours = [
            await stack.enter_async_context(grpc_contestant(kind, signer, credentials, urls, connections=CONNECTIONS))
            for kind in ("bare", "chain")
        ]
        runs = await by_turns({"bare": runner(bare, seconds), "ours": runner(ours, seconds)}, rounds)
    where = f"{seconds} s each; {cores.describe()}; {WHAT}"
    yield compare(
        "mesh.chain_vs_bare_cpu",
        [(one["bare"].cpu_per_call, one["ours"].cpu_per_call) for one in runs],
        "us server CPU/call",
        inverse=True,
        scale=1e6,
        goal=">= 0.92",
        detail=where,
    )
    yield compare(
        "mesh.chain_vs_bare_unary",
        [(one["bare"].rate, one["ours"].rate) for one in runs],
        "calls/s",
        detail=where,
    )


def runner(contestant: Contestant, seconds: float, callers: int = CALLERS) -> Callable[[], Awaitable[Run]]:
    """Runs so many callers for so long."""
    return lambda: contestant.callers.run(callers=callers, seconds=seconds)
