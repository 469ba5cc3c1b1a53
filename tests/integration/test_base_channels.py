"""Calls between services: identity, deadlines, retries, breakers, and what the caller is told."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import (
    AacError,
    DependencyUnavailable,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from aac_grpc.common.breaker import Breakers, BreakerState
from aac_grpc.common.channel import Channels
from aac_grpc.common.clock import SystemClock
from tests.integration.services import free_address
from tests.support.mesh import PingMesh, Signer, ping_mesh, ping_process, serving, settings
from tests.support.ping import PingServicer, Request, Response, WritingPingServicer, ping_pb2_grpc


class Mesh:
    """A service that calls the ping server."""

    def __init__(self, ping: PingMesh, channels: Channels, breakers: Breakers) -> None:
        self.ping = ping
        self.servicer = ping.servicer
        self.channels = channels
        self.breakers = breakers
        self.stub: Any = channels.stub(ping_pb2_grpc.PingServiceStub, "trading-engine")


@asynccontextmanager
async def calling(ping: PingMesh, **changes: Any) -> AsyncIterator[Mesh]:
    fixed = {"auth_address": ping.server.settings.auth_address, "trading_address": ping.server.address}
    breakers = Breakers()
    channels = Channels("analytics", settings("analytics", **(fixed | changes)), SystemClock(), breakers)
    try:
        yield Mesh(ping, channels, breakers)
    finally:
        await channels.close()


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    # Without a watch of revocations, for which the server would get a token as well.
    async with ping_mesh(rate_limits={}, revocation_watch=False) as ping, calling(ping) as mesh:
        yield mesh


async def test_a_service_proves_who_it_is(mesh: Mesh) -> None:
    assert (await mesh.stub.Internal(Request())).text == "analytics"


async def test_a_service_gets_one_token_for_many_calls_at_once(mesh: Mesh) -> None:
    await asyncio.gather(*(mesh.stub.Internal(Request()) for _ in range(20)))
    assert mesh.ping.auth.token_requests == 1


async def test_a_token_is_renewed_at_half_its_life_and_used_until_it_ends(mesh: Mesh) -> None:
    mesh.ping.auth.lifetime_s = 2.0
    await mesh.stub.Internal(Request())
    mesh.ping.auth.failing = True
    await asyncio.sleep(1.1)
    await mesh.stub.Internal(Request())
    await asyncio.sleep(0.3)
    assert mesh.ping.auth.token_requests > 1, "it tried to renew"
    await mesh.stub.Internal(Request())
    await asyncio.sleep(0.8)
    with pytest.raises(DependencyUnavailable) as away:
        await mesh.stub.Internal(Request(), timeout=0.5)
    assert away.value.metadata["dependency"] in {"auth-service", "trading-engine"}
    mesh.ping.auth.failing = False
    await asyncio.sleep(1.0)
    await mesh.stub.Internal(Request())


async def test_a_token_of_lost_keys_is_replaced_without_a_failed_call(mesh: Mesh) -> None:
    await mesh.stub.Internal(Request())
    mesh.ping.auth.signer = Signer("other-key")
    await asyncio.sleep(1.1)
    verifier = mesh.ping.server.resources.verifier
    verifier._verified, verifier._keys._keys = {}, {}
    await mesh.stub.Internal(Request())
    assert mesh.ping.auth.token_requests == 2


async def test_a_wrong_secret_is_the_fault_of_the_installation_not_of_the_caller() -> None:
    async with ping_mesh() as ping, calling(ping, service_secret="wrong") as mesh:
        with pytest.raises(DependencyUnavailable):
            await mesh.stub.Internal(Request())


async def test_what_the_other_service_said_is_passed_on(mesh: Mesh) -> None:
    with pytest.raises(NotFound) as missing:
        await mesh.stub.Internal(Request(act="missing"))
    assert missing.value.metadata == {"kind": "thing", "id": "x"}


async def test_a_read_is_tried_again_and_a_change_is_not(mesh: Mesh) -> None:
    mesh.servicer.fail_next = 2
    await mesh.stub.Internal(Request(act="flaky"))
    assert mesh.servicer.calls == 3
    mesh.servicer.fail_next = 1
    with pytest.raises(DependencyUnavailable) as away:
        await mesh.stub.Change(Request(act="flaky"))
    assert away.value.metadata == {"dependency": "trading-engine"}
    assert mesh.servicer.calls == 4


@pytest.mark.parametrize(("own_account", "attempts"), [(False, 1), (True, 3)])
async def test_while_it_serves_a_call_a_service_passes_failures_up_unless_it_answers_for_them(
    own_account: bool, attempts: int
) -> None:
    async with ping_mesh(rate_limits={}) as leaf:

        class Relay(PingServicer):
            async def Unary(self, request: Any, context: Any) -> Any:
                channels = relay.resources.channels
                stub: Any = channels.stub(ping_pb2_grpc.PingServiceStub, "trading-engine", own_account=own_account)
                return await stub.Internal(Request(act="flaky"))

        addresses = {"auth_address": leaf.server.settings.auth_address, "trading_address": leaf.server.address}
        async with (
            serving("market-data", Relay(), **addresses) as relay,
            grpc.aio.insecure_channel(relay.address) as channel,
        ):
            leaf.servicer.fail_next = 2
            call = ping_pb2_grpc.PingServiceStub(channel).Unary(Request(), metadata=leaf.metadata)
            assert await call.code() is (grpc.StatusCode.OK if own_account else grpc.StatusCode.UNAVAILABLE)
            assert leaf.servicer.calls == attempts


class Refusing(PingServicer):
    """Refuses what concerns not the calling service but whom it calls for."""

    async def Internal(self, request: Any, context: Any) -> Any:
        self.calls += 1
        raise RateLimited(0.05, subject="address:10.0.0.1", quota="LOGIN", limit="1/s")

    async def Anonymous(self, request: Any, context: Any) -> Any:
        self.calls += 1
        raise Unauthenticated("the key is wrong")


async def test_a_callers_spent_budget_or_wrong_key_is_told_at_once_and_not_tried_again() -> None:
    async with ping_mesh(Refusing(), rate_limits={}) as ping, calling(ping) as mesh:
        with pytest.raises(RateLimited) as spent:
            await mesh.stub.Internal(Request())
        assert spent.value.retry_after == 0.05
        assert mesh.servicer.calls == 1
        with pytest.raises(Unauthenticated):
            await mesh.stub.Anonymous(Request())
        assert mesh.servicer.calls == 2


async def test_retries_end_with_the_deadline(mesh: Mesh) -> None:
    mesh.servicer.fail_next = 1000
    began = asyncio.get_running_loop().time()
    with pytest.raises(DependencyUnavailable):
        await mesh.stub.Internal(Request(act="flaky"), timeout=0.2)
    assert asyncio.get_running_loop().time() - began < 2


async def test_a_call_has_the_timeout_of_its_class_where_none_is_given(mesh: Mesh) -> None:
    await mesh.stub.Change(Request())
    remaining = mesh.servicer.remaining[-1]
    assert remaining is not None
    assert 1.5 < remaining < 2.2


async def test_a_target_that_is_down_is_not_asked_again_for_a_while(mesh: Mesh) -> None:
    await mesh.stub.Change(Request())
    await mesh.ping.server.stop()
    async with asyncio.timeout(10):
        while not mesh.breakers.get("trading-engine/Change").is_open:
            with pytest.raises(DependencyUnavailable):
                await mesh.stub.Change(Request(), timeout=1.0)
            await asyncio.sleep(0.05)
    began = asyncio.get_running_loop().time()
    with pytest.raises(DependencyUnavailable) as refusal:
        await mesh.stub.Change(Request(), timeout=1.0)
    assert asyncio.get_running_loop().time() - began < 0.5
    assert refusal.value.retry_after is not None
    assert mesh.breakers.get("trading-engine/Change").is_open


async def test_a_target_that_starts_after_its_callers_shows_no_open_breaker(mesh: Mesh) -> None:
    nobody = free_address()
    async with calling(mesh.ping, trading_address=nobody, auth_address=nobody) as early:
        for _ in range(10):
            with pytest.raises(DependencyUnavailable):
                await early.stub.Change(Request(), timeout=1.0)
        assert [one.name for one in early.breakers if one.state is not BreakerState.CLOSED] == []


async def test_a_target_that_comes_back_is_used_again(mesh: Mesh) -> None:
    port = int(mesh.ping.server.address.rpartition(":")[2])
    await mesh.stub.Change(Request())
    await mesh.ping.server.stop()
    for _ in range(6):
        with pytest.raises(DependencyUnavailable):
            await mesh.stub.Change(Request(), timeout=1.0)
    auth_address = mesh.ping.server.settings.auth_address
    async with serving("trading-engine", PingServicer(), grpc_port=port, auth_address=auth_address):
        async with asyncio.timeout(8):
            while True:
                try:
                    await mesh.stub.Change(Request(), timeout=1.0)
                    break
                except AacError:
                    await asyncio.sleep(0.1)


async def test_a_frozen_instance_does_not_eat_the_deadline_of_a_read() -> None:
    async with (
        ping_mesh() as ping,
        ping_process(ping.server.settings.auth_address) as (process, address),
        calling(ping, trading_address=f"{ping.server.address},{address}") as mesh,
    ):
        for _ in range(6):
            await mesh.stub.Internal(Request())
        process.send_signal(signal.SIGSTOP)
        for _ in range(4):
            await mesh.stub.Internal(Request())
        process.send_signal(signal.SIGCONT)


async def test_a_dead_instance_costs_no_read() -> None:
    async with (
        ping_mesh() as ping,
        ping_process(ping.server.settings.auth_address) as (process, address),
        calling(ping, trading_address=f"{ping.server.address},{address}") as mesh,
    ):
        for _ in range(6):
            await mesh.stub.Internal(Request())
        process.kill()
        for _ in range(50):
            await mesh.stub.Internal(Request())


async def test_refusals_of_requests_do_not_open_the_breaker(mesh: Mesh) -> None:
    for _ in range(20):
        with pytest.raises(NotFound):
            await mesh.stub.Internal(Request(act="missing"))
    assert not mesh.breakers.get("trading-engine/Internal").is_open


@pytest.mark.parametrize("servicer", [PingServicer, WritingPingServicer])
async def test_streams_are_read_and_written(servicer: type[PingServicer]) -> None:
    class Open(servicer):  # type: ignore[misc, valid-type]
        async def InternalStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
            async for response in PingServicer.ServerStream(self, request, context):
                yield response

    async with ping_mesh(Open()) as ping, calling(ping) as mesh:
        assert [r.count async for r in mesh.stub.InternalStream(Request(count=3))] == [0, 1, 2]
        stream = mesh.stub.InternalStream(Request(act="missing"))
        with pytest.raises(NotFound):
            await stream.read()


async def test_a_stream_to_a_target_that_is_away_says_so(mesh: Mesh) -> None:
    await mesh.ping.server.stop()
    with pytest.raises(DependencyUnavailable):
        _ = [r async for r in mesh.stub.InternalStream(Request(), timeout=2)]


async def test_who_writes_on_without_reading_learns_how_the_stream_ended(mesh: Mesh) -> None:
    mesh.ping.auth.service_scopes = ("internal", "orders:read")
    stream = mesh.stub.Bidi()
    for _ in range(3):
        await stream.write(Request())
    await stream.write(Request(act="missing"))

    async def write_on() -> None:
        while True:
            await stream.write(Request())
            await asyncio.sleep(0.01)

    with pytest.raises(NotFound):  # and not never: gRPC tells it after the three answers that nobody reads
        await asyncio.wait_for(write_on(), 10)


async def test_who_writes_to_a_stream_that_ended_well_is_told_to_begin_anew() -> None:
    class Brief(PingServicer):
        async def Bidi(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for _ in requests:
                yield Response(text="and goodbye")
                return

    async with ping_mesh(Brief(), rate_limits={}, revocation_watch=False) as ping, calling(ping) as mesh:
        ping.auth.service_scopes = ("internal", "orders:read")
        stream = mesh.stub.Bidi()

        async def write_on() -> None:
            while True:
                await stream.write(Request())
                await asyncio.sleep(0.01)

        with pytest.raises(Unavailable, match="ended the stream"):
            await asyncio.wait_for(write_on(), 10)


async def test_a_stream_that_is_cancelled_ends_at_the_other_side(mesh: Mesh) -> None:
    stream = mesh.stub.InternalStream(Request(act="sleep"))
    reading = asyncio.ensure_future(stream.read())
    await asyncio.wait_for(mesh.servicer.ready.wait(), 5)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    async with asyncio.timeout(5):
        while not mesh.servicer.canceled:  # noqa: ASYNC110 it happens at the other side
            await asyncio.sleep(0.01)


async def test_new_addresses_take_new_calls_while_running_ones_end_on_the_old(mesh: Mesh) -> None:
    second = PingServicer()
    stream = mesh.stub.InternalStream(Request(count=50_000))
    await stream.read()
    async with serving("market-data", second, auth_address=mesh.ping.server.settings.auth_address) as other:
        mesh.channels.target("trading-engine").move([other.address])
        await mesh.stub.Internal(Request())
        assert second.calls == 1
        read = 1
        async for _ in stream:
            read += 1
        assert read == 50_000


async def test_the_request_id_goes_with_the_call_from_service_to_service() -> None:
    async with ping_mesh() as leaf:

        class Relay(PingServicer):
            async def Unary(self, request: Any, context: Any) -> Any:
                stub: Any = relay.resources.channels.stub(ping_pb2_grpc.PingServiceStub, "trading-engine")
                return await stub.Internal(request)

        addresses = {"auth_address": leaf.server.settings.auth_address, "trading_address": leaf.server.address}
        async with (
            serving("market-data", Relay(), **addresses) as relay,
            grpc.aio.insecure_channel(relay.address) as channel,
        ):
            metadata = (*leaf.metadata, ("x-request-id", "trace-42"))
            await ping_pb2_grpc.PingServiceStub(channel).Unary(Request(), metadata=metadata)
            assert leaf.servicer.metadata[-1]["x-request-id"] == "trace-42"


def test_several_addresses_must_be_ones_that_grpc_takes() -> None:
    from aac_grpc.client.channel import target_of

    assert target_of(["engine.example:50053"]) == "engine.example:50053"
    assert target_of(["10.0.0.1:1", "10.0.0.2:2"]) == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert target_of(["[::1]:1", "[fd00::2]:2"]) == "ipv6:[::1]:1,[fd00::2]:2"
    assert target_of(["10.0.0.1:1", "[fd00::2]:2"]) == "ipv6:[::ffff:10.0.0.1]:1,[fd00::2]:2"
    with pytest.raises(ValueError, match="numeric"):
        target_of(["a:1", "b:2"])
