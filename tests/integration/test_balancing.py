"""Several instances of a service: calls are spread, and one that hangs, dies or drains is left, by streams as well."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import AacError, NotFound, Unavailable
from aac_grpc.common.breaker import Breakers, BreakerState
from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import SystemClock
from tests.support.mesh import AuthDouble, Signer, eventually, ping_process, serving, settings
from tests.support.ping import PingServicer, Request, ping_pb2_grpc

SERVICE = "trading-engine"
LEFT_WITHIN_S = 12.0
"""After 4.5 s without an answer to a ping on a quiet machine; a machine with a load of 15 takes its time."""


class Caller:
    """A process that calls the service.

    Attributes:
        stub: The service's methods.
        target: The service.
    """

    def __init__(self, auth_address: str, *addresses: str) -> None:
        fixed = {"auth_address": auth_address, "trading_address": ",".join(addresses)}
        self.breakers = Breakers()
        self.channels = Channels("analytics", settings("analytics", **fixed), SystemClock(), self.breakers)
        self.target = self.channels.target(SERVICE)
        self.stub: Any = self.channels.stub(ping_pb2_grpc.PingServiceStub, SERVICE)


@pytest.fixture
async def auth() -> AsyncIterator[str]:
    async with serving("auth-service", AuthDouble(Signer())) as server:
        yield server.address


@asynccontextmanager
async def calling(auth_address: str, *addresses: str) -> AsyncIterator[Caller]:
    caller = Caller(auth_address, *addresses)
    try:
        yield caller
    finally:
        await caller.channels.close()


async def warm(caller: Caller, *servicers: PingServicer) -> None:
    """Calls until every instance has answered."""
    async with asyncio.timeout(30):
        while not all(servicer.calls for servicer in servicers):
            await caller.stub.Internal(Request())


async def reaches_both(caller: Caller, here: PingServicer) -> None:
    """Calls until the instance of another process has answered, too."""
    async with asyncio.timeout(30):
        answered = 0
        while answered == here.calls:
            await caller.stub.Internal(Request())
            answered += 1


@asynccontextmanager
async def frozen(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_frozen_instance_gets_no_calls_after_a_few_seconds_however_few_are_made(auth: str) -> None:
    here = PingServicer()
    async with (
        ping_process(auth) as (process, address),
        serving(SERVICE, here, auth_address=auth) as other,
        calling(auth, other.address, address) as caller,
    ):
        await reaches_both(caller, here)
        async with frozen(process):
            # One call that may not be repeated finds it out sooner or later; after that all go to the other one.
            async with asyncio.timeout(LEFT_WITHIN_S):
                while not await _all_answered(caller, 6):
                    pass
            assert await _all_answered(caller, 10)


async def _all_answered(caller: Caller, calls: int) -> bool:
    """Whether so many calls that are not repeated are answered within a second each."""
    try:
        for _ in range(calls):
            await caller.stub.Change(Request(), timeout=1.0)
    except AacError:
        return False
    return True


@pytest.mark.slow
async def test_no_read_fails_while_an_instance_is_frozen_and_the_breaker_stays_closed(auth: str) -> None:
    here = PingServicer()
    async with (
        ping_process(auth) as (process, address),
        serving(SERVICE, here, auth_address=auth) as other,
        calling(auth, other.address, address) as caller,
    ):
        await reaches_both(caller, here)
        async with frozen(process):
            deadline = asyncio.get_running_loop().time() + 6
            while asyncio.get_running_loop().time() < deadline:
                await asyncio.gather(*(caller.stub.Internal(Request(), timeout=10) for _ in range(4)))
                await asyncio.sleep(0.05)
        assert caller.breakers.get(f"{SERVICE}/Internal").state is BreakerState.CLOSED


async def test_a_stream_on_a_frozen_instance_goes_on_at_another_one(auth: str) -> None:
    async with (
        ping_process(auth) as (process, address),
        serving(SERVICE, PingServicer(), auth_address=auth) as other,
        calling(auth, address) as caller,
    ):
        stream = caller.stub.InternalStream(Request(act="sleep"))
        reading = asyncio.ensure_future(stream.read())
        await asyncio.sleep(1)
        async with frozen(process):
            caller.target.move([other.address, address])
            with pytest.raises(Unavailable):
                await asyncio.wait_for(reading, LEFT_WITHIN_S)
            assert await caller.stub.InternalStream(Request()).read()


async def test_all_calls_under_way_on_an_instance_may_die_with_it_and_the_breaker_stays_closed(auth: str) -> None:
    here = PingServicer()
    async with (
        ping_process(auth) as (process, address),
        serving(SERVICE, here, auth_address=auth) as other,
        calling(auth, other.address, address) as caller,
    ):
        await reaches_both(caller, here)
        running = [asyncio.ensure_future(caller.stub.Change(Request(act="sleep"), timeout=30)) for _ in range(60)]
        await asyncio.sleep(1)
        process.kill()
        done, hanging = await asyncio.wait(running, timeout=3)
        assert len(done) >= 20, "those on the killed instance"
        for _ in range(20):
            await caller.stub.Change(Request())
        for task in hanging:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_running_stream_survives_moves_and_its_channel_goes_when_it_ends(auth: str) -> None:
    first, second = PingServicer(), PingServicer()
    async with (
        serving(SERVICE, first, auth_address=auth) as one,
        serving("market-data", second, auth_address=auth) as other,
        calling(auth, one.address) as caller,
    ):
        stream = caller.stub.InternalStream(Request(count=20_000))
        await stream.read()
        for addresses in ([one.address, other.address], [other.address], [other.address, one.address], [other.address]):
            caller.target.move(addresses)
            await caller.stub.Internal(Request())
        assert len(caller.target._left) == 1, "the stream's channel; idle ones are gone"
        assert len([response async for response in stream]) == 19_999
        await eventually(lambda: not caller.target._left and not caller.target._closing, 30)
        before = first.calls
        await caller.stub.Internal(Request())
        assert first.calls == before


async def test_a_move_to_the_same_instances_in_another_order_is_none(auth: str) -> None:
    async with serving(SERVICE, PingServicer(), auth_address=auth) as one, calling(auth, one.address) as caller:
        caller.target.move([one.address, "127.0.0.1:1"])
        line = caller.target._line or caller.target._open()
        caller.target.move(["127.0.0.1:1", one.address])
        assert caller.target._line is line


async def test_calls_on_one_instance_end_on_it_when_its_channel_is_no_longer_kept(auth: str) -> None:
    servicer = PingServicer()
    async with serving(SERVICE, servicer, auth_address=auth) as one, calling(auth, one.address) as caller:
        metadata = await caller.channels.metadata(SERVICE)
        begin = caller.channels.instance(SERVICE, one.address).callable(
            "unary_stream", "/aac.testing.v1.PingService/InternalStream", Request.SerializeToString
        )
        stream = begin(Request(count=20_000), metadata=metadata)
        await stream.read()
        for port in range(1, 80):
            caller.channels.instance(SERVICE, f"127.0.0.1:{port}")
        read = 1
        while await stream.read() is not grpc.aio.EOF:
            read += 1
        assert read == 20_000


async def test_whether_a_service_can_be_reached_is_told_across_its_instances(auth: str) -> None:
    told: list[bool] = []

    async def listen(caller: Caller) -> None:
        async for reachable in caller.target.reachable():
            told.append(reachable)  # noqa: PERF401 - as it comes

    async with AsyncExitStack() as running:
        one = await running.enter_async_context(serving(SERVICE, PingServicer(), auth_address=auth))
        async with serving("market-data", PingServicer(), auth_address=auth) as other:
            caller = await running.enter_async_context(calling(auth, one.address, other.address))
            listening = asyncio.create_task(listen(caller))
            await eventually(lambda: told == [True], 30)
            caller.target.move([other.address, one.address, "127.0.0.1:1"])
            await caller.stub.Internal(Request())
            other.resources.health.set_serving(False)
            await asyncio.sleep(0.5)
            assert told == [True], "the other one serves"
        one.resources.health.set_serving(False)
        await eventually(lambda: told == [True, False], 30)
        one.resources.health.set_serving(True)
        await eventually(lambda: told == [True, False, True], 30)
        listening.cancel()


async def test_a_caller_whose_every_call_is_refused_costs_no_instance_its_calls(auth: str) -> None:
    first, second = PingServicer(), PingServicer()
    async with (
        serving(SERVICE, first, auth_address=auth) as one,
        serving("market-data", second, auth_address=auth) as other,
        calling(auth, one.address, other.address) as caller,
    ):
        await warm(caller, first, second)
        for _ in range(5):
            before = first.calls, second.calls
            for _ in range(40):
                with pytest.raises(NotFound):
                    await caller.stub.Change(Request(act="missing"))
                await asyncio.sleep(0.01)
            assert (first.calls - before[0], second.calls - before[1]) == (20, 20)


class Failing(PingServicer):
    """Serves, by its own word, and fails every call."""

    failure: Exception = Unavailable("my disk is full")

    async def Change(self, request: Any, context: Any) -> Any:
        self.calls += 1
        raise self.failure


async def test_what_a_caller_provokes_at_all_instances_costs_none_its_calls(auth: str) -> None:
    first, second = Failing(), Failing()
    async with (
        serving(SERVICE, first, auth_address=auth) as one,
        serving("market-data", second, auth_address=auth) as other,
        calling(auth, one.address, other.address) as caller,
    ):
        await warm(caller, first, second)
        line = caller.target._line
        for _ in range(30):
            await asyncio.gather(*(caller.stub.Change(Request()) for _ in range(2)), return_exceptions=True)
        assert caller.target._line is line


@pytest.mark.parametrize("failure", [Unavailable("my disk is full"), RuntimeError("a bug")], ids=type)
async def test_an_instance_that_fails_every_call_is_left_out_though_it_is_healthy(
    auth: str, failure: Exception
) -> None:
    bad, good = Failing(), PingServicer()
    bad.failure = failure
    async with (
        serving(SERVICE, bad, auth_address=auth) as one,
        serving("market-data", good, auth_address=auth) as other,
        calling(auth, one.address, other.address) as caller,
    ):
        await warm(caller, bad, good)

        async def one_second() -> int:
            before = bad.calls
            for _ in range(60):
                with_error = asyncio.gather(caller.stub.Change(Request()), return_exceptions=True)
                await with_error
                await asyncio.sleep(0.02)
            return bad.calls - before

        async with asyncio.timeout(30):
            while await one_second():
                pass


async def test_a_stream_that_runs_on_an_instance_that_is_left_out_goes_on(auth: str) -> None:
    bad, good = Failing(), PingServicer()
    async with (
        serving(SERVICE, bad, auth_address=auth) as one,
        serving("market-data", good, auth_address=auth) as other,
        calling(auth, one.address, other.address) as caller,
    ):
        await warm(caller, bad, good)
        streams = [caller.stub.InternalStream(Request(count=100_000)) for _ in range(2)]
        for stream in streams:
            await stream.read()
        for _ in range(150):
            await asyncio.gather(caller.stub.Change(Request()), return_exceptions=True)
            await asyncio.sleep(0.01)
        for stream in streams:
            assert (await stream.read()).count >= 1
            stream.cancel()
