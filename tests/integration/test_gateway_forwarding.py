"""What the gateway forwards arrives as it was sent, in all four arities, in both directions."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest
from aac.marketdata.v1.marketdata_pb2 import StreamResponse
from aac.type.v1 import stream_pb2
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from aac_grpc.client.errors import DependencyUnavailable, MessageTooLarge, UnknownMethod, from_rpc_error
from tests.integration.odd_service import (
    CHAT,
    HEADED,
    PACKAGE,
    PUSH,
    SERVICE,
    UNARY,
    WATCH,
    OddService,
    gateway_to,
    odd_backend,
)

pytestmark = pytest.mark.timeout(60)


class Caller:
    """A caller of the gateway in bare bytes."""

    def __init__(self, channel: aio.Channel) -> None:
        self.unary = channel.unary_unary(UNARY)
        self.watch = channel.unary_stream(WATCH)
        self.push = channel.stream_unary(PUSH)
        self.chat = channel.stream_stream(CHAT)
        self.headed = channel.unary_stream(HEADED)
        self.channel = channel


@pytest.fixture(scope="module")
async def backend() -> AsyncIterator[tuple[OddService, str]]:
    async with odd_backend() as (odd, _, address):
        yield odd, address


@pytest.fixture
def odd(backend: tuple[OddService, str]) -> OddService:
    backend[0].seen.clear()
    backend[0].began = ""
    return backend[0]


@pytest.fixture(scope="module")
async def caller(backend: tuple[OddService, str]) -> AsyncIterator[Caller]:
    async with (
        gateway_to(backend[1]) as gateway,
        aio.insecure_channel(gateway.address, options=[("grpc.max_send_message_length", -1)]) as channel,
    ):
        yield Caller(channel)


async def eventually(condition: Any, within: float = 3.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def trailing(error: aio.AioRpcError) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in error.trailing_metadata() or ()]


async def test_a_unary_call_keeps_message_metadata_and_trailers(caller: Caller, odd: OddService) -> None:
    call = caller.unary(b"hi", metadata=(("x-a", "1"), ("x-b-bin", b"\0\xff")), timeout=5)
    assert await call == b"hi"
    assert ("x-initial", "1") in [*(await call.initial_metadata())]
    assert {("x-trailer", "ok"), ("x-bytes-bin", b"\0\xff")} <= {*(await call.trailing_metadata())}
    assert {("x-a", "1"), ("x-b-bin", b"\0\xff")} <= {*odd.metadata}
    assert odd.deadline is not None
    assert 3 < odd.deadline < 5.2  # gRPC rounds timeouts up, and reads two clocks to say what remains


async def test_repeated_and_binary_metadata_arrive_in_their_order(caller: Caller, odd: OddService) -> None:
    sent = (("x-a", "1"), ("x-b-bin", b"\0\xff"), ("x-a", "2"), ("x-b-bin", b""), ("x-a", "3, 4"))
    await caller.unary(b"hi", metadata=sent)
    for name in ("x-a", "x-b-bin"):
        assert [value for key, value in odd.metadata if key == name] == [value for key, value in sent if key == name]


async def test_a_call_without_a_deadline_gets_none(caller: Caller, odd: OddService) -> None:
    await caller.unary(b"hi")
    assert odd.deadline is None


async def test_a_refusal_keeps_code_message_details_and_repeated_trailers(caller: Caller) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"refuse")
    error = from_rpc_error(refused.value)
    assert (error.code, error.reason, error.metadata["id"]) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "x")
    assert [value for key, value in trailing(refused.value) if key == "x-trailer"] == ["1", "2"]


async def test_a_status_without_details_keeps_its_code_and_text_and_gets_details(caller: Caller) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"bare")
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.DATA_LOSS, "nö €")
    assert from_rpc_error(refused.value).request_id


async def test_a_call_that_the_services_grpc_turns_away_is_not_taken_for_the_callers_own_cancellation(
    caller: Caller,
) -> None:
    with pytest.raises(aio.AioRpcError) as failed:
        await caller.unary(b"turn away")
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(failed.value).request_id


@pytest.mark.parametrize("request_id", ["mine-1", None])
async def test_every_reply_names_the_request(caller: Caller, odd: OddService, request_id: str | None) -> None:
    metadata = (("x-request-id", request_id),) if request_id else ()
    call = caller.unary(b"hi", metadata=metadata)
    await call
    named = [value for key, value in await call.trailing_metadata() if key == "x-request-id"]
    assert len(named) == 1
    assert ("x-request-id", named[0]) in odd.metadata
    assert request_id in (None, named[0])
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"refuse", metadata=metadata)
    assert len([1 for key, _ in trailing(refused.value) if key == "x-request-id"]) == 1


async def test_identity_headers_from_outside_are_dropped(caller: Caller, odd: OddService) -> None:
    forged = ("x-aac-service", "x-aac-forwarder", "x-aac-client-address", "x-aac-service-secret", "x-api-key")
    outside = [(name, "risk") for name in (*forged, "x-kept")]
    await caller.unary(b"hi", metadata=[*outside, ("x-aac-forwarder-bin", b"t")])
    keys = {key for key, _ in odd.metadata}
    assert "x-kept" in keys
    assert not [key for key in keys if key in forged or key.startswith("x-aac-")]


async def test_a_deadline_ends_the_call_at_the_service_too(caller: Caller, odd: OddService) -> None:
    began = time.monotonic()
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"sleep", timeout=0.4)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 15
    await eventually(lambda: "unary cancelled" in odd.seen)


@pytest.mark.parametrize("who", ["unary", "watch", "push", "chat"])
async def test_a_cancelled_call_is_cancelled_at_the_service(caller: Caller, odd: OddService, who: str) -> None:
    reached = {"push": b"stand"}.get(who, b"sleep")
    call = getattr(caller, who)(*((reached,) if who in ("unary", "watch") else ()))
    if who in ("push", "chat"):
        await call.write(reached)
    await eventually(lambda: odd.began == who)
    call.cancel()
    await eventually(lambda: f"{who} cancelled" in odd.seen)


async def test_initial_metadata_come_before_the_first_message(caller: Caller) -> None:
    for stream in (caller.watch(b"sleep"), caller.chat()):
        metadata = await asyncio.wait_for(stream.initial_metadata(), 5)
        assert ("x-early", "1") in [*metadata]
        stream.cancel()


async def test_a_stream_of_responses_arrives_whole(caller: Caller) -> None:
    watch = caller.watch(b"50 10")
    assert [message async for message in watch] == [b"x" * 10] * 50
    assert ("x-trailer", "ok") in [*(await watch.trailing_metadata())]


async def test_half_close_reaches_the_service(caller: Caller, odd: OddService) -> None:
    odd.received = 0

    async def three() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"a"

    assert await caller.push(three()) == b"3"
    chat = caller.chat()
    await chat.write(b"1")
    assert await chat.read() == b"1"
    await chat.done_writing()
    assert await chat.read() == b"after half-close"
    assert await chat.read() is aio.EOF
    assert await chat.code() is grpc.StatusCode.OK


async def test_a_service_may_answer_before_the_caller_has_ended(caller: Caller) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"stop"
        await asyncio.sleep(20)

    assert await asyncio.wait_for(caller.push(endless()), 3) == b"stopped"


async def test_a_service_may_end_a_stream_before_the_caller_does(caller: Caller) -> None:
    chat = caller.chat()
    await chat.write(b"1")
    assert await chat.read() == b"1"
    await chat.write(b"stop")
    assert await chat.read() is aio.EOF
    assert await chat.code() is grpc.StatusCode.OK


async def test_a_refused_stream_of_requests_ends_with_the_services_status(caller: Caller) -> None:
    push = caller.push()
    await push.write(b"refuse")
    with pytest.raises(aio.AioRpcError) as refused:
        await push
    assert from_rpc_error(refused.value).metadata["id"] == "z"


async def test_a_stream_that_the_service_refuses_ends_with_its_status(caller: Caller) -> None:
    chat = caller.chat()
    await chat.write(b"1")
    assert await chat.read() == b"1"
    await chat.write(b"refuse")
    with pytest.raises(aio.AioRpcError) as refused:
        await chat.read()
    assert from_rpc_error(refused.value).metadata["id"] == "y"


async def test_a_message_over_our_limit_is_refused_with_details(caller: Caller) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"x" * 1_500_000)
    error = from_rpc_error(refused.value)
    assert isinstance(error, MessageTooLarge)
    assert error.metadata == {"actual": "1500000", "limit": str(1 << 20)}
    chat = caller.chat()
    await chat.write(b"x" * 1_500_000)
    with pytest.raises(aio.AioRpcError) as refused:
        await chat.read()
    assert isinstance(from_rpc_error(refused.value), MessageTooLarge)


async def test_a_message_over_the_transports_limit_is_refused(caller: Caller) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"x" * 5_000_000)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_answer_over_the_transports_limit_is_refused_with_details(caller: Caller) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.unary(b"large")
    error = from_rpc_error(refused.value)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.request_id


@pytest.mark.parametrize(
    "path", [f"/{SERVICE}/Nope", f"/{PACKAGE}.Nope/Nope", "/aac.trading.v1.VenueService/CreateVenue"]
)
async def test_an_unknown_and_an_internal_method_answer_alike(caller: Caller, path: str) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await caller.channel.unary_unary(path)(b"")
    error = from_rpc_error(refused.value)
    assert isinstance(error, UnknownMethod)
    assert error.metadata["method"] == path
    assert error.request_id


async def test_a_stopped_reader_stops_the_service_and_not_the_memory(caller: Caller, odd: OddService) -> None:
    process = psutil.Process()
    odd.written = 0
    before = process.memory_info().rss
    watch = caller.watch(b"20000 50000")  # 1 GB
    await watch.read()
    await asyncio.sleep(2)
    assert odd.written < 2000
    assert process.memory_info().rss - before < 64 << 20
    watch.cancel()


async def test_a_stopped_service_stops_the_sender_and_not_the_memory(caller: Caller) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    push = caller.push()
    await push.write(b"stand")

    async def send() -> None:
        for _ in range(20_000):
            await push.write(b"x" * 50_000)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send(), 2)
    assert process.memory_info().rss - before < 64 << 20
    push.cancel()


async def test_an_unreachable_service_is_named() -> None:
    async with gateway_to("127.0.0.1:1") as gateway, aio.insecure_channel(gateway.address) as channel:
        caller = Caller(channel)
        with pytest.raises(aio.AioRpcError) as refused:
            await caller.unary(b"hi")
        error = from_rpc_error(refused.value)
        assert isinstance(error, DependencyUnavailable)
        assert error.metadata == {"dependency": "trading-engine"}
        with pytest.raises(aio.AioRpcError) as refused:
            await caller.watch(b"1 1").read()
        assert isinstance(from_rpc_error(refused.value), DependencyUnavailable)


async def test_a_service_that_comes_back_is_found_at_once() -> None:
    async with (
        odd_backend() as (_, server, address),
        gateway_to(address) as gateway,
        aio.insecure_channel(gateway.address) as channel,
    ):
        caller = Caller(channel)
        assert await caller.unary(b"hi") == b"hi"
        await server.stop(None)
        with pytest.raises(aio.AioRpcError):
            await caller.unary(b"hi")
        async with odd_backend(int(address.rpartition(":")[2])):
            began = time.monotonic()
            while True:
                try:
                    assert await caller.unary(b"hi") == b"hi"
                    break
                except aio.AioRpcError:
                    assert time.monotonic() - began < 15
                    await asyncio.sleep(0.1)


async def test_shutdown_says_draining_on_our_streams_and_ends_the_others_with_a_reason() -> None:
    async with (
        odd_backend() as (_, _, address),
        gateway_to(address) as gateway,
        aio.insecure_channel(gateway.address) as channel,
    ):
        caller = Caller(channel)
        headed, watch = caller.headed(b""), caller.watch(b"sleep")
        assert await headed.read() == b""
        await watch.initial_metadata()
        stopping = asyncio.create_task(gateway.stop())
        frame: Any = await headed.read()
        assert StreamResponse.FromString(frame).header.kind == stream_pb2.FRAME_KIND_DRAINING
        assert await headed.read() is aio.EOF
        assert await headed.code() is grpc.StatusCode.OK
        with pytest.raises(aio.AioRpcError) as refused:
            await watch.read()
        assert from_rpc_error(refused.value).reason == "DRAINING"
        await stopping


async def test_shutdown_puts_nothing_into_streams_of_health_and_reflection() -> None:
    async with gateway_to("127.0.0.1:1") as gateway, aio.insecure_channel(gateway.address) as channel:
        health = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
        await reflection.write(ServerReflectionRequest(list_services="").SerializeToString())
        await reflection.read()
        stopping = asyncio.create_task(gateway.stop())
        told = [HealthCheckResponse.FromString(frame) async for frame in _until_the_end(health)]
        assert told[-1] == HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
        assert all(message in (told[-1], HealthCheckResponse(status=HealthCheckResponse.SERVING)) for message in told)
        assert [frame async for frame in _until_the_end(reflection)] == []
        await stopping


async def _until_the_end(stream: Any) -> AsyncIterator[bytes]:
    with contextlib.suppress(aio.AioRpcError):
        while (frame := await stream.read()) is not aio.EOF:
            yield frame
