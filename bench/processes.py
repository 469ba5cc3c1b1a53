"""Other processes: what CPU and memory they take, and servers of a bench's own."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import IO

import psutil

from bench.cores import starting_on
from bench.machine import ROOT

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used so far, in seconds.

    Linux keeps it in nanoseconds on a clock of the process (clock_getcpuclockid(3)); elsewhere in ticks of 10 ms.
    """
    if sys.platform == "linux":
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mb(processes: Iterable[psutil.Process]) -> tuple[float, str]:
    """Memory of processes together, in MB, and which kind.

    "PSS" shares out the pages that several processes map; where the system does not tell, "RSS" counts them in each.
    """
    living = list(processes)
    try:
        return sum(one.memory_full_info().pss for one in living) / 2**20, "PSS"
    except (AttributeError, psutil.AccessDenied):
        return sum(one.memory_info().rss for one in living) / 2**20, "RSS"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def await_port(port: int, within: float) -> None:
    """Waits until somebody listens on a port of the loopback interface.

    Raises:
        TimeoutError: Nobody does.
    """
    async with asyncio.timeout(within):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def program(
    *arguments: str, environment: Mapping[str, str], core: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of this checkout's Python (`python ARGUMENTS`), ended when the block is left.

    Args:
        arguments: For the interpreter.
        environment: On top of ours.
        core: Where all its threads stay; None leaves it to the system.

    Raises:
        RuntimeError: It ended by itself before; with the last lines that it wrote.
    """
    with tempfile.TemporaryFile() as output:
        with starting_on(core):
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
            )
        try:
            yield process
        except Exception:
            if process.returncode is not None:
                raise RuntimeError(f"{' '.join(arguments)} ended: {_tail(output)}") from None
            raise
        finally:
            await end(process, STOP_TIMEOUT_S)


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - 2000))
    return output.read().decode(errors="replace")


async def end(process: asyncio.subprocess.Process, within: float, told: signal.Signals = signal.SIGTERM) -> None:
    """Tells a program to end, waits until it has, and kills it after so many seconds."""
    if process.returncode is not None:
        return
    process.send_signal(told)
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def outputs(process: asyncio.subprocess.Process, within: float) -> tuple[str, str]:
    """What a program writes to its two pipes; it is ended where it takes longer, or where nobody waits any more.

    Raises:
        TimeoutError: It did not end within so many seconds.
    """
    try:
        async with asyncio.timeout(within):
            written, said = await process.communicate()
    finally:
        await end(process, STOP_TIMEOUT_S)
    return (written or b"").decode(), (said or b"").decode()
