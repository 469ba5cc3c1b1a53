"""The ports of the platform on one machine: their defaults, an offset for a second checkout, and who holds one."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from aac_grpc.backends.errors import BackendError, PortTaken
from aac_grpc.common.ports import ADMIN_PORTS, GRPC_PORTS, MAX_REPLICAS, REPLICA_STEP

DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {
        "postgres": 15432,
        "valkey": 16379,
        "kafka": 19092,
        "kafka-controller": 19093,
        **GRPC_PORTS,
        **{f"{service}-admin": port for service, port in ADMIN_PORTS.items()},
    }
)
"""Each listener's port with no offset; the backends' lie below the range of local ports of outgoing connections."""

MAX_OFFSET = 65535 - max(DEFAULT_PORTS.values()) - REPLICA_STEP * (MAX_REPLICAS - 1)

_OFFSET_STEP = 100
"""How far two checkouts lie apart: all instances of each service have room."""

_SHOWN_PORTS = 3
"""Of those that are taken."""

# Linux gives outgoing connections local ports from a range that holds ours: such a hold ends by itself, soon.
_RETRY_FOR_S = 3.0
_RETRY_EVERY_S = 0.1


def port_of(name: str, offset: int = 0, replica: int = 1) -> int:
    """The port of a listener.

    Args:
        name: Such as "trading-engine" or "trading-engine-admin".
        offset: Added to every port.
        replica: Which instance of the service, from 1.

    Raises:
        BackendError: The offset leads out of the range of ports.
    """
    if not 0 <= offset <= MAX_OFFSET:
        raise BackendError(f"--port-offset {offset} is out of range: 0 to {MAX_OFFSET} keeps every port below 65536")
    return DEFAULT_PORTS[name] + offset + REPLICA_STEP * (replica - 1)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


@contextlib.contextmanager
def held(ports: Iterable[int], host: str = "127.0.0.1") -> Iterator[None]:
    """Keeps the kernel from giving ports to outgoing connections while the context lasts; our servers may listen there.

    A connection that took a service's port while the service restarts would keep it away for a minute and more. The
    kernel passes over ports that a socket is bound to, and lets another one listen where both permit reuse.

    Raises:
        OSError: One is taken already.
    """
    with contextlib.ExitStack() as stack:
        for port in ports:
            holder = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((host, port))
        yield


def suggested_offset() -> int | None:
    """An offset at which every port of the platform is free, with every instance that there may be; None without one.

    Of those one that keeps all ports out of the range from which the system takes ports for outgoing connections, where
    that leaves one: within it any program's connection may hold a port when a server is to listen there.
    """
    low, high = _outgoing_ports()
    ports = [
        port + REPLICA_STEP * replica
        for name, port in DEFAULT_PORTS.items()
        for replica in range(MAX_REPLICAS if name.removesuffix("-admin") in GRPC_PORTS else 1)
    ]
    offsets = range(_OFFSET_STEP, MAX_OFFSET + 1, _OFFSET_STEP)
    quiet = [offset for offset in offsets if not any(low <= port + offset <= high for port in ports)]
    return next((one for one in (*quiet, *offsets) if all(is_free(port + one) for port in ports)), None)


def how_to_move() -> str:
    """What to do where ports are taken."""
    offset = suggested_offset()
    return "move all ports with --port-offset" + (f" {offset}, where all are free" if offset is not None else "")


def _outgoing_ports() -> tuple[int, int]:
    """The first and the last port that the system gives to outgoing connections."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return 49_152, 65_535  # IANA's
    return int(low), int(high)


def unused_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def holder_of(port: int) -> str | None:
    """Describes the process that holds a port, as far as we may see it; None when that is not at all."""
    try:
        import psutil  # the doctor looks at machines where it is not installed yet
    except ImportError:
        return None
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return _describe(connection.pid)
    return None


def require_free(ports: Mapping[str, int], host: str = "127.0.0.1") -> None:
    """Checks that servers could listen on the ports. Blocks for three seconds when one is held.

    Args:
        ports: Ports by the name of what is to listen there.
        host: Address that will be listened on.

    Raises:
        PortTaken: Names every port that is held, who holds it where that is known, and the remedy.
    """
    deadline = time.monotonic() + _RETRY_FOR_S
    taken = {name: port for name, port in ports.items() if not is_free(port, host)}
    while taken and time.monotonic() < deadline:
        time.sleep(_RETRY_EVERY_S)
        taken = {name: port for name, port in taken.items() if not is_free(port, host)}
    if taken:
        raise PortTaken(_explain(taken))


def _explain(taken: Mapping[str, int]) -> str:
    shown = list(taken.items())[:_SHOWN_PORTS]
    held = "; ".join(f"port {port} ({name}) is held by {holder_of(port) or 'another process'}" for name, port in shown)
    more = f"; and {len(taken) - len(shown)} more are held" if len(taken) > len(shown) else ""
    return f"{held}{more}. End what holds them (`aac down`, where it is another installation), or {how_to_move()}"


def _describe(pid: int) -> str:
    try:
        program, *arguments = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return f"process {pid}"
    command = " ".join([program.rpartition("/")[2], *arguments]).strip()
    if not command:  # it is about to end
        return f"process {pid}"
    shortened = command if len(command) <= 80 else command[:77] + "..."
    return f"process {pid} ({shortened})"
