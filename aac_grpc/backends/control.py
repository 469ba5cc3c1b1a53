"""How another process asks a supervisor: one line of JSON each way over a socket in the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aac_grpc.backends.errors import BackendError, SupervisorUnresponsive
from aac_grpc.backends.local_socket import short_path
from aac_grpc.backends.spec import SupervisorStatus
from aac_grpc.backends.state import StateDirectory

_SOCKET = "control.sock"
_ANSWER_WITHIN_S = 5.0
_RESTART_WITHIN_S = 60.0
_READY_AGAIN_WITHIN_S = 180.0
"""Beyond the longest grace and the longest deadline of a ready check."""
_LONGEST_LINE = 1 << 20
_POLL_S = 0.05

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one request; a `BackendError` becomes an answer with the key `error`."""


@contextlib.asynccontextmanager
async def serve_control(run_directory: Path, handler: Handler) -> AsyncIterator[None]:
    """Answers requests for as long as the context lasts. The caller holds the state's lock."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                request = json.loads(await reader.readline())
            try:
                reply = await handler(request)
            except BackendError as error:
                reply = {"error": str(error)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()

    (run_directory / _SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(run_directory / _SOCKET) as path:
        listener.bind(path)
    server = await asyncio.start_unix_server(answer, sock=listener, limit=_LONGEST_LINE)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        (run_directory / _SOCKET).unlink(missing_ok=True)


def ask(
    state_dir: Path | StateDirectory, request: dict[str, Any], timeout_s: float = _ANSWER_WITHIN_S
) -> dict[str, Any] | None:
    """Sends a request to the supervisor of a state directory and returns the answer; None when none runs.

    Raises:
        SupervisorUnresponsive: One runs but gives no answer.
        BackendError: It refuses the request.
    """
    state = state_dir if isinstance(state_dir, StateDirectory) else StateDirectory(state_dir)
    pid = state.holder()
    if pid is None:
        return None
    try:
        reply: dict[str, Any] = json.loads(_exchange(state.run, json.dumps(request).encode() + b"\n", timeout_s))
    except (OSError, ValueError) as error:
        if state.holder() is None:
            return None
        raise SupervisorUnresponsive(pid, f"{type(error).__name__}: {error}") from error
    if "error" in reply:
        raise BackendError(reply["error"])
    return reply


def read_status(state_dir: Path | StateDirectory) -> SupervisorStatus | None:
    """Returns what the supervisor of a state directory tells about itself; None when none runs."""
    reply = ask(state_dir, {"command": "status"})
    return None if reply is None else SupervisorStatus.from_json(reply)


def request_stop(state_dir: Path | StateDirectory, timeout_s: float = 90.0) -> bool:
    """Stops the supervisor of a state directory and all that it runs, and waits until that is done.

    Returns:
        False when no supervisor ran.

    Raises:
        SupervisorUnresponsive: It does not answer, or has not ended in time.
    """
    state = state_dir if isinstance(state_dir, StateDirectory) else StateDirectory(state_dir)
    if ask(state, {"command": "stop"}) is None:
        return False
    deadline = time.monotonic() + timeout_s
    while (pid := state.holder()) is not None:
        if time.monotonic() > deadline:
            raise SupervisorUnresponsive(pid, f"it has not stopped within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return True


def request_restart(
    state_dir: Path | StateDirectory, name: str, *, by: str = "another process", until_ready: bool = False
) -> bool:
    """Stops one process by name and starts it again; False when no supervisor runs.

    Args:
        state_dir: Of the installation.
        name: Of the process.
        by: Who asks, as the status shall tell it.
        until_ready: Wait until it is ready again.

    Raises:
        BackendError: There is no such process, or it does not become ready again.
    """
    request = {"command": "restart", "name": name, "by": by, "until_ready": until_ready}
    return ask(state_dir, request, _READY_AGAIN_WITHIN_S if until_ready else _RESTART_WITHIN_S) is not None


def request_kill(state_dir: Path | StateDirectory, name: str, signal_name: str = "SIGKILL") -> bool:
    """Sends a signal to one process by name; the supervisor starts it again if it ends. False when none runs."""
    return ask(state_dir, {"command": "kill", "name": name, "signal": signal_name}) is not None


def _exchange(run_directory: Path, request: bytes, timeout_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short_path(run_directory / _SOCKET) as path:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            return stream.readline(_LONGEST_LINE)
