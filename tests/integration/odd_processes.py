"""The odd service and a gateway in front of it, each in a process of its own: `python -m ... service|gateway ADDRESS`.

What one of them holds in memory can be told from what its neighbours do, and the service can be stopped (SIGSTOP).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from tests.integration.odd_service import gateway_for, odd_backend
from tests.support.ping import ROOT

START_WITHIN_S = 60.0


@dataclass(frozen=True)
class Odd:
    """One of the processes."""

    process: psutil.Process
    address: str

    @property
    def rss(self) -> int:
        """Bytes of memory that it holds."""
        return int(self.process.memory_info().rss)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stands still (SIGSTOP) within the block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def odd_processes() -> AsyncIterator[tuple[Odd, Odd]]:
    """A gateway, and the odd service behind it."""
    async with _process("service") as service, _process("gateway", service.address) as gateway:
        yield gateway, service


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[Odd]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, *arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    reading: asyncio.Task[bytes] | None = None
    try:
        line: dict[str, object] = {}
        while line.get("event") != "serving":
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), START_WITHIN_S))
        reading = asyncio.create_task(process.stdout.read())  # or it would stand still when the pipe is full
        yield Odd(psutil.Process(process.pid), str(line["address"]))
    finally:
        process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _serve() -> None:
    async with odd_backend() as (_, server, address):
        print(json.dumps({"event": "serving", "address": address}), flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "service":
        asyncio.run(_serve())
    else:
        gateway_for(sys.argv[2]).run()
