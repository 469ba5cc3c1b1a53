"""Callers and services that push, stop and vanish cost the gateway, a process of its own here, next to no memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from grpc import aio

from aac_grpc.client.errors import DependencyUnavailable, from_rpc_error
from aac_grpc.client.writing import write
from tests.integration.odd_processes import Odd, odd_processes
from tests.integration.test_gateway_forwarding import Caller

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

MB = 1 << 20
MOST_GROWTH = 40 * MB
MESSAGE = 50_000
GIGABYTE = 1_000_000_000 // MESSAGE
"""Messages in it."""


@pytest.fixture(scope="module")
async def processes() -> AsyncIterator[tuple[Odd, Odd]]:
    async with odd_processes() as found:
        yield found


@pytest.fixture
def gateway(processes: tuple[Odd, Odd]) -> Odd:
    return processes[0]


@pytest.fixture
def service(processes: tuple[Odd, Odd]) -> Odd:
    return processes[1]


@pytest.fixture
async def caller(gateway: Odd) -> AsyncIterator[Caller]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(gateway.address, options=options) as channel:
        warm = Caller(channel)
        assert [message async for message in warm.watch(b"200 50000")]
        yield warm


@contextlib.asynccontextmanager
async def growth_below(gateway: Odd, limit: int) -> AsyncIterator[None]:
    """The gateway's memory stays so close to what it was for as long as the block runs."""
    before = highest = gateway.rss

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, gateway.rss)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    grown = max(highest, gateway.rss) - before
    assert grown < limit, f"it grew by {grown / MB:.1f} MB"


async def test_a_gigabyte_waits_for_its_reader_and_arrives_whole(gateway: Odd, caller: Caller) -> None:
    async with growth_below(gateway, MOST_GROWTH):
        watch = caller.watch(b"%d %d" % (GIGABYTE, MESSAGE))
        assert len(await watch.read()) == MESSAGE
        await asyncio.sleep(3)
        count = 1
        while (message := await watch.read()) is not aio.EOF:
            assert len(message) == MESSAGE
            count += 1
    assert count == GIGABYTE


async def test_many_readers_that_stop_at_once_cost_their_windows_alone(gateway: Odd, caller: Caller) -> None:
    async with growth_below(gateway, 2 * MOST_GROWTH):
        streams = [caller.watch(b"%d %d" % (GIGABYTE, MESSAGE)) for _ in range(50)]
        for stream in streams:
            await stream.read()
        await asyncio.sleep(3)
        for stream in streams:
            stream.cancel()


async def test_a_fast_caller_waits_for_a_service_that_stands_still(gateway: Odd, service: Odd, caller: Caller) -> None:
    sent = 0
    push = caller.push()

    async def send() -> None:
        nonlocal sent
        while sent < GIGABYTE:
            await write(push, b"x" * MESSAGE)
            sent += 1

    async with growth_below(gateway, MOST_GROWTH):
        await push.write(b"x" * MESSAGE)
        with service.stopped():  # for less than it takes to be given up
            sending = asyncio.create_task(send())
            await asyncio.sleep(1)
            held = sent
            assert held < 1000, "somebody takes what the service does not"
        await sending
        await push.done_writing()
        assert await push == b"%d" % (GIGABYTE + 1)


async def test_streams_to_a_service_that_is_frozen_end_with_a_reason(
    gateway: Odd, service: Odd, caller: Caller
) -> None:
    with service.stopped():
        streams = [caller.watch(b"sleep"), caller.chat()]
        for stream in streams:
            with pytest.raises(aio.AioRpcError) as refused:
                await stream.read()
            assert isinstance(from_rpc_error(refused.value), DependencyUnavailable)


async def test_calls_to_a_service_that_stands_still_end_by_their_deadline(
    gateway: Odd, service: Odd, caller: Caller
) -> None:
    async with growth_below(gateway, MOST_GROWTH):
        with service.stopped():
            calls = [caller.unary(bytes(1000), timeout=1.0) for _ in range(500)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.code().name for error in ended if isinstance(error, aio.AioRpcError)} == {"DEADLINE_EXCEEDED"}
    assert await caller.unary(b"hi", timeout=30) == b"hi"


async def test_streams_that_have_ended_leave_nothing_behind(gateway: Odd, caller: Caller) -> None:
    for _ in range(3):
        await _streams(caller, 400)
    before = gateway.rss
    for _ in range(6):
        await _streams(caller, 400)
    grown = gateway.rss - before
    assert grown < 12 * MB, f"2,400 streams later it holds {grown / MB:.1f} MB more"


async def _streams(caller: Caller, count: int) -> None:
    """Ends so many streams, each in one of the ways in which streams end."""

    async def ended() -> None:
        assert [message async for message in caller.watch(b"5 1000")]

    async def abandoned() -> None:
        watch = caller.watch(b"sleep")
        await watch.initial_metadata()
        watch.cancel()

    async def refused() -> None:
        chat = caller.chat()
        await chat.write(b"refuse")
        with contextlib.suppress(aio.AioRpcError):
            await chat.read()

    async def half_closed() -> None:
        push = caller.push()
        await push.write(b"1")
        await push.done_writing()
        await push

    ways = (ended, abandoned, refused, half_closed)
    for first in range(0, count, 40):
        await asyncio.gather(*(ways[number % 4]() for number in range(first, first + 40)))
