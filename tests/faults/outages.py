"""A real backend of a test's own, which the test may freeze, kill and bring back."""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from aac_grpc.backends.backend import Backend
from aac_grpc.backends.launcher import launch_argv
from aac_grpc.backends.logs import open_log
from aac_grpc.backends.ports import DEFAULT_PORTS, is_free
from aac_grpc.backends.spec import no_progress
from aac_grpc.backends.state import StateDirectory

MakeBackend = Callable[[StateDirectory, int], Backend]


class Server:
    """One server process and its children."""

    def __init__(self, make: MakeBackend, folder: Path) -> None:
        state = StateDirectory(folder)
        state.create()
        self._backend = make(state, _free_offset())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._backend.url

    async def __aenter__(self) -> Self:
        await self._backend.prepare(no_progress)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def start(self) -> None:
        """Starts it and waits until it serves; its data are those of before."""
        spec = self._backend.process()
        ids = None if spec.user is None else (spec.user.uid, spec.user.gid)
        log = open_log(spec.log_path)
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment, and its signals need no loop
            launch_argv(spec.argv, ids=ids, cwd=str(spec.cwd)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(spec.env),
            cwd="/",
            start_new_session=True,
        )
        os.close(log)
        async with asyncio.timeout(60):
            while not await self._serves():
                assert self._process.poll() is None, spec.log_path.read_text()
                await asyncio.sleep(0.05)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, answers do not come."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it run on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the server and its children."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def _serves(self) -> bool:
        with contextlib.suppress(Exception):
            return await self._backend.ready()
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self._process.pid)
            for process in [leader, *leader.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


@contextlib.asynccontextmanager
async def server(make: MakeBackend) -> AsyncIterator[Server]:
    """A server with an empty state, gone afterwards."""
    # Not under pytest's own folder, which is closed to the account that PostgreSQL drops to.
    with tempfile.TemporaryDirectory(prefix="aac-faults-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with Server(make, Path(folder, "state")) as running:
            yield running


def _free_offset() -> int:
    names = ("postgres", "valkey", "kafka", "kafka-controller")
    candidates = (5100 + (os.getpid() * 11 + step * 37) % 1300 for step in range(40))
    return next(offset for offset in candidates if all(is_free(DEFAULT_PORTS[name] + offset) for name in names))
