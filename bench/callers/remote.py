"""Callers in a process of their own, on the callers' core."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from bench import cores
from bench.callers.target import Target
from bench.machine import ROOT
from bench.processes import STOP_TIMEOUT_S, cpu_seconds, end

GIVE_UP_AFTER_S = 120.0
DESCRIPTION = (
    "callers are one process of asyncio protocols on uvloop for either kind of server, which send bytes prepared before"
    " and look at no more of an answer than whether it is one (bench/callers)"
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of callers met, and what it cost.

    Attributes:
        seconds: From the first call to the last answer.
        done: Calls that succeeded.
        failures: How many calls failed, by how.
        skipped: Calls of an open loop that were not made since all callers waited.
        p50: Latency of calls that succeeded, in seconds; NaN without one.
        p90: The same.
        p99: The same.
        cpu: CPU seconds of the callers.
        server_cpu: CPU seconds of the server.
    """

    seconds: float
    done: int
    failures: dict[str, int]
    skipped: int
    p50: float
    p90: float
    p99: float
    cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        """Calls that succeeded, a second."""
        return self.done / self.seconds

    @property
    def cpu_per_call(self) -> float:
        """CPU seconds of the server for each call that succeeded."""
        return self.server_cpu / max(self.done, 1)

    @property
    def error_rate(self) -> float:
        """Share of the calls that failed or could not be made."""
        failed = sum(self.failures.values()) + self.skipped
        return failed / max(self.done + failed, 1)


class RemoteCallers:
    """Tells the process what to do."""

    def __init__(self, process: asyncio.subprocess.Process, server_pids: tuple[int, ...]) -> None:
        self._process = process
        self._servers = server_pids

    async def run(self, *, callers: int, seconds: float, rate: float | None = None, must_succeed: bool = True) -> Run:
        """One run.

        Args:
            callers: At a time; in an open loop at most.
            seconds: How long calls are begun.
            rate: Calls a second, for an open loop.
            must_succeed: A call that fails is an error.

        Raises:
            RuntimeError: A call failed, or the process did.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self._server_cpu()
        order = {"callers": callers, "seconds": seconds, "rate": rate}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(seconds + GIVE_UP_AFTER_S):
            line = await self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise RuntimeError(f"the callers ended: {(await self._process.stderr.read()).decode()[-1000:]}")
        run = Run(**json.loads(line), server_cpu=self._server_cpu() - before)
        if must_succeed and run.failures:
            raise RuntimeError(f"calls failed: {Counter(run.failures).most_common(3)} of {run.done}")
        return run

    def _server_cpu(self) -> float:
        return sum(map(cpu_seconds, self._servers))


@asynccontextmanager
async def calling(target: Target, *server_pids: int) -> AsyncIterator[RemoteCallers]:
    """Callers of a target; the CPU of these processes is measured as the server's."""
    with cores.starting_on(cores.CALLERS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.callers", json.dumps(asdict(target))),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    try:
        yield RemoteCallers(process, server_pids)
    finally:
        await end(process, STOP_TIMEOUT_S)
