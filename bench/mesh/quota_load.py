"""Four instances in processes of their own that charge one caller's budget, and how right they are together."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aac_grpc.common.quota.bucket import Bucket, Budget
from bench.machine import ROOT
from bench.mesh.quota_instance import Plan
from bench.processes import START_TIMEOUT_S

INSTANCES = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the charges of all instances.

    Attributes:
        budget: Of the caller.
        charges: (monotonic time, allowed), in order.
        local: Charges that were decided without Redis.
        asked: Times that Redis was asked for the bucket.
    """

    budget: Budget
    charges: Sequence[tuple[float, bool]]
    local: int
    asked: int

    @property
    def allowed(self) -> int:
        """Charges that were allowed."""
        return sum(allowed for _, allowed in self.charges)

    @property
    def overshoot(self) -> float:
        """Share by which more was allowed than a single bucket could have, below zero where less was."""
        elapsed = self.charges[-1][0] - self.charges[0][0]
        return self.allowed / (self.budget.burst + self.budget.rate * elapsed) - 1

    @property
    def false_refusals(self) -> float:
        """Share of all charges that were refused beyond those that a single bucket would have refused."""
        bucket = Bucket(self.budget.burst, self.charges[0][0])
        ideal = sum(bucket.charge(self.budget, 1, at).allowed for at, _ in self.charges)
        return (ideal - self.allowed) / len(self.charges)


async def charge(url: str, budget: Budget, load: float, seconds: float) -> Outcome:
    """Runs the instances.

    Args:
        url: Of Redis.
        budget: Of the caller.
        load: Charges a second of all instances together, as a multiple of the budget's rate.
        seconds: How long.

    Raises:
        RuntimeError: An instance failed.
    """
    key = f"bench:{secrets.token_hex(6)}"
    offered = load * budget.rate / INSTANCES
    plans = [Plan(url, key, budget.rate, budget.burst, offered, seconds, seed) for seed in range(1, INSTANCES + 1)]
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(_instance(plan)) for plan in plans]
        async with asyncio.timeout(START_TIMEOUT_S):
            for one in instances:
                await _line(one)
        begin = time.monotonic() + 0.2
        for one in instances:
            assert one.stdin is not None
            one.stdin.write(f"{begin}\n".encode())
        async with asyncio.timeout(10 * seconds + 30):
            results = [json.loads(await _line(one)) for one in instances]
    charges = sorted((at, bool(allowed)) for result in results for at, allowed in result["outcomes"])
    return Outcome(budget, charges, *(sum(int(result[name]) for result in results) for name in ("local", "asked")))


@asynccontextmanager
async def _instance(plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *plan.arguments(), cwd=ROOT, stdin=pipe, stdout=pipe, limit=1 << 26
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("an instance ended before it was done")
    return line
