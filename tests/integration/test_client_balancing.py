"""The SDK and several instances: what the contract lets be repeated is, elsewhere, and never as a storm."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aac_grpc.client.channel import addresses_of, open_channel
from aac_grpc.client.connection import Connection
from aac_grpc.client.credentials import TokenCredentials
from aac_grpc.client.errors import AacError, Unavailable
from aac_grpc.client.retry import RetryPolicy
from aac_grpc.common.call import current_call
from tests.support.mesh import AuthDouble, Signer, ping_process, serving
from tests.support.ping import PingServicer, Request, ping_pb2_grpc


class Down(PingServicer):
    """Fails every call; `pushback` goes with it."""

    def __init__(self, pushback: str = "") -> None:
        super().__init__()
        self.pushback = pushback

    async def Unary(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.pushback:
            current_call().trailers["grpc-retry-pushback-ms"] = self.pushback
        raise Unavailable("down")

    Batch = Unary


class User:
    """A user's connection to several instances."""

    def __init__(self, auth: AuthDouble, *addresses: str, **options: Any) -> None:
        self.connection = Connection(open_channel(addresses), ", ".join(addresses), **options)
        self.connection.credentials = TokenCredentials(
            auth.signer.token(scopes=("orders:read", "orders:write"), lifetime_s=600)
        )
        self.stub: Any = ping_pb2_grpc.PingServiceStub(self.connection.channel)

    async def read(self, **options: Any) -> Any:
        return await self.connection.unary(self.stub.Unary, Request(), **options)

    async def change(self) -> Any:
        return await self.connection.unary(self.stub.Batch, Request())


@pytest.fixture
async def auth() -> AsyncIterator[tuple[AuthDouble, str]]:
    double = AuthDouble(Signer())
    async with serving("auth-service", double) as server:
        yield double, server.address


@asynccontextmanager
async def using(auth: AuthDouble, *addresses: str, **options: Any) -> AsyncIterator[User]:
    user = User(auth, *addresses, **options)
    try:
        yield user
    finally:
        await user.connection.close()


async def test_when_everything_fails_retries_do_not_become_a_storm(auth: tuple[AuthDouble, str]) -> None:
    down = Down()
    async with (
        serving("trading-engine", down, auth_address=auth[1], rate_limits={}, shedding=False) as server,
        using(auth[0], server.address) as user,
    ):
        outcomes = await asyncio.gather(*(user.read(timeout=4) for _ in range(500)), return_exceptions=True)
        assert all(isinstance(outcome, AacError) for outcome in outcomes)
        assert 500 < down.calls <= 1.2 * 500


async def test_a_change_that_must_not_be_repeated_is_made_once(auth: tuple[AuthDouble, str]) -> None:
    down = Down()
    async with (
        serving("trading-engine", down, auth_address=auth[1], rate_limits={}) as server,
        using(auth[0], server.address) as user,
    ):
        with pytest.raises(AacError):
            await user.change()
        assert down.calls == 1


async def test_a_server_that_wants_no_retry_gets_none(auth: tuple[AuthDouble, str]) -> None:
    down = Down(pushback="-1")
    async with (
        serving("trading-engine", down, auth_address=auth[1], rate_limits={}) as server,
        using(auth[0], server.address) as user,
    ):
        with pytest.raises(Unavailable):
            await user.read()
        assert down.calls == 1


async def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(auth: tuple[AuthDouble, str]) -> None:
    down = Down(pushback="400")
    async with (
        serving("trading-engine", down, auth_address=auth[1], rate_limits={}) as server,
        using(auth[0], server.address, retry=RetryPolicy(max_attempts=3)) as user,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await user.read()
        assert down.calls == 3
        assert asyncio.get_running_loop().time() - began >= 0.8


@pytest.mark.parametrize("end", [pytest.param("kill", marks=pytest.mark.slow), "freeze"])
async def test_an_instance_that_dies_or_freezes_costs_no_call_that_may_be_repeated(
    auth: tuple[AuthDouble, str], end: str
) -> None:
    here = PingServicer()
    async with (
        ping_process(auth[1]) as (process, address),
        serving("trading-engine", here, auth_address=auth[1], rate_limits={}) as server,
        using(auth[0], server.address, address) as user,
    ):
        made = 0
        async with asyncio.timeout(30):
            while made == here.calls:  # until the other one has answered
                await user.read()
                made += 1
        before = here.calls

        async def call_on_and_on(seconds: float) -> None:
            ends = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < ends:
                await user.read()
                await asyncio.sleep(0.1)

        callers = asyncio.gather(*(call_on_and_on(6) for _ in range(8)))
        await asyncio.sleep(1)
        process.send_signal(signal.SIGSTOP if end == "freeze" else signal.SIGKILL)
        try:
            await callers
        finally:
            if end == "freeze":
                process.send_signal(signal.SIGCONT)
        assert here.calls > before


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ("10.0.0.1:50050", ["10.0.0.1:50050"]),
        ("10.0.0.1:1, 10.0.0.2:2", ["10.0.0.1:1", "10.0.0.2:2"]),
        (("10.0.0.1:1", "10.0.0.2:2"), ["10.0.0.1:1", "10.0.0.2:2"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", ["ipv4:10.0.0.1:1,10.0.0.2:2"]),
        ("dns:///gateway.example:443", ["dns:///gateway.example:443"]),
    ],
)
def test_one_address_or_several_may_be_given(given: Any, addresses: list[str]) -> None:
    read: Callable[[Any], list[str]] = addresses_of
    assert read(given) == addresses
