"""Drills: a platform with two instances of each service is broken under load, and clients notice latency at most."""

from collections.abc import AsyncIterator

import pytest

from aac_grpc.cli.output import quiet_logs
from drill.faults import Fault, all_faults
from drill.platform import DrillPlatform, drill_platform
from drill.running import run
from tests.support.telling import tell

DEFAULT = (
    Fault("kill", "trading-engine"),
    Fault("freeze", "trading-engine"),
    Fault("kill", "api-gateway"),
    Fault("freeze", "market-data"),
    Fault("roll", "risk-management"),
)


@pytest.fixture(scope="module")
async def platform() -> AsyncIterator[DrillPlatform]:
    quiet_logs()
    async with drill_platform(replicas=2) as platform:
        yield platform


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", DEFAULT, ids=str)
async def test_clients_notice_a_fault_by_latency_at_most(
    platform: DrillPlatform, pytestconfig: pytest.Config, fault: Fault
) -> None:
    await check(platform, pytestconfig, fault)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [fault for fault in all_faults() if fault not in DEFAULT], ids=str)
async def test_clients_notice_every_other_fault_by_latency_at_most(
    platform: DrillPlatform, pytestconfig: pytest.Config, fault: Fault
) -> None:
    await check(platform, pytestconfig, fault)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_losing_the_registry_for_ten_minutes_loses_no_call(
    platform: DrillPlatform, pytestconfig: pytest.Config
) -> None:
    await check(platform, pytestconfig, Fault("lose", "registry", frozen_s=600.0))


async def check(platform: DrillPlatform, pytestconfig: pytest.Config, fault: Fault) -> None:
    outcome = await run(platform, fault, seed=str(fault).replace(" ", "-"))
    tell(
        pytestconfig,
        f"{fault}: {outcome.calls} calls, {outcome.failed} failed, "
        f"worst stall {outcome.worst_stall_s} s, recovered in {outcome.recovered_s} s",
    )
    assert outcome.lost_writes == 0
    assert outcome.stream_gaps_silent == 0
    # A backend has one instance: while it is away, calls may fail.
    assert outcome.failed == 0 or fault.may_fail_calls(platform.replicas), outcome.errors
