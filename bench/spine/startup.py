"""How long `aac up` takes with and without data, and how much memory the platform holds then."""

import asyncio
from collections.abc import AsyncIterator

from bench.installation import Installation, new_installation
from bench.options import Options
from bench.processes import memory_mb
from bench.report import Row

WARM_GOAL_S = 20.0
SETTLE_S = 15.0


async def measure_startup(options: Options) -> AsyncIterator[Row]:
    """Cold, then warm on the same state, then memory once the flow has run for a while."""
    async with new_installation() as installation:
        seconds, info = await installation.up()
        how = (
            f"`aac up` until it says ready; flow: {info['flow']}. Not included: the"
            " environment's install; the caches of Kafka's jars and class data are as they were on this machine"
        )
        yield Row("spine.up_seconds_cold", seconds, "s", detail=f"fresh state directory. {how}")
        await installation.down()
        seconds, _ = await installation.up()
        yield Row(
            "spine.up_seconds_warm",
            seconds,
            "s",
            baseline=WARM_GOAL_S,
            ratio=WARM_GOAL_S / seconds,
            detail=f"existing state directory; baseline is the goal, ratio = goal / measured. {how}",
        )
        await asyncio.sleep(options.pick(SETTLE_S, 3.0))
        yield memory_row(installation)


def memory_row(installation: Installation) -> Row:
    """Memory of all processes of the platform now."""
    parts = installation.parts()
    total, kind = memory_mb(process for part in parts.values() for process in part)
    shares = {name: memory_mb(processes)[0] for name, processes in parts.items()}
    by_part = ", ".join(f"{name} {share:.0f}" for name, share in sorted(shares.items(), key=lambda one: -one[1]))
    count = sum(map(len, parts.values()))
    how = f"{kind} of the {count} processes of the platform while the flow runs: {by_part}"
    return Row("spine.rss_mb_total", total, f"MB {kind}", detail=how)
