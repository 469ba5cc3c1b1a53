"""Memory of the six services as users run them, of six that share no care, and of six of the ancestor's."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

import psutil
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from aac_grpc.backends.state import StateDirectory
from bench.ancestor.credentials import token
from bench.ancestor.services import EVENTS
from bench.installation import folder_for_all
from bench.mesh.backends import backends
from bench.mesh.fleet import fleet
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.processes import START_TIMEOUT_S, await_port, free_port, program
from bench.report import Row

SEPARATE = "bench.ancestor.separate"
THEIR_SERVICES = ("", "", "", "", "", "analytics")
SETTLE_S = 2.0
ALL = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")
PATHS = ("/api/v1/quotes?symbols=GOOG", "/api/v1/account")
ATTEMPTS = 5
CALLERS = 4
"""Of each of the ancestor's services; ours have 20 together, who go from one to the next."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What processes hold together, in MB.

    Attributes:
        pss: Each page once, shared out among those who map it.
        uss: Pages that only one of them maps; what several share counts in none.
        rss: Pages of each; what several share counts in all.
    """

    pss: float
    uss: float
    rss: float

    @classmethod
    def of(cls, processes: Iterable[psutil.Process]) -> "Memory":
        """Of living processes, now."""
        found = [one.memory_full_info() for one in processes]
        return cls(*(sum(getattr(one, kind) for one in found) / 2**20 for kind in ("pss", "uss", "rss")))


@dataclass(frozen=True, slots=True)
class Measured:
    """One start."""

    idle: Memory
    used: Memory
    """After the calls."""


async def measure_memory(options: Options) -> AsyncIterator[Row]:
    """All three by turns, each started anew each time."""
    rounds, calls = options.pick(PAIRS, QUICK_PAIRS - 1), options.pick(500, 100)
    async with backends(*ALL) as urls:
        await asyncio.to_thread(_make_topic, urls["KAFKA_BOOTSTRAP_SERVERS"])
        with folder_for_all() as folder:
            state = StateDirectory(folder / "state")
            runs = await by_turns(
                {
                    "ours": lambda: of_fleet(state, urls, None, calls),
                    "separate": lambda: of_fleet(state, urls, SEPARATE, calls),
                    "ancestor": lambda: of_ancestor(urls, calls),
                },
                rounds,
            )
    what = f"PSS of all processes together after {calls} calls to each service, on the same backends"
    yield compare(
        "mesh.memory_vs_separate",
        [(one["separate"].used.pss, one["ours"].used.pss) for one in runs],
        "MB",
        goal="<= 0.7",
        detail="ours: the six services as `aac up` runs them, forked, and the process that they are forked from;"
        " separate: the same six, each a fresh interpreter with all of the base and every contract imported, clients"
        " of PostgreSQL, Redis and Kafka opened, and no memory given back after the start; the registry runs beside"
        f" both as a process by itself and does not count; {what};"
        f" {_in_words(runs, 'separate')}",
    )
    yield compare(
        "targets.memory_vs_ancestor",
        [(one["ancestor"].used.pss, one["ours"].used.pss) for one in runs],
        "MB",
        goal="<= 0.7",
        detail="the ancestor: six FastAPI services, each a process that was started by itself, as it ran; two routes"
        " each, one of which asks the database, with the shared library's middlewares, pools of PostgreSQL and Redis,"
        " a producer and a consumer of Kafka, NumPy and TA-Lib in one of them, and nothing else of what our six do;"
        f" {what}; {_in_words(runs, 'ancestor')}",
    )


def _in_words(runs: Sequence[Mapping[str, Measured]], other: str) -> str:
    """Medians of the other kinds of memory."""
    said = []
    for when in ("idle", "used"):
        for kind in ("pss", "uss", "rss"):
            ours, theirs = (median(getattr(getattr(one[name], when), kind) for one in runs) for name in ("ours", other))
            said.append(f"{kind.upper()} {when} {ours:.0f} and {theirs:.0f}")
    return f"ours and {other}, MB: {', '.join(said)}"


async def of_fleet(state: StateDirectory, urls: Mapping[str, str], module: str | None, calls: int) -> Measured:
    """Of six services of ours, or of a program in their place."""
    async with fleet(state, urls, module) as started:
        await asyncio.sleep(SETTLE_S)
        idle = Memory.of(started.processes)
        await started.use(calls)
        await asyncio.sleep(SETTLE_S)
        return Measured(idle, Memory.of(started.processes))


async def of_ancestor(urls: Mapping[str, str], calls: int) -> Measured:
    """Of six services of the ancestor's."""
    async with AsyncExitStack() as stack:
        ports = [free_port() for _ in THEIR_SERVICES]
        started = [
            await stack.enter_async_context(program("-m", "bench.ancestor.services", str(port), kind, environment=urls))
            for port, kind in zip(ports, THEIR_SERVICES, strict=True)
        ]
        processes = [psutil.Process(process.pid) for process in started]
        for port in ports:
            await await_port(port, START_TIMEOUT_S)
        await asyncio.sleep(SETTLE_S)
        idle = Memory.of(processes)
        share = calls // CALLERS
        await asyncio.gather(*(asyncio.to_thread(_get, port, share) for port in ports for _ in range(CALLERS)))
        await asyncio.sleep(SETTLE_S)
        return Measured(idle, Memory.of(processes))


def _make_topic(servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(EVENTS, 1, 1)])[EVENTS].result(START_TIMEOUT_S)


def _get(port: int, calls: int) -> None:
    """Calls one after the other, every other one of which needs the database."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    headers = {"authorization": f"Bearer {token('user')}"}
    for path in (PATHS * calls)[:calls]:
        for _ in range(ATTEMPTS):  # on a busy machine it fails some
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            if response.status == http.client.OK:
                break
        else:
            raise RuntimeError(f"the ancestor answers {response.status}")
    connection.close()
