"""A thousand users with a connection each and a thousand open streams, through one gateway."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil

from bench import cores
from bench.authority import authority
from bench.callers.remote import DESCRIPTION, RemoteCallers, Run, calling
from bench.machine import ROOT
from bench.mesh.proxied import Proxied, proxied
from bench.mesh.servers import quotes, tokens
from bench.options import Options
from bench.pairs import single
from bench.processes import STOP_TIMEOUT_S, end
from bench.report import Row

USERS = 1000
STREAMS = 1000
STREAM_CONNECTIONS = 100
SHARE_OF_MAXIMUM = 0.7
BUSY = 64
"""Users who keep the machine busy without waiting for each other so long that load is shed."""
SETTLE_S = 2.0
OPENED_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Opened:
    """How streams fared.

    Attributes:
        open: Streams whose first frame came.
        frames: Frames that came.
        failures: Streams that ended, by their status.
        seconds: Since the first was opened.
    """

    open: int
    frames: int
    failures: dict[str, int]
    seconds: float


class StreamCrowd:
    """Streams that another process holds open."""

    def __init__(self, process: asyncio.subprocess.Process, opened: Opened) -> None:
        self._process = process
        self.opened = opened

    async def close(self) -> Opened:
        """Ends them; returns how they fared."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await _line(self._process)


@asynccontextmanager
async def streams(
    address: str, credentials: Sequence[str], count: int = STREAMS, connections: int = STREAM_CONNECTIONS
) -> AsyncIterator[StreamCrowd]:
    """Opens so many streams at once on so many connections, and holds them.

    Raises:
        RuntimeError: The process that holds them ended.
    """
    with cores.starting_on(cores.CALLERS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.mesh.stream_crowd", address, str(count), str(connections), *credentials),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    try:
        yield StreamCrowd(process, await _line(process))
    finally:
        await end(process, STOP_TIMEOUT_S)


async def _line(process: asyncio.subprocess.Process) -> Opened:
    assert process.stdout is not None
    async with asyncio.timeout(OPENED_WITHIN_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the process that holds streams has ended")
    return Opened(**json.loads(line))


async def maximum_rate(callers: RemoteCallers, seconds: float) -> float:
    """Calls a second that the machine holds: what users get who wait for their answers."""
    return (await callers.run(callers=BUSY, seconds=seconds, must_succeed=False)).rate


async def steady_users(callers: RemoteCallers, rate: float, seconds: float, users: int = USERS) -> Run:
    """Calls at a steady rate by so many users, answered or not; the first two seconds of it do not count."""
    await callers.run(callers=users, seconds=SETTLE_S, rate=rate, must_succeed=False)
    return await callers.run(callers=users, seconds=seconds, rate=rate, must_succeed=False)


def kb_per_stream(pids: Sequence[int], before: Sequence[int], count: int) -> list[float]:
    """Memory that each process has taken since, in kB for each of so many streams."""
    return [(rss(pid) - held) / 1024 / count for pid, held in zip(pids, before, strict=True)]


def rss(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(psutil.Process(pid).memory_info().rss)


async def measure_users(options: Options) -> AsyncIterator[Row]:
    """The streams stay open while the users call."""
    seconds, rounds = options.pick(10.0, 3.0), options.pick(5, 1)
    async with AsyncExitStack() as stack:
        signer = await stack.enter_async_context(authority())
        credentials = tokens(signer)
        both = await stack.enter_async_context(proxied(signer))
        callers = await stack.enter_async_context(
            calling(quotes(both.gateway, credentials), both.gateway_pid, both.service_pid)
        )
        await maximum_rate(callers, 1.0)
        opened, kilobytes = await _hold_streams(stack, both, credentials)
        runs: list[Run] = []
        rates: list[float] = []
        for _ in range(rounds):
            rates.append(await maximum_rate(callers, seconds / 3))
            runs.append(await steady_users(callers, SHARE_OF_MAXIMUM * rates[-1], seconds))
            options.say(f"  of {rates[-1]:.0f}/s: {runs[-1]}")
        fared = await opened.close()
    lost = sum(fared.failures.values())
    what = (
        f"{USERS} users with a connection each call GetQuotes in an open loop (Poisson) at {SHARE_OF_MAXIMUM:.0%} of"
        f" the {sum(rates) / len(rates):.0f} calls/s that {BUSY} get in a closed one, {seconds:g} s each;"
        f" {fared.open} of {STREAMS} streams open beside them on {STREAM_CONNECTIONS} connections (opened at once in"
        f" {opened.opened.seconds:.1f} s), {lost} lost, {fared.frames} frames; gateway and service share a core;"
        f" {cores.describe()}; {DESCRIPTION}"
    )
    yield single("mesh.users_1000_error_rate", [run.error_rate for run in runs], "share", goal="< 0.01", detail=what)
    yield single("mesh.users_1000_p99_ms", [run.p99 * 1e3 for run in runs], "ms", goal="< 100", detail=what)
    yield single(
        "mesh.stream_kb_at_gateway",
        kilobytes[:1],
        "kB",
        detail=f"memory of an open bidi stream, of {STREAMS}; at the service {kilobytes[1]:.0f} kB",
    )


async def _hold_streams(
    stack: AsyncExitStack, both: Proxied, credentials: Sequence[str]
) -> tuple[StreamCrowd, list[float]]:
    """Opens the streams; returns them, and the kB that each takes at the gateway and at the service."""
    pids = (both.gateway_pid, both.service_pid)
    before = [rss(pid) for pid in pids]
    opened = await stack.enter_async_context(streams(both.gateway, credentials))
    return opened, kb_per_stream(pids, before, STREAMS)
