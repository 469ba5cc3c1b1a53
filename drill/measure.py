"""What a fault did to the clients."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from drill.faults import Fault
from drill.load import Call, Load
from drill.streams import Followed, Follower

CATCH_UP_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault and what followed from it."""

    fault: str
    calls: int
    """Idempotent calls that were under way while the fault lasted, or until everything worked again."""
    failed: int
    """Of those, the ones that failed for good, within their own timeout and in spite of retries."""
    lost_writes: int
    """Acknowledged orders that are gone, older than they were said to be, or there twice."""
    stream_gaps_silent: int
    """Updates that a stream left out, doubled or never brought, without a word."""
    worst_stall_s: float
    """Longest time without a successful write, read, or update of a stream."""
    recovered_s: float
    """From when the part was back until writes, reads and streams all went on."""
    unmet: tuple[str, ...] = ()
    """What is wanted and was not so."""
    errors: tuple[str, ...] = ()
    """Examples of failures."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def judge(
    fault: Fault, load: Load, followers: Sequence[Follower], began: float, back: float, ended: float, replicas: int
) -> Outcome:
    """Compares what the clients were told with what there is, once the load has ended.

    Args:
        fault: What happened.
        load: Its calls.
        followers: Its streams.
        began: When it happened.
        back: When the part was there again.
        ended: When the load ended.
        replicas: Instances of each service.
    """
    calls = [call for call in load.calls if call.done_at >= began and call.sent_at <= ended]
    failed = [call for call in calls if call.error is not None]
    streams = [stream for follower in followers for stream in (follower.orders, follower.trades)]
    series = [*_successes(calls), *(stream.times for stream in streams)]
    silent = await _silent(load, followers)
    outcome = Outcome(
        fault=str(fault),
        calls=len(calls),
        failed=len(failed),
        lost_writes=await lost_writes(load, began),
        stream_gaps_silent=silent,
        worst_stall_s=round(max(longest_pause(times, began, ended) for times in series), 2),
        recovered_s=round(max(first_after(times, back, ended) for times in series), 2),
        errors=tuple(sorted({f"{call.name}: {call.error}" for call in failed}))[:3],
    )
    return replace(outcome, unmet=unmet(fault, outcome, replicas))


def unmet(fault: Fault, outcome: Outcome, replicas: int) -> tuple[str, ...]:
    """What is wanted of every fault and was not so."""
    wanted = {
        "an acknowledged write was lost": outcome.lost_writes == 0,
        "a stream left something out in silence": outcome.stream_gaps_silent == 0,
        "an idempotent call failed": fault.may_fail_calls(replicas) or outcome.failed == 0,
        f"recovery took over {fault.recovery_s:g} s": outcome.recovered_s <= fault.recovery_s,
    }
    return tuple(fault for fault, holds in wanted.items() if not holds)


def longest_pause(times: Iterable[float], since: float, until: float) -> float:
    """Longest time without an event, in seconds."""
    marks = [since, *sorted(at for at in times if since < at < until), until]
    return max(after - before for before, after in itertools.pairwise(marks))


def first_after(times: Iterable[float], since: float, until: float) -> float:
    """Seconds until the first event after a moment; all that there were where none came."""
    return min((at for at in times if at >= since), default=until) - since


async def lost_writes(load: Load, since: float) -> int:
    """Counts acknowledged orders that the platform does not have as it said, or has twice."""
    lost = 0
    for trader in load.traders:
        told = [call.order for call in trader.calls if call.order is not None and call.done_at >= since]
        listed = [order async for order in trader.client.list_orders(account=trader.account, venue=load.venue)]
        there = {order.client_order_id: order for order in listed}
        doubled = Counter(order.client_order_id for order in listed)
        lost += sum(count - 1 for count in doubled.values())
        lost += sum(
            order.client_order_id not in there or there[order.client_order_id].version < order.version for order in told
        )
    return lost


async def _silent(load: Load, followers: Sequence[Follower]) -> int:
    """Waits until the streams have brought all that there is; returns how many updates they left out or mixed up.

    Of an account's orders that is what the trader was told of them: one change, one number. Of trades it is all that
    are listed.
    """
    wanted: list[tuple[Followed, set[int]]] = []
    for trader, follower in zip(load.traders, followers, strict=True):
        told = {call.order.version for call in trader.calls if call.order is not None}
        trades = {trade.sequence async for trade in trader.client.list_trades(load.symbol, venue=load.venue)}
        wanted += [(follower.orders, told), (follower.trades, trades)]
    deadline = time.monotonic() + CATCH_UP_S
    while any(max(there, default=0) > stream.last for stream, there in wanted) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    for follower in followers:
        follower.check()
    return sum(stream.silent(there) for stream, there in wanted)


def _successes(calls: Iterable[Call]) -> list[list[float]]:
    """When writes succeeded, and when reads did."""
    done = [call for call in calls if call.error is None and call.done_at != float("inf")]
    return [[call.done_at for call in done if call.write is write] for write in (True, False)]
