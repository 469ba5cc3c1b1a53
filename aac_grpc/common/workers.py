"""Several processes of one service behind one port: workers, and the process that holds the port and minds them.

The kernel spreads connections over processes that listen with SO_REUSEPORT. Workers are forked, so that they share what
was imported. gRPC does not survive a fork: who minds them has one thread, no event loop and nothing of gRPC's.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from aac_grpc.common.footprint import settle
from aac_grpc.common.ports import GRPC_PORTS
from aac_grpc.common.settings import ServiceSettings

_PR_SET_PDEATHSIG = 1
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A worker that ran this long was not started in vain."""
MOST_VAIN_STARTS = 5
"""In a row, of one worker: then the service ends, for whoever minds it to see."""
STOP_MARGIN_S = 10.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

_log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker is told by the process that starts it."""

    number: int
    """From 1."""
    colleagues: int
    """How many workers there are, this one included."""
    parent: int
    """Process id."""
    grpc_port: int
    instance_id: str

    @property
    def is_first(self) -> bool:
        """The one that speaks for all: it has the admin port that was asked for, and the lease at the registry."""
        return self.number == 1

    def settings(self, given: ServiceSettings) -> ServiceSettings:
        """Settings of the worker, from those of the service."""
        admin_port = given.admin_port if self.is_first else 0
        return given.model_copy(
            update={
                "workers": 1,
                "grpc_port": self.grpc_port,
                "admin_port": admin_port,
                "instance_id": self.instance_id,
            }
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


@dataclass(frozen=True, slots=True)
class _Run:
    """A worker that runs."""

    number: int
    began: float


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
        self._running: dict[int, _Run] = {}
        """By process id."""
        self._due: dict[int, float] = {}
        """When the workers that do not run are to be started, by number."""
        self._vain: dict[int, int] = {}

    def run(self) -> Worker | int:
        """Keeps the workers running until SIGTERM or SIGINT.

        Returns:
            In each worker what it is, at once; in who minds them the exit code.

        Raises:
            OSError: The port is taken.
        """
        settings = self._settings
        settle()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        with reserve(settings.grpc_host, self._port) as holder:
            self._port = holder.getsockname()[1]
            _log.info("starting workers", workers=settings.workers, port=self._port)
            self._due = dict.fromkeys(range(1, settings.workers + 1), 0.0)
            worker = self._keep()
            if worker is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                return worker
            self._stop()
        _log.info("workers stopped")
        return int(MOST_VAIN_STARTS in self._vain.values())

    def _keep(self) -> Worker | None:
        """Starts each worker whenever it does not run; returns in it, or when told to stop, or when it is of no use."""
        while True:
            for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
                if (worker := self._start(number)) is not None:
                    return worker
            if self._wait(min(self._due.values(), default=None)) in (signal.SIGTERM, signal.SIGINT):
                return None
            for pid, code in self._ended():
                if self._note(pid, code) == MOST_VAIN_STARTS:
                    return None

    def _start(self, number: int) -> Worker | None:
        worker = Worker(
            number, self._settings.workers, os.getpid(), self._port, f"{self._settings.instance_id}-w{number}"
        )
        pid = os.fork()
        if pid == 0:
            worker.end_with_parent()
            return worker
        del self._due[number]
        self._running[pid] = _Run(number, time.monotonic())
        return None

    def _note(self, pid: int, code: int) -> int:
        """Notes the end of a worker; returns how often in a row it was started in vain."""
        run = self._running.pop(pid)
        vain = self._vain.get(run.number, 0) + 1 if time.monotonic() - run.began < STEADY_S else 0
        _log.error("a worker ended", worker=run.number, pid=pid, code=code, vain_starts=vain)
        self._vain[run.number] = vain
        self._due[run.number] = time.monotonic() + min(FIRST_PAUSE_S * 2**vain, LONGEST_PAUSE_S)
        return vain

    def _ended(self) -> list[tuple[int, int]]:
        """Process ids and exit codes of the workers that have ended since."""
        states = [(pid, os.waitpid(pid, os.WNOHANG)) for pid in self._running]
        return [(pid, os.waitstatus_to_exitcode(status)) for pid, (ended, status) in states if ended]

    @staticmethod
    def _wait(until: float | None) -> int | None:
        """Waits for a signal; returns its number, or None when the time has come."""
        if until is None:
            return signal.sigwaitinfo(_SIGNALS).si_signo
        told = signal.sigtimedwait(_SIGNALS, max(0.0, until - time.monotonic()))
        return None if told is None else told.si_signo

    def _stop(self) -> None:
        """Has the workers shut down gracefully, and kills those that take too long."""
        settings = self._settings
        deadline = time.monotonic() + settings.drain_grace_s + settings.shutdown_grace_s + STOP_MARGIN_S
        self._signal(signal.SIGTERM)
        while self._running and time.monotonic() < deadline:
            self._wait(deadline)
            for pid, _ in self._ended():
                del self._running[pid]
        self._signal(signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
