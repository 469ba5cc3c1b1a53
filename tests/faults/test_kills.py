"""kill -9 of each service while clients trade: nothing that was acknowledged is lost or doubled, and streams go on.

By default each service is killed twice; the slow suite kills each 20 times. AAC_TEST_SEED repeats a run's decisions.
"""

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from aac_grpc.backends.control import read_status
from aac_grpc.backends.spec import ProcessState, ProcessStatus
from tests.support.installation import Installation, new_installation
from tests.support.kill_checks import Counts, check_everything
from tests.support.kill_scene import PATIENCE_S, SYMBOL, Scene
from tests.support.markets import Trader, new_traders, new_venue
from tests.support.stream_log import until
from tests.support.telling import tell

SERVICES = (
    "trading-engine", "api-gateway", "risk-management", "market-data", "auth-service", "analytics", "registry",
)  # fmt: skip
CLIENTS = 4
LEAST_RATE = 50.0
"""Orders a second, of all clients, that must be acknowledged when a process is killed."""
STABLE_S = 3.2
"""The supervisor starts a process at once that was ready for three seconds; others, after a growing pause."""
SEED = int(os.environ.get("AAC_TEST_SEED") or random.SystemRandom().getrandbits(32))


@dataclass
class Kill:
    """One kill, and how long what followed from it took, in seconds."""

    at: float
    rate: float
    """Orders acknowledged in the second before."""
    restart: float = 0.0
    """Until the supervisor found it ready again."""
    orders: float = 0.0
    """Longest pause between two acknowledged orders."""
    order_stream: float = 0.0
    """Longest pause between two updates of an account's orders."""
    market_stream: float = 0.0
    """Longest pause between two updates of trades or depth."""


@dataclass
class Result:
    """What became of one service's kills."""

    service: str
    kills: list[Kill] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


@pytest.fixture(scope="module")
async def platform(pytestconfig: pytest.Config) -> AsyncIterator[Installation]:
    """A platform of its own: here processes die."""
    async with new_installation() as installation:
        seconds = await installation.up("--no-flow")
        tell(pytestconfig, f"aac up: ready in {seconds:.1f} s; AAC_TEST_SEED={SEED}")
        yield installation


@pytest.fixture(scope="module")
async def traders(platform: Installation) -> list[Trader]:
    return await new_traders(platform, CLIENTS)


@pytest.fixture(scope="module")
def results(pytestconfig: pytest.Config) -> Iterator[list[Result]]:
    """What the tests of the module found; printed as a table at the end."""
    found: list[Result] = []
    yield found
    title = f"SIGKILL under load, AAC_TEST_SEED={SEED}; pauses in seconds, median / longest"
    tell(pytestconfig, f"{title}\n{table(found)}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
async def test_after_a_kill_nothing_acknowledged_is_lost_and_streams_go_on(
    platform: Installation, traders: list[Trader], results: list[Result], service: str
) -> None:
    await kill_and_check(platform, traders, results, service, kills=2, between_s=1.0)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("service", SERVICES)
async def test_after_twenty_kills_nothing_acknowledged_is_lost_and_streams_go_on(
    platform: Installation, traders: list[Trader], results: list[Result], service: str
) -> None:
    await kill_and_check(platform, traders, results, service, kills=20, between_s=STABLE_S)


async def kill_and_check(
    platform: Installation, traders: list[Trader], results: list[Result], service: str, kills: int, between_s: float
) -> None:
    result = Result(service)
    results.append(result)
    chance = random.Random(f"{SEED}-{service}")
    async with new_venue(platform, SYMBOL) as venue, Scene(platform, traders, venue, f"{SEED}-{service}") as scene:
        await scene.prepare()
        async with scene.trading():
            for _ in range(kills):
                await asyncio.sleep(between_s + chance.random() / 2)
                result.kills.append(await kill(scene, service))
            await asyncio.sleep(1.0)
        measure(result.kills, scene)
        await check_everything(scene, result.counts)


async def kill(scene: Scene, service: str) -> Kill:
    """Kills the service's process while orders come fast enough; returns once the next one is ready and orders pass."""

    def rate() -> float:
        return scene.log.rate(time.monotonic() - 1.0, time.monotonic())

    fast = await until(lambda: rate() >= LEAST_RATE, PATIENCE_S)
    assert fast, f"only {rate():.0f} orders a second are acknowledged"
    before = await process_of(scene.platform, service)
    assert before.pid is not None
    done = Kill(time.monotonic(), rate())
    os.kill(before.pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        after = before
        while after.state is not ProcessState.READY or after.pid in (None, before.pid):
            await asyncio.sleep(0.03)
            after = await process_of(scene.platform, service)
    ready_at = time.monotonic()
    done.restart = ready_at - done.at
    assert await until(lambda: scene.log.rate(ready_at, time.monotonic() + 0.001) > 0, PATIENCE_S)
    scene.check_streams()
    return done


async def process_of(platform: Installation, service: str) -> ProcessStatus:
    """What the supervisor knows of a service's process."""
    status = await asyncio.to_thread(read_status, platform.state)
    assert status is not None
    return next(one for one in status.processes if one.name == service)


def measure(kills: list[Kill], scene: Scene) -> None:
    """Finds the pauses between each kill and the next one."""
    ends = [*(one.at for one in kills[1:]), kills[-1].at + kills[-1].restart + 1.0]
    market = scene.market
    for one, end in zip(kills, ends, strict=True):
        one.orders = scene.log.longest_pause(one.at, end)
        one.order_stream = max(follower.log.longest_pause(one.at, end) for follower in scene.followers)
        one.market_stream = min(log.longest_pause(one.at, end) for log in (market.trades, market.depth))


def table(results: list[Result]) -> str:
    """The results for people."""
    heads = ["killed", "kills", "orders/s", "restart", "order pause", "order stream", "market stream", "orders",
             "commands", "unknown", "executions", "events", "redelivered", "gaps"]  # fmt: skip
    rows = [heads, *(row(result) for result in results if result.kills)]
    widths = [max(len(one[column]) for one in rows) for column in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(one, widths, strict=True)) for one in rows)


def row(result: Result) -> list[str]:
    """A result's cells."""
    pauses = [
        [getattr(one, name) for one in result.kills] for name in ("restart", "orders", "order_stream", "market_stream")
    ]
    counts = result.counts
    return [
        result.service,
        str(len(result.kills)),
        f"{min(one.rate for one in result.kills):.0f}+",
        *(f"{statistics.median(values):.2f} / {max(values):.2f}" for values in pauses),
        *map(str, (counts.orders, counts.commands, counts.unanswered, counts.executions, counts.events,
                   counts.redelivered, counts.gaps)),
    ]  # fmt: skip
