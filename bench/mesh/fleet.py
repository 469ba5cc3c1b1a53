"""The platform's services as processes of a bench's own, or programs in their place, on shared backends."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil

from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.platform.composition import REGISTRY, SERVICES, Platform
from bench.installation import free_offset
from bench.processes import end

SIX = tuple(name for name in SERVICES if name != REGISTRY)
"""The six services; the registry runs beside them."""
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 30.0
OURS = "aac_grpc.cli.serve"

Fleet = Mapping[str, psutil.Process]
"""Processes by service."""


@asynccontextmanager
async def fleet(folder: Path, urls: Mapping[str, str], module: str = OURS) -> AsyncIterator[Fleet]:
    """The registry and the six services, all ready.

    Args:
        folder: For their state.
        urls: Of the backends.
        module: Program that is run as `python -m MODULE NAME`.

    Raises:
        RuntimeError: One ended.
        TimeoutError: One did not become ready.
    """
    platform = Platform(StateDirectory(folder), free_offset(), urls, {}, (), None)
    platform.state.create()
    async with AsyncExitStack() as stack:
        started = {}
        for spec in platform.processes():
            started[spec.name] = await _start(stack, spec, module)
        async with asyncio.timeout(READY_WITHIN_S):
            await asyncio.gather(*(_ready(spec, started[spec.name]) for spec in platform.processes()))
        yield {name: psutil.Process(process.pid) for name, process in started.items()}


async def _start(stack: AsyncExitStack, spec: ProcessSpec, module: str) -> asyncio.subprocess.Process:
    program, *arguments = (module if part == OURS else part for part in spec.argv)
    with spec.log_path.open("ab") as log:
        environment = {**os.environ, **spec.env}
        process = await asyncio.create_subprocess_exec(program, *arguments, env=environment, stdout=log, stderr=log)
    stack.push_async_callback(end, process, STOP_WITHIN_S)
    return process


async def _ready(spec: ProcessSpec, process: asyncio.subprocess.Process) -> None:
    assert spec.ready is not None
    while process.returncode is None:
        with contextlib.suppress(Exception):  # which says that it is not ready, as the check's contract has it
            if await spec.ready():
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{spec.name} ended: {spec.log_path.read_text()[-1000:]}")


def six(of: Fleet) -> Sequence[psutil.Process]:
    """The processes of the six services."""
    return [of[name] for name in SIX]
