"""Children that a fork server forks for this process: how they are asked for, and what they are to it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from aac_grpc.backends.local_socket import short_path
from aac_grpc.backends.spec import ProcessSpec

FORK_SERVER = "fork-server"
"""Name of the supervised process that others are forked from."""
FORKED_WITHIN_S = 5.0
"""A fork server that needs longer is left alone."""
_PR_SET_CHILD_SUBREAPER = 36
_PYTHON_MODULE = "-m"


def can_fork() -> bool:
    """Whether this system is one on which a child can be forked by another process and watched by us."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # before Linux 5.3, or a sandbox
        return False
    return True


class ForkedProcess:
    """A child of this process that another one has forked; used like an `asyncio.subprocess.Process`."""

    def __init__(self, pid: int) -> None:
        """Watches a child from within an event loop.

        Raises:
            OSError: It is not ours to watch.
        """
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._reap)

    async def wait(self) -> int:
        """Waits for the end; returns the exit code, or minus the number of the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()


async def fork(spec: ProcessSpec, fork_server: Path) -> ForkedProcess:
    """Has a process forked, with our main thread as its parent.

    Args:
        spec: What it shall be; runs `python -m MODULE` as our own account.
        fork_server: The socket.

    Raises:
        OSError: The fork server is away, or its child can't be what the specification says.
    """
    if spec.argv[1] != _PYTHON_MODULE or spec.user is not None:
        raise ValueError(f"{spec.name} can't be forked: it is no Python module, or has an account of its own")
    request = {
        "argv": spec.argv,
        "env": dict(spec.env),
        "cwd": str(spec.cwd),
        "log_path": str(spec.log_path),
        "niceness": spec.niceness,
        "death_signal": int(spec.death_signal),
        "parent": os.getpid(),
    }
    async with asyncio.timeout(FORKED_WITHIN_S):
        with short_path(fork_server) as path:
            reader, writer = await asyncio.open_unix_connection(path)
        with contextlib.closing(writer), _ADOPTIONS:
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
            if not line:
                raise ConnectionError("the fork server has forked nothing; its log says why")
            process = ForkedProcess(int(line))
            writer.write(b".")  # unless it hears that it is ours, it ends
            return process


async def answers(fork_server: Path) -> bool:
    """Whether a fork server has imported all and takes requests."""
    with short_path(fork_server) as path:
        _, writer = await asyncio.open_unix_connection(path)
    writer.close()
    return True


class _Adoptions:
    """Orphans among our descendants become our children while this is entered, and init's otherwise."""

    def __init__(self) -> None:
        self._entered = 0

    def __enter__(self) -> None:
        self._entered += 1
        self._set()

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        self._set()

    def _set(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, int(self._entered > 0), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


_ADOPTIONS = _Adoptions()
