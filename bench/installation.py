"""The platform as users run it, by its command, with a state directory and ports of its own."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

from aac_grpc.backends.control import read_status
from aac_grpc.backends.ports import DEFAULT_PORTS, MAX_OFFSET, is_free
from aac_grpc.backends.state import StateDirectory
from aac_grpc.common.ports import REPLICA_STEP
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.platform.composition import Platform
from bench.machine import ROOT
from bench.processes import cpu_seconds, end

FIRST_OFFSET, LAST_OFFSET = 10_950, min(13_600, MAX_OFFSET)
"""Above the offsets that tests/conftest.py gives to the backends of a test run, and such that all ports lie outside the
range from which Linux takes ports for outgoing connections."""
_given: set[int] = set()
SPARE_REPLICAS = 2
UP_WITHIN_S = 300.0
DOWN_WITHIN_S = 120.0
BACKENDS = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "ENVIRONMENT")


class Installation:
    """One platform."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """Describes a platform; `up` starts it.

        Args:
            folder: Holds its state.
            settings: Environment of its processes, on top of what everyone has.
        """
        self._state = StateDirectory(folder / "state")
        self._errors = folder / "up.log"
        self._running: asyncio.subprocess.Process | None = None
        self._offset = free_offset()
        kept = {name: value for name, value in os.environ.items() if name not in BACKENDS and _is_ours(name)}
        self._environment = {**kept, "AAC_STATE_DIR": str(self._state.path), **settings}

    async def up(self, *options: str) -> tuple[float, dict[str, Any]]:
        """Starts it with `aac up`; returns the seconds until it was ready, and what the command says then.

        Raises:
            RuntimeError: It did not start.
        """
        began = time.perf_counter()
        with self._errors.open("ab") as errors:
            self._running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "aac_grpc.cli", "up", "--json", "--port-offset", str(self._offset), *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=self._environment,
                cwd=ROOT,
            )
        assert self._running.stdout is not None
        async with asyncio.timeout(UP_WITHIN_S):
            line = await self._running.stdout.readline()
        if not line:
            raise RuntimeError(f"aac up failed: {self._errors.read_text()[-1000:]}")
        return time.perf_counter() - began, json.loads(line)

    async def down(self) -> None:
        """Stops it as Ctrl-C does."""
        if self._running is not None:
            await end(self._running, DOWN_WITHIN_S, signal.SIGINT)
            self._running = None

    def parts(self) -> dict[str, list[psutil.Process]]:
        """Its processes by what of the platform they are: the supervisor and everything below it.

        Raises:
            RuntimeError: It does not run.
        """
        status = read_status(self._state)
        if status is None:
            raise RuntimeError("the platform does not run")
        supervisor = psutil.Process(status.pid)
        parts: dict[str, list[psutil.Process]] = {"supervisor": [supervisor]}
        for started in supervisor.children():
            name = next((one.name for one in status.processes if one.pid == started.pid), "others")
            parts.setdefault(name, []).extend([started, *started.children(recursive=True)])
        return parts

    def cpu_by_part(self) -> dict[str, float]:
        """CPU seconds that each part has used so far."""
        return {
            name: sum(map(cpu_seconds, (process.pid for process in processes)))
            for name, processes in self.parts().items()
        }

    @property
    def platform(self) -> Platform:
        """Addresses, secrets and passwords."""
        return Platform(self._state, self._offset, {}, {}, (), None)

    def mesh_settings(self, service: str) -> ServiceSettings:
        """Settings with which a process is a service of this mesh."""
        platform = self.platform
        return ServiceSettings(
            registry_address="",
            service_secret=platform.service_secret(service),  # type: ignore[arg-type]  # pydantic wraps it
            auth_address=platform.address("auth-service"),
            trading_address=platform.address("trading-engine"),
        )


@asynccontextmanager
async def new_installation(settings: Mapping[str, str] | None = None) -> AsyncIterator[Installation]:
    """An installation that is not started yet. It is stopped and removed at the end."""
    with folder_for_all() as folder:
        installation = Installation(folder, settings or {})
        try:
            yield installation
        finally:
            await installation.down()


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's account can enter, which is not the one that made it."""
    with tempfile.TemporaryDirectory(prefix="aac-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def free_offset() -> int:
    """An offset at which every port of the platform is free, those of further instances too, and which this process
    has not given out before."""
    spread = LAST_OFFSET - FIRST_OFFSET
    candidates = (FIRST_OFFSET + (os.getpid() * 13 + step * 37) % spread for step in range(spread))
    ports = [port + REPLICA_STEP * more for port in DEFAULT_PORTS.values() for more in range(SPARE_REPLICAS + 1)]
    for offset in candidates:
        if offset not in _given and all(is_free(port + offset) for port in ports):
            _given.add(offset)
            return offset
    raise RuntimeError("no offset has all ports free")


def _is_ours(name: str) -> bool:
    """Keeps what is of the machine, and of the platform only where its caches and recordings are."""
    return not name.startswith("AAC_") or name in ("AAC_CACHE_DIR", "AAC_SHARED")
