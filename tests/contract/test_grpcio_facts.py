"""Traps of grpcio in Python, by the number they have in the project's notes: each must stay harmless here."""

import asyncio
import json
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from aac_grpc.client.channel import SERVICE_CONFIG, SINGLE_SERVICE_CONFIG, channel_options
from aac_grpc.client.errors import AacError, Draining, Internal
from aac_grpc.common import channel as channels
from aac_grpc.common.call import current_call
from aac_grpc.common.server import server_options
from tests.support.mesh import PingMesh, bearer, ping_mesh, serving, settings
from tests.support.ping import ARITIES, PingServicer, Request, Response, ping_pb2_grpc


class OddServicer(PingServicer):
    """Does what handlers should not."""

    async def _act(self, request: Any, context: Any) -> None:
        match request.act:
            case "cancel yourself":
                raise asyncio.CancelledError
            case "spawn":
                names = await asyncio.gather(*(asyncio.create_task(self._name()) for _ in range(2)))
                assert names == [current_call().request_id] * 2
            case _:
                await super()._act(request, context)

    async def _name(self) -> str:
        return current_call().request_id


@pytest.fixture(scope="module")
async def mesh() -> AsyncIterator[PingMesh]:
    async with ping_mesh(OddServicer(), rate_limits={}) as mesh:
        yield mesh


@pytest.mark.parametrize("arity", ARITIES)
async def test_fact_2_the_call_reaches_the_handler_and_the_tasks_it_spawns(mesh: PingMesh, arity: str) -> None:
    assert await mesh.call(arity, Request(act="spawn"))


@pytest.mark.parametrize("arity", ARITIES)
async def test_fact_4_a_handler_that_cancels_itself_does_not_leave_its_caller_waiting(
    mesh: PingMesh, arity: str
) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(Internal):
            await mesh.call(arity, Request(act="cancel yourself"))


async def test_fact_4_streams_that_are_cancelled_leak_nothing(mesh: PingMesh) -> None:
    async def cancel_many(number: int) -> None:
        for _ in range(number):
            call = mesh.begin("Bidi", Request(act="sleep"))
            waiting = asyncio.ensure_future(call.read())
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.2)

    await cancel_many(300)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await cancel_many(1500)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


async def test_fact_4_streams_that_the_server_interrupts_leak_nothing(mesh: PingMesh) -> None:
    async def expire_many(number: int) -> None:
        token = bearer(mesh.signer.token(lifetime_s=0.25))
        calls = [mesh.call("Bidi", Request(act="sleep"), metadata=token) for _ in range(number)]
        assert all(isinstance(one, AacError) for one in await asyncio.gather(*calls, return_exceptions=True))

    await expire_many(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(8):
        await expire_many(100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


@pytest.mark.parametrize("arity", ["ServerStream", "Bidi"])
async def test_a_stream_that_is_interrupted_in_its_first_write_still_gets_its_status(
    mesh: PingMesh, arity: str
) -> None:
    """Not in the notes: a first write that is cancelled stays under way, and then no status can be sent."""
    for _ in range(20):
        with pytest.raises(Draining):
            await mesh.call(arity, Request(act="terminate", count=1000))


def test_fact_7_no_timeout_stands_in_a_service_config() -> None:
    for config in (SERVICE_CONFIG, SINGLE_SERVICE_CONFIG):
        assert "methodConfig" not in json.loads(config)


async def test_fact_10_an_instance_that_does_not_serve_gets_no_calls() -> None:
    first, second = PingServicer(), PingServicer()
    async with (
        ping_mesh(first) as mesh,
        serving("market-data", second, auth_address=mesh.server.settings.auth_address) as other,
    ):
        addresses = f"{mesh.server.address},{other.address}"
        caller = channels.Channels(
            "analytics",
            settings("analytics", auth_address=mesh.server.settings.auth_address, trading_address=addresses),
            mesh.server.resources.clock,
            mesh.server.resources.breakers,
        )
        stub = caller.stub(ping_pb2_grpc.PingServiceStub, "trading-engine")
        async with asyncio.timeout(5):
            while not (first.calls and second.calls):
                await stub.Internal(Request())
        mesh.server.resources.health.set_serving(False)
        await asyncio.sleep(0.5)
        before = first.calls
        for _ in range(20):
            await stub.Internal(Request())
        assert first.calls == before
        await caller.close()


@pytest.mark.parametrize(("suffix", "works"), [("_experimental", True), ("", False)])
async def test_fact_10_outlier_detection_needs_its_suffix(mesh: PingMesh, suffix: str, works: bool) -> None:
    text = SERVICE_CONFIG.replace("outlier_detection_experimental", f"outlier_detection{suffix}")
    async with grpc.aio.insecure_channel(mesh.server.address, options=channel_options(service_config=text)) as channel:
        stub = ping_pb2_grpc.PingServiceStub(channel)
        try:
            await stub.Unary(Request(), metadata=mesh.metadata, timeout=10)
        except grpc.aio.AioRpcError:
            assert not works
        else:
            assert works


def test_a_ping_timeout_is_set_wherever_pings_are_sent() -> None:
    """Not in the notes: `grpc.keepalive_timeout_ms` has no effect (grpc/grpc#39239); see tests of frozen instances."""
    for options in (dict(channel_options()), dict(server_options(settings("trading-engine")))):
        assert options["grpc.http2.ping_timeout_ms"] == options["grpc.keepalive_timeout_ms"]


async def test_fact_13_a_second_server_on_the_port_fails_to_start() -> None:
    async with ping_mesh() as mesh:
        port = int(mesh.server.address.rpartition(":")[2])
        with pytest.raises(RuntimeError):
            async with serving("trading-engine", PingServicer(), grpc_port=port):
                pass
        assert await mesh.call("Unary")


async def test_fact_15_clients_that_ping_are_tolerated() -> None:
    options = dict(server_options(settings("trading-engine")))
    (interval,) = [name for name in options if "ping_interval" in name]
    assert options[interval] <= dict(channel_options())["grpc.keepalive_time_ms"], "our own clients ping that often"

    async def lives(**changed: Any) -> bool:
        """A long call of a client that pings each tenth of a second."""
        server = grpc.aio.server(options=list((options | changed).items()))
        ping_pb2_grpc.add_PingServiceServicer_to_server(Sleeper(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pinging = [
            ("grpc.keepalive_time_ms", 100),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_time_between_pings_ms", 50),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=pinging) as channel:
                await ping_pb2_grpc.PingServiceStub(channel).Unary(Request(), timeout=9)
        except grpc.aio.AioRpcError:
            return False
        finally:
            await server.stop(None)
        return True

    class Sleeper(ping_pb2_grpc.PingServiceServicer):
        async def Unary(self, request: Any, context: Any) -> Any:
            await asyncio.sleep(6)
            return Response()

    assert await asyncio.gather(lives(**{interval: 50}), lives(**{interval: 300_000})) == [True, False]


def test_fact_16_the_transports_limit_stands_above_ours() -> None:
    configured = settings("trading-engine", max_message_bytes=3 << 20)
    options = dict(server_options(configured))
    assert options["grpc.max_receive_message_length"] == 4 * (3 << 20)


async def test_a_burst_that_a_busy_loop_has_to_leave_waiting_is_answered_to_the_last_call(mesh: PingMesh) -> None:
    with grpc.insecure_channel(mesh.server.address) as channel:  # not of this loop, which stands still meanwhile
        unary = ping_pb2_grpc.PingServiceStub(channel).Unary
        calls = [unary.future(Request(), metadata=mesh.metadata, timeout=60) for _ in range(2500)]
        time.sleep(0.5)  # noqa: ASYNC251 - that is the point
        statuses = Counter(await asyncio.to_thread(lambda: [call.code() for call in calls]))
    assert statuses == {grpc.StatusCode.OK: 2500}


async def test_fact_8_a_deadline_reaches_what_is_called_downstream_less_a_margin() -> None:
    leaf = PingServicer()
    async with ping_mesh(leaf) as mesh:

        class Relay(PingServicer):
            async def Unary(self, request: Any, context: Any) -> Any:
                stub = relay.resources.channels.stub(ping_pb2_grpc.PingServiceStub, "trading-engine")
                return await stub.Change(Request())

        async with (
            serving(
                "market-data",
                Relay(),
                auth_address=mesh.server.settings.auth_address,
                trading_address=mesh.server.address,
            ) as relay,
            grpc.aio.insecure_channel(relay.address) as channel,
        ):
            stub = ping_pb2_grpc.PingServiceStub(channel)
            for sent, at_least in ((1.0, 0.7), (None, 1.5)):
                await stub.Unary(Request(), metadata=mesh.metadata, timeout=sent)
                remaining = leaf.remaining[-1]
                assert remaining is not None
                assert at_least < remaining < 0.985 * (sent or 2.0)


async def test_fact_3_an_unknown_method_is_no_surprise_to_the_chain(mesh: PingMesh) -> None:
    call = mesh.channel.unary_unary("/no.such.Service/Method")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(b"", timeout=5)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_fact_12_a_stream_that_drains_says_goodbye_and_ends_well_within_the_grace() -> None:
    class Polite(PingServicer):
        async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
            draining = asyncio.Event()
            current_call().on_drain(draining.set)
            yield Response(text="hello")
            await draining.wait()
            yield Response(text="goodbye")

    async with ping_mesh(Polite(), drain_grace_s=15, shutdown_grace_s=15) as mesh:
        call = mesh.begin("ServerStream", timeout=None)
        assert (await call.read()).text == "hello"
        began = asyncio.get_running_loop().time()
        stopping = asyncio.ensure_future(mesh.server.stop())
        assert (await call.read()).text == "goodbye"
        assert await call.read() is grpc.aio.EOF
        await stopping
        assert asyncio.get_running_loop().time() - began < 10


async def test_fact_1_health_watch_streams_through_the_chain(mesh: PingMesh) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    watch = health_pb2_grpc.HealthStub(mesh.channel).Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
