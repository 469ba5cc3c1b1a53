"""Eight times as many calls as a service can serve, from processes of their own: what it refuses, and what never."""

import pytest

from bench.authority import authority
from bench.mesh.overload import METHODS, OVERLOAD, Tally, crowd, working_server
from tests.support.telling import tell

WORK_MS = 10.0
"""CPU time of each call."""
SETTLE_S = 6.0
SECONDS = 5.0


def served(tally: Tally, priority: str) -> float:
    """Share of the calls of a priority that was served."""
    run = tally.runs[priority]
    return run.done / max(1, run.done + sum(run.failures.values()) + run.skipped)


@pytest.mark.slow
async def test_at_eight_times_its_capacity_a_service_goes_on_and_sheds_the_least_urgent_first(
    pytestconfig: pytest.Config,
) -> None:
    async with authority() as signer, working_server(signer, WORK_MS) as address, crowd(address, signer) as callers:
        capacity = await callers.capacity(3)
        cancels = max(5.0, capacity / 20)
        # Of the most that a core can serve: this machine's may be busy, now or in a moment.
        rate = OVERLOAD * 1000 / WORK_MS
        await callers.run(rate, cancels, SETTLE_S)
        tally = await callers.run(rate, cancels, SECONDS)
    tell(
        pytestconfig, f"capacity {capacity:.0f} calls/s, goodput {tally.goodput:.0f} calls/s at {OVERLOAD:g} times that"
    )
    tell(pytestconfig, tally.describe())
    shares = {name: served(tally, name) for name in METHODS}
    assert not tally.runs["CRITICAL"].failures
    assert tally.runs["CRITICAL"].done > 0
    assert shares["LOW"] <= shares["NORMAL"] + 0.02
    assert shares["NORMAL"] <= shares["HIGH"] + 0.02
    assert shares["LOW"] < 0.5
    assert tally.goodput > 0
