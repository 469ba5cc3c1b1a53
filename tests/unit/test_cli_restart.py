"""What `aac restart` restarts, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aac_grpc.backends.spec import ProcessState, ProcessStatus, SupervisorStatus
from aac_grpc.cli.restart import needs_fork_server, plan

PROCESSES = (
    "postgres",
    "fork-server",
    "registry",
    "trading-engine",
    "market-data",
    "market-data-2",
    "api-gateway",
    "feed",
)


@pytest.fixture
def status() -> SupervisorStatus:
    """An installation where market-data has two instances."""
    processes = [
        ProcessStatus(
            name=name, state=ProcessState.READY, pid=1, restarts=0, last_exit=None, started_at=0.0, log_path="log"
        )
        for name in PROCESSES
    ]
    return SupervisorStatus(
        pid=1, started_at=0.0, state_dir="state", info={"replicas": "market-data=2"}, processes=tuple(processes)
    )


def names(status: SupervisorStatus, *given: str) -> list[str]:
    return [step.process for step in plan(status, given)]


def test_without_a_name_every_service_is_restarted_but_no_backend_and_no_flow(status: SupervisorStatus) -> None:
    assert names(status) == ["registry", "trading-engine", "market-data", "market-data-2", "api-gateway"]


def test_a_service_stands_for_all_its_instances_and_a_process_for_itself(status: SupervisorStatus) -> None:
    assert names(status, "market-data") == ["market-data", "market-data-2"]
    assert names(status, "market-data-2") == ["market-data-2"]
    assert names(status, "market-data-1") == ["market-data"]
    assert names(status, "postgres", "feed") == ["postgres", "feed"]


def test_each_process_is_restarted_once_in_the_order_given(status: SupervisorStatus) -> None:
    assert names(status, "market-data-2", "registry", "market-data") == ["market-data-2", "registry", "market-data"]


def test_it_is_known_which_processes_nobody_stands_in_for(status: SupervisorStatus) -> None:
    alone = {step.process for step in plan(status, ()) if step.alone}
    assert alone == {"registry", "trading-engine", "api-gateway"}


def test_services_are_restarted_with_the_code_that_is_there_now_unless_that_could_not_be_imported(
    status: SupervisorStatus,
) -> None:
    assert [needs_fork_server(status, plan(status, names)) for names in ((), ("market-data-2",))] == [True, True]
    assert not needs_fork_server(status, plan(status, ("postgres", "feed")))
    broken = tuple(replace(one, state=ProcessState.FAILED) for one in status.processes)
    for processes in (broken, status.processes[2:]):
        assert not needs_fork_server(replace(status, processes=processes), plan(status, ()))


def test_what_is_not_there_is_refused_by_name(status: SupervisorStatus) -> None:
    for unknown in ("analytics", "market-data-3", "nobody"):
        with pytest.raises(
            ValueError, match=f"no service or process '{unknown}'; there are postgres, fork-server, registry"
        ):
            plan(status, (unknown,))
