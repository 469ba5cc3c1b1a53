"""One drill: load, a fault in the midst of it, and what became of both."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from drill.faults import Fault
from drill.load import Load
from drill.measure import Outcome, judge
from drill.platform import SYMBOL, DrillPlatform
from drill.streams import Follower

TRADERS = 3
RATE = 8.0
"""Orders a second of each trader, and as many reads."""
TIMEOUT_S = 15.0
"""Of each call, retries included."""
WARM_S = 2.0
SETTLE_S = 3.0


async def run(platform: DrillPlatform, fault: Fault, *, seed: str) -> Outcome:
    """Has a fault happen under load, with traders of its own."""
    async with AsyncExitStack() as stack:
        traders = await platform.traders(stack, TRADERS, TIMEOUT_S)
        load = Load(traders, venue=platform.venue, symbol=SYMBOL, rate=RATE, seed=seed)
        followers = [
            await stack.enter_async_context(Follower(trader.client, trader.account, platform.venue, SYMBOL))
            for trader in traders
        ]
        async with load.running():
            await asyncio.sleep(WARM_S)
            began = time.monotonic()
            back = await fault.happen(platform)
            await asyncio.sleep(max(SETTLE_S, fault.recovery_s))
            ended = time.monotonic()
        return await judge(fault, load, followers, began, back, ended, platform.replicas)
