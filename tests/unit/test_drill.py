"""Which running installations may be drilled."""

from __future__ import annotations

from pathlib import Path

import pytest

from aac_grpc.backends.spec import ProcessState, ProcessStatus, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.platform.replicas import instances_of, parse_replicas
from aac_grpc.platform.starting import platform_of
from drill.faults import BACKENDS
from drill.installed import why_not


def refusal(folder: Path, *replicas: str, environment: dict[str, str] | None = None, away: tuple[str, ...] = ()) -> str:
    """Why an installation with so many instances may not be drilled."""
    counts = parse_replicas(replicas)
    names = [one.name for service in counts for one in instances_of(service, counts)]
    processes = tuple(
        ProcessStatus(
            name=name,
            state=ProcessState.RESTARTING if name in away else ProcessState.READY,
            pid=1,
            restarts=0,
            last_exit=None,
            started_at=0.0,
            log_path="log",
        )
        for name in (*names, *BACKENDS)
    )
    info = {"port_offset": "100", "replicas": ",".join(f"{service}={number}" for service, number in counts.items())}
    status = SupervisorStatus(pid=1, started_at=0.0, state_dir=str(folder), info=info, processes=processes)
    return why_not(platform_of(StateDirectory(folder), status), status, environment or {})


def test_two_instances_of_each_service_may_be_drilled(tmp_path: Path) -> None:
    assert refusal(tmp_path, "2") == ""


def test_a_service_without_another_instance_may_not(tmp_path: Path) -> None:
    assert "one instance of analytics, " in refusal(tmp_path, "2", "analytics=1")
    assert "--replicas 2" in refusal(tmp_path)


def test_production_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ENVIRONMENT=production" in refusal(tmp_path, "2", environment={"ENVIRONMENT": "production"})
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert "ENVIRONMENT=production" in refusal(tmp_path, "2")


def test_what_is_broken_already_may_not(tmp_path: Path) -> None:
    assert "kafka" in refusal(tmp_path, "2", away=("kafka",))
