"""One timer for all calls."""

import asyncio
import random

from aac_grpc.common.expiry import SLOT_S, Expiry


class Timed:
    """Notes when its time was over."""

    def __init__(self) -> None:
        self.at: float | None = None

    def expire(self) -> None:
        self.at = asyncio.get_running_loop().time()


async def test_each_ends_at_its_time_not_before_and_hardly_later() -> None:
    expiry, clock = Expiry(), asyncio.get_running_loop().time
    times = [clock() + random.Random(7).uniform(0, 0.4) for _ in range(200)]
    ones = [Timed() for _ in times]
    for one, when in zip(ones, times, strict=True):
        expiry.add(one, when)
    await asyncio.sleep(0.6)
    for one, when in zip(ones, times, strict=True):
        assert one.at is not None
        assert when <= one.at < when + 0.1


async def test_an_earlier_time_may_come_after_a_later_one() -> None:
    expiry, clock = Expiry(), asyncio.get_running_loop().time
    late, early = Timed(), Timed()
    expiry.add(late, clock() + 5)
    expiry.add(early, clock() + 0.02)
    await asyncio.sleep(0.1)
    assert early.at is not None
    assert late.at is None
    expiry.close()


async def test_what_was_taken_off_does_not_end() -> None:
    expiry, clock = Expiry(), asyncio.get_running_loop().time
    stays, leaves = Timed(), Timed()
    when = clock() + 2 * SLOT_S
    expiry.add(stays, when)
    expiry.add(leaves, when).discard(leaves)
    await asyncio.sleep(0.1)
    assert stays.at is not None
    assert leaves.at is None


async def test_a_time_that_has_passed_ends_at_once() -> None:
    expiry, one = Expiry(), Timed()
    expiry.add(one, asyncio.get_running_loop().time() - 1)
    await asyncio.sleep(0.05)
    assert one.at is not None
