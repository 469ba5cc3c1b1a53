"""Memory of the six services, of six that share no care, and of six of the ancestor's."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import psutil

from bench.installation import folder_for_all
from bench.mesh.backends import backends
from bench.mesh.fleet import OURS, SIX, fleet, six
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.processes import START_TIMEOUT_S, await_port, free_port, memory_mb, program
from bench.report import Row

SEPARATE = "bench.ancestor.separate"
SETTLE_S = 2.0
ALL = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")
WHAT = (
    f"PSS of the six services' processes together, idle, {SETTLE_S:g} s after the last was ready, on the same backends"
)


async def measure_memory(options: Options) -> AsyncIterator[Row]:
    """All three by turns, each started anew each time."""
    rounds = options.pick(PAIRS, QUICK_PAIRS - 1)
    async with backends(*ALL) as urls:
        turns = {
            "ours": lambda: of_fleet(urls, OURS),
            "separate": lambda: of_fleet(urls, SEPARATE),
            "ancestor": lambda: of_ancestor(urls),
        }
        runs = await by_turns(turns, rounds)
    yield compare(
        "mesh.memory_vs_separate",
        [(one["separate"], one["ours"]) for one in runs],
        "MB",
        goal="<= 0.7",
        detail="separate: the same six, each with all of the base and every contract imported, clients of PostgreSQL,"
        f" Redis and Kafka opened, and no memory given back after the start; {WHAT}",
    )
    yield compare(
        "targets.memory_vs_ancestor",
        [(one["ancestor"], one["ours"]) for one in runs],
        "MB",
        goal="<= 0.7",
        detail="the ancestor: six FastAPI services of one route each, with the shared library's middlewares, pools of"
        f" PostgreSQL and Redis and a producer of Kafka, and nothing of what our six do; {WHAT}",
    )


async def of_fleet(urls: Mapping[str, str], module: str) -> float:
    """MB of six services of ours, or of a program in their place."""
    with folder_for_all() as folder:
        async with fleet(folder / "state", urls, module) as started:
            await asyncio.sleep(SETTLE_S)
            return memory_mb(six(started))[0]


async def of_ancestor(urls: Mapping[str, str]) -> float:
    """MB of six services of the ancestor's."""
    async with AsyncExitStack() as stack:
        processes = []
        for _ in SIX:
            port = free_port()
            arguments = ("-m", "bench.ancestor.services", str(port))
            process = await stack.enter_async_context(program(*arguments, environment=urls))
            processes.append((psutil.Process(process.pid), port))
        for _, port in processes:
            await await_port(port, START_TIMEOUT_S)
        await asyncio.sleep(SETTLE_S)
        return memory_mb(process for process, _ in processes)[0]
