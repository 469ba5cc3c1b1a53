"""How many queries an open connection serves: a statement at a time, against a connection for each whole request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psycopg

from bench.ancestor.credentials import token
from bench.authority import Authority, authority
from bench.callers.remote import RemoteCallers, Run, calling
from bench.callers.target import Target
from bench.mesh.account_work import DOWNSTREAM_S, QUERIES
from bench.mesh.backends import backends
from bench.mesh.servers import PATIENT, grpc_settings, quotes, ready, tokens
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.processes import START_TIMEOUT_S, await_port, free_port, program
from bench.report import Row

SERVICES = ("api-gateway", "auth-service", "market-data", "trading-engine", "risk-management", "analytics")
RATE = 40.0
"""Requests a second to each service, at random times (Poisson)."""
CALLERS = 100
"""Requests to a service at a time at most: never reached."""
ACCOUNT_PATH = "/api/v1/account"
OURS, THEIRS = "aac", "fastapi"
COUNT = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
WHAT = (
    f"six services on each side, {RATE:g} requests a second to each at the same random times; a request makes"
    f" {QUERIES} queries and waits {DOWNSTREAM_S * 1e3:.0f} ms for another service between them; pools of one"
    " connection that grow as they need on both sides, both psycopg; the ancestor's requests hold a connection from"
    " beginning to end (a FastAPI dependency with yield), our methods for a statement; connections as"
    " PostgreSQL counts them after each run"
)


@dataclass(frozen=True, slots=True)
class Side:
    """Six services, their callers, and the database that is theirs alone."""

    url: str
    callers: Sequence[RemoteCallers]

    async def measure(self, seconds: float) -> float:
        """Queries for each open connection.

        Raises:
            RuntimeError: Requests failed or were left out.
        """
        runs: list[Run] = await asyncio.gather(
            *(one.run(callers=CALLERS, seconds=seconds, rate=RATE) for one in self.callers)
        )
        if skipped := sum(run.skipped for run in runs):
            raise RuntimeError(f"{skipped} requests were not made")
        return sum(run.done for run in runs) * QUERIES / await self._connections()

    async def _connections(self) -> int:
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            row = await (await connection.execute(COUNT)).fetchone()
        assert row is not None
        return max(int(row[0]), 1)


async def measure_database(options: Options) -> AsyncIterator[Row]:
    """Each side on a PostgreSQL of its own, so that connections are counted by themselves."""
    seconds, rounds = options.pick(4.0, 1.0), options.pick(PAIRS, QUICK_PAIRS)
    async with authority() as signer, _ours(signer) as ours, _theirs() as theirs:
        turns: Mapping[str, Callable[[], Awaitable[float]]] = {
            THEIRS: lambda: theirs.measure(seconds),
            OURS: lambda: ours.measure(seconds),
        }
        runs = await by_turns(turns, rounds)
    yield compare(
        "mesh.db_connections_vs_ancestor",
        [(one[THEIRS], one[OURS]) for one in runs],
        f"queries/connection in {seconds:g} s",
        goal=">= 1.5",
        detail=WHAT,
    )


@asynccontextmanager
async def _ours(signer: Authority) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(backends("DATABASE_URL", "REDIS_URL"))
        started = []
        for name in SERVICES:
            port = free_port()
            environment = {**grpc_settings(port, signer), **PATIENT, **urls}
            arguments = ("-m", "bench.mesh.account_server", name)
            server = await stack.enter_async_context(program(*arguments, environment=environment))
            started.append((quotes(f"127.0.0.1:{port}", tokens(signer)), server.pid))
        for target, _ in started:
            await ready(target.address)
        yield await _side(stack, urls, started)


@asynccontextmanager
async def _theirs() -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(backends("DATABASE_URL", "REDIS_URL"))
        started = []
        for name in SERVICES:
            port = free_port()
            arguments = ("-m", "bench.ancestor.services", str(port))
            server = await stack.enter_async_context(program(*arguments, environment=urls))
            target = Target("http1", f"127.0.0.1:{port}", ACCOUNT_PATH, [f"Bearer {token(name)}"])
            started.append((target, server.pid))
        for target, _ in started:
            await await_port(int(target.address.rpartition(":")[2]), START_TIMEOUT_S)
        yield await _side(stack, urls, started)


async def _side(stack: AsyncExitStack, urls: Mapping[str, str], started: Sequence[tuple[Target, int]]) -> Side:
    callers = [await stack.enter_async_context(calling(target, pid)) for target, pid in started]
    return Side(urls["DATABASE_URL"], callers)
