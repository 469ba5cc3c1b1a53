"""Beside the ancestor and beside an expert's FastAPI: the same duties around the same answer, each alone on a core."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench import cores
from bench.ancestor.credentials import token
from bench.authority import authority
from bench.callers.remote import DESCRIPTION, Run, calling
from bench.callers.target import Target
from bench.mesh.backends import backends
from bench.mesh.chain import runner
from bench.mesh.servers import USERS, Contestant, grpc_contestant, tokens
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.processes import START_TIMEOUT_S, await_port, free_port, program
from bench.report import Row

SECONDS = {1: 0.8, 50: 1.0, 1000: 3.0}
"""Of each run, by callers."""
QUICK_SECONDS = {1: 0.3, 50: 0.4, 1000: 1.5}
LADDER = (25, 50, 100, 150, 200, 300)
"""Callers of ours among which those are found that wait as long as 50 of the ancestor's."""
AT = 50

QUOTES = "/api/v1/quotes?symbols=GOOG"
ANCESTOR = (
    "the ancestor is FastAPI on uvicorn with uvloop and httptools, a BaseHTTPMiddleware each for metrics (`.labels()` a"
    " request), a JSON log line, the token (JWT, HS256, verified each time) and the limit (a pipeline of INCR and"
    " EXPIRE on Valkey); ours has its whole chain, with a log line for each call too, and sheds no load either"
)
EXPERT = (
    "the expert's is FastAPI with one pure ASGI middleware: tokens remembered, limits in memory, counters bound, a line"
    " for one request in a hundred, pydantic-core's JSON as it is; ours is as it comes, with a line for one call in a"
    " hundred too"
)
WHAT = (
    "one quote by GetQuotes or GET /quotes, every caller with a connection of its own in a closed loop, 50 users; "
    + DESCRIPTION
)


async def measure_ancestor(options: Options) -> AsyncIterator[Row]:
    """All four servers by turns at each number of callers, then calls in flight."""
    seconds, rounds = options.pick(SECONDS, QUICK_SECONDS), options.pick(PAIRS, QUICK_PAIRS)
    async with _contestants() as all_:
        for callers, length in seconds.items():
            options.say(f"{callers} callers ...")
            turns = {name: runner(one, length, callers) for name, one in all_.items()}
            runs = await by_turns(turns, rounds)
            yield to_row("ancestor", callers, [(one["ancestor"], one["logged"]) for one in runs], "<= 0.75", ANCESTOR)
            yield to_row("expert", callers, [(one["expert"], one["ours"]) for one in runs], "", EXPERT)
        yield await _in_flight(all_["ancestor"], all_["logged"], seconds[AT], rounds)


def to_row(who: str, callers: int, pairs: Sequence[tuple[Run, Run]], goal: str, what: str) -> Row:
    """The row of latencies beside one of theirs."""
    rates = [sorted(run.rate for run in side)[len(side) // 2] for side in zip(*pairs, strict=True)]
    costs = [sorted(run.cpu_per_call for run in side)[len(side) // 2] * 1e6 for side in zip(*pairs, strict=True)]
    return compare(
        f"mesh.p50_vs_fastapi_{who}_{callers}",
        [(theirs.p50, ours.p50) for theirs, ours in pairs],
        "ms p50",
        scale=1e3,
        goal=goal,
        detail=f"theirs / ours: {rates[0]:.0f} / {rates[1]:.0f} calls a second, server CPU {costs[0]:.0f} /"
        f" {costs[1]:.0f} us a call; {cores.describe()}; {what}; {WHAT}",
    )


async def _in_flight(ancestor: Contestant, ours: Contestant, seconds: float, rounds: int) -> Row:
    """Callers of ours whose p99 is that of 50 callers of the ancestor's."""
    turns = {str(callers): runner(ours, seconds, callers) for callers in LADDER}
    runs = await by_turns({"ancestor": runner(ancestor, seconds, AT), **turns}, rounds)
    pairs = []
    for one in runs:
        limit = one.pop("ancestor").p99
        pairs.append((float(AT), callers_at(limit, {int(callers): run.p99 for callers, run in one.items()})))
    return compare(
        "mesh.concurrency_vs_fastapi_ancestor",
        pairs,
        "calls in flight",
        goal=">= 1.4",
        detail=f"calls of ours in flight, interpolated between {LADDER}, whose p99 is that of {AT} of the ancestor's;"
        f" {ANCESTOR}; {WHAT}",
    )


def callers_at(limit: float, p99_by_callers: Mapping[int, float]) -> float:
    """How many callers have this p99: interpolated; the most that were measured where all of them stay below it."""
    before, p99_before = 0, 0.0
    for callers, p99 in sorted(p99_by_callers.items()):
        if p99 >= limit:
            share = (limit - p99_before) / (p99 - p99_before) if p99 > p99_before else 1.0
            return before + (callers - before) * max(share, 0.0)
        before, p99_before = callers, p99
    return before


@asynccontextmanager
async def _contestants() -> AsyncIterator[dict[str, Contestant]]:
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(backends("REDIS_URL"))
        signer = await stack.enter_async_context(authority())
        credentials = tokens(signer)
        found = {}
        for name, module in (("ancestor", "services"), ("expert", "expert")):
            found[name] = await stack.enter_async_context(fastapi_contestant(module, urls))
        for name, sample in (("logged", "1"), ("ours", "0.01")):
            settings = {**urls, "AAC_ACCESS_LOG_SAMPLE": sample}
            found[name] = await stack.enter_async_context(grpc_contestant("chain", signer, credentials, settings))
        yield found


@asynccontextmanager
async def fastapi_contestant(module: str, environment: Mapping[str, str]) -> AsyncIterator[Contestant]:
    """A module of `bench.ancestor` on the servers' core, and its callers on the other."""
    port = free_port()
    arguments = ("-m", f"bench.ancestor.{module}", str(port))
    async with program(*arguments, environment=environment, core=cores.SERVERS) as server:
        await await_port(port, START_TIMEOUT_S)
        credentials = [f"Bearer {token(f'user-{number}')}" for number in range(USERS)]
        target = Target("http1", f"127.0.0.1:{port}", QUOTES, credentials)
        async with calling(target, server.pid) as callers:
            yield Contestant(server.pid, target.address, callers)
