"""Forks programs from one process that has imported what they all need, so that they share that memory.

Usage: python -m aac_grpc.backends.fork_server SOCKET MODULE...

It imports the modules, then takes a request on each connection: a JSON object in a line. A child of its own becomes
`python -m MODULE ARGUMENT...`, except that the imports are there. The child belongs to who asked for it (who has to be
a subreaper, see prctl(2)): it is told by the kernel how the child ends, also where this process has ended before.

Nothing here may outlive a fork badly: one thread, no event loop, no gRPC object, no connection.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aac_grpc.backends.launcher import die_with
from aac_grpc.backends.local_socket import short_path
from aac_grpc.backends.logs import open_log
from aac_grpc.common.footprint import settle

_REQUEST_WITHIN_S = 5.0
_LONGEST_REQUEST = 1 << 20
_ADOPTED = b"."

Request = dict[str, Any]
"""`argv`, `env`, `cwd`, `log_path`, `niceness`, `death_signal`; `parent` is the process id of who asks."""


def listen(path: Path) -> socket.socket:
    """Opens the socket, in place of one that a dead process left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as short:
        listener.bind(short)
    listener.listen()
    return listener


def serve(listener: socket.socket) -> Request:
    """Forks a child for each request. Returns in the children only, each with its request."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_REQUEST_WITHIN_S)
            try:
                request = _read(connection)
                gate = None if request is None else _fork_orphan()
            except (OSError, ValueError):  # who asked sees that nothing comes
                traceback.print_exc()
                continue
            if request is not None and gate is not None:
                listener.close()
                _begin(request, gate, connection)
                return request


def _read(connection: socket.socket) -> Request | None:
    """A request; None from one who only looks whether somebody answers."""
    with connection.makefile("rb") as stream:
        line = stream.readline(_LONGEST_REQUEST)
    request: Request | None = json.loads(line) if line else None
    return request


def _fork_orphan() -> int | None:
    """Forks a grandchild whose parent is the next subreaper above us.

    Returns:
        In the grandchild the end of a pipe that tells when that is so; None here.
    """
    gate, opener = os.pipe()
    middle = os.fork()
    if middle == 0:
        _end_middle_unless_child()
        os.close(opener)
        return gate
    os.close(gate)
    try:
        if os.waitpid(middle, 0)[1] == 0:
            os.write(opener, _ADOPTED)
    finally:
        os.close(opener)
    return None


def _end_middle_unless_child() -> None:
    try:
        if os.fork() == 0:
            return
    except OSError:
        os._exit(1)
    os._exit(0)


def _begin(request: Request, gate: int, connection: socket.socket) -> None:
    """Makes the child what a program is that was started afresh, and ends it unless who asked for it takes it."""
    try:
        if os.read(gate, 1) != _ADOPTED:
            os._exit(1)  # the fork server ended meanwhile
        os.close(gate)
        os.setsid()
        _redirect(open_log(Path(request["log_path"])))
        die_with(request["parent"], request["death_signal"])
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        os.chdir(request["cwd"])
        os.nice(request["niceness"])
        gc.enable()
        _set_title(request["argv"])
        connection.sendall(f"{os.getpid()}\n".encode())
        if connection.recv(1):
            return
    except BaseException:  # not into the loop that forked us
        traceback.print_exc()
    os._exit(1)


def _redirect(log: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(log)


def _set_title(argv: Sequence[str]) -> None:
    """Has `ps` show the program's command line, as far as there is room in the place of ours."""
    stat = Path("/proc/self/stat").read_text()
    # Fields 48 and 49: where the arguments are; the second field may hold spaces and ends with a parenthesis.
    start, end = map(int, stat[stat.rindex(")") + 2 :].split()[45:47])
    if start:
        size = end - start
        line = "\0".join(argv).encode()[: size - 1]
        ctypes.memmove(start, line.ljust(size, b"\0"), size)


def main(path: str, *modules: str) -> Sequence[str]:
    """Prepares and serves. Returns in the children only: the module that each shall run, and its arguments."""
    for module in modules:
        importlib.import_module(module)
    if len(threads := os.listdir("/proc/self/task")) > 1:
        sys.exit(f"importing {', '.join(modules)} started {len(threads) - 1} threads, which no fork would have")
    settle()
    gc.disable()  # it would write to pages that are shared
    argv: Sequence[str] = serve(listen(Path(path)))["argv"]
    return argv[2:]


if __name__ == "__main__":
    sys.argv = [*main(*sys.argv[1:])]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
