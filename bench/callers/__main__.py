"""`python -m bench.callers TARGET`: makes calls as it is told, a line of JSON for each run, and answers with a line.

TARGET is a `Target` as JSON, a line such as {"callers": 50, "seconds": 1.0} a closed loop, one with a rate as well an
open loop with as many calls at a time at most.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from bench.callers.connection import Connection
from bench.callers.target import Target
from bench.load import Load

ANSWER_WITHIN_S = 60.0
SEED = 20120621


class Callers:
    """Callers with their connections, which stay open from run to run."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections: list[Any] = []

    async def run(self, callers: int, seconds: float, rate: float | None = None) -> Load:
        """One run.

        Raises:
            TimeoutError: Answers stayed away.
        """
        await self._connect(min(callers, self._target.connections or callers))
        lines: list[Connection] = [self._connections[at % len(self._connections)] for at in range(callers)]
        loop = asyncio.get_running_loop()
        load, ended = Load(offered=rate), loop.create_future()
        began = time.perf_counter()
        if rate is None:
            run_closed(lines, began + seconds, load, lambda: ended.set_result(None))
            await asyncio.wait_for(ended, seconds + ANSWER_WITHIN_S)
        else:
            await asyncio.wait_for(run_open(lines, rate, seconds, load), seconds + ANSWER_WITHIN_S)
        load.seconds = time.perf_counter() - began
        return load

    async def _connect(self, count: int) -> None:
        self._connections = [one for one in self._connections if not one.lost]
        host, _, port = self._target.address.rpartition(":")
        for number in range(len(self._connections), count):
            _, connection = await asyncio.get_running_loop().create_connection(
                partial(self._target.connection, number), host, int(port)
            )
            self._connections.append(connection)


def run_closed(lines: list[Connection], until: float, load: Load, ended: Callable[[], None]) -> None:
    """Each caller makes its next call when it has the answer to the last one; `ended` is called after the last."""
    now = time.perf_counter
    running = len(lines)

    def begin(line: Connection) -> None:
        began = now()

        def answered(failure: str) -> None:
            nonlocal running
            at = now()
            if failure:
                load.failures[failure] += 1
            else:
                load.latencies.add(at - began)
            if at < until and failure != "connection lost":
                begin(line)
                return
            running -= 1
            if not running:
                ended()

        line.call(answered)

    for line in lines:
        begin(line)


async def run_open(lines: list[Connection], rate: float, seconds: float, load: Load) -> None:
    """Calls begin at random times (Poisson, the same ones each run), answered or not; timed from when each was due."""
    free, arrivals = list(lines), random.Random(SEED)
    began = due = time.perf_counter()
    idle = asyncio.Event()

    def begin(line: Connection, due: float) -> None:
        def answered(failure: str) -> None:
            if failure:
                load.failures[failure] += 1
            else:
                load.latencies.add(time.perf_counter() - due)
            free.append(line)
            if len(free) == len(lines):
                idle.set()

        idle.clear()
        line.call(answered)

    while (due := due + arrivals.expovariate(rate)) < began + seconds:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if free:
            begin(free.pop(), due)
        else:
            load.skipped += 1
    if len(free) < len(lines):
        await idle.wait()


def cpu_now() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def answer(load: Load, cpu: float) -> str:
    """What a run met, as a line."""
    at = load.latencies.percentile
    return json.dumps(
        {
            "seconds": load.seconds,
            "done": load.done,
            "failures": load.failures,
            "skipped": load.skipped,
            "p50": at(50),
            "p90": at(90),
            "p99": at(99),
            "cpu": cpu,
        }
    )


async def main(target: Target) -> None:
    """Runs until standard input ends."""
    callers = Callers(target)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        before = cpu_now()
        load = await callers.run(**json.loads(line))
        print(answer(load, cpu_now() - before), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Target(**json.loads(sys.argv[1]))))
