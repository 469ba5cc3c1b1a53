"""Several processes of one service behind one port: workers, and the process that holds the port and minds them.

The kernel spreads connections over processes that listen with SO_REUSEPORT. Each worker is the same command once more,
a fresh interpreter: gRPC does not survive a fork.
"""

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

import structlog

from aac_grpc.common.ports import GRPC_PORTS
from aac_grpc.common.settings import ServiceSettings

_VARIABLE = "AAC_WORKER"
_PR_SET_PDEATHSIG = 1
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A worker that ran this long was not started in vain."""
MOST_VAIN_STARTS = 5
"""In a row, of one worker: then the service ends, for whoever minds it to see."""
STOP_MARGIN_S = 10.0

_log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker is told by the process that starts it."""

    number: int
    """From 1."""
    parent: int
    """Process id."""
    grpc_port: int
    instance_id: str

    @classmethod
    def of_this_process(cls) -> "Worker | None":
        """What this process was told; None where it is not a worker. What it starts itself is none either."""
        told = os.environ.pop(_VARIABLE, None)
        return None if told is None else cls(**json.loads(told))

    @property
    def is_first(self) -> bool:
        """The one that speaks for all: it has the admin port that was asked for, and the lease at the registry."""
        return self.number == 1

    def settings(self, given: ServiceSettings) -> ServiceSettings:
        """Settings of the worker, from those of the service."""
        admin_port = given.admin_port if self.is_first else 0
        return given.model_copy(
            update={"grpc_port": self.grpc_port, "admin_port": admin_port, "instance_id": self.instance_id}
        )

    def end_with_parent(self) -> None:
        """Has the kernel end this process when the parent does; ends it now where that has happened already."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != self.parent:
            sys.exit("the process that started this worker has ended")


def reserve(host: str, port: int) -> socket.socket:
    """Takes a port that nobody listens on, and lets our own processes share it from now on; it does not listen itself.

    Args:
        host: To bind.
        port: To bind; 0 takes a free one.

    Raises:
        OSError: The port is taken, be it by a process that would share it.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    holder = socket.socket(family, kind, protocol)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        # Only now: bound with it, the port of a stranger who shares would have been shared.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        holder.close()
        raise
    return holder


class Workers:
    """The processes of one service on this machine's one port."""

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        """Configures.

        Args:
            service: Its name.
            settings: Of the service.

        Raises:
            OSError: This system does not spread connections over processes.
        """
        if sys.platform != "linux":
            raise OSError("several workers need Linux: elsewhere SO_REUSEPORT does not spread connections")
        self._settings = settings
        self._port = GRPC_PORTS.get(service, 0) if settings.grpc_port is None else settings.grpc_port
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = False

    async def run(self) -> int:
        """Keeps the workers running until SIGTERM or SIGINT; returns the exit code.

        Raises:
            OSError: The port is taken.
        """
        settings, told = self._settings, asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        with reserve(settings.grpc_host, self._port) as holder:
            self._port = holder.getsockname()[1]
            _log.info("starting workers", workers=settings.workers, port=self._port)
            waiting = loop.create_task(told.wait())
            keepers = [loop.create_task(self._keep(number)) for number in range(1, settings.workers + 1)]
            try:
                await asyncio.wait({waiting, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._stop()
                for task in (waiting, *keepers):
                    task.cancel()
                await asyncio.gather(waiting, *keepers, return_exceptions=True)
        _log.info("workers stopped")
        return 0 if told.is_set() else 1

    async def _keep(self, number: int) -> None:
        """Starts a worker whenever it does not run; returns when it is of no use to go on."""
        loop, vain = asyncio.get_running_loop(), 0
        while not self._stopping:
            began = loop.time()
            process = self._processes[number] = await asyncio.create_subprocess_exec(
                sys.executable, *sys.orig_argv[1:], env=self._environment(number)
            )
            code = await process.wait()
            if self._stopping:
                return
            vain = vain + 1 if loop.time() - began < STEADY_S else 0
            _log.error("a worker ended", worker=number, pid=process.pid, code=code, vain_starts=vain)
            if vain >= MOST_VAIN_STARTS:
                return
            await asyncio.sleep(min(FIRST_PAUSE_S * 2**vain, LONGEST_PAUSE_S))

    def _environment(self, number: int) -> Mapping[str, str]:
        worker = Worker(number, os.getpid(), self._port, f"{self._settings.instance_id}-w{number}")
        return {**os.environ, _VARIABLE: json.dumps(asdict(worker))}

    async def _stop(self) -> None:
        """Has the workers shut down gracefully, and kills those that take too long."""
        self._stopping = True
        running = [process for process in self._processes.values() if process.returncode is None]
        self._signal(running, signal.SIGTERM)
        grace = self._settings.drain_grace_s + self._settings.shutdown_grace_s + STOP_MARGIN_S
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.gather(*(process.wait() for process in running))
        self._signal([process for process in running if process.returncode is None], signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in running))

    def _signal(self, processes: list[asyncio.subprocess.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)
