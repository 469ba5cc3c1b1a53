"""Callers who begin a call and never send its message: gRPC holds them before any of the base's limits."""

import asyncio
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import AacError, DeadlineExceeded, Draining, Overloaded, from_rpc_error
from tests.support.mesh import PingMesh, eventually, ping_mesh
from tests.support.ping import SERVICE

WAIT_FOR_MESSAGE = pytest.mark.parametrize("method", ["Unary", "ServerStream"])


def half_open(mesh: PingMesh, method: str = "Unary") -> Any:
    """A call of a method that takes one message, of which only the headers are sent."""
    call = mesh.channel.stream_stream(f"/{SERVICE}/{method}")(metadata=(("x-request-id", "mine"),))
    # It opens with the first use.
    call.reading = asyncio.ensure_future(call.read())
    call.reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    return call


async def failure(call: Any) -> AacError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async with asyncio.timeout(10):
            await call.reading
    return from_rpc_error(failed.value)


@WAIT_FOR_MESSAGE
async def test_a_call_whose_message_does_not_come_is_ended_with_a_reason(method: str) -> None:
    async with ping_mesh(message_timeout_s=0.2) as mesh:
        error = await failure(half_open(mesh, method))
        assert type(error) is DeadlineExceeded
        assert error.request_id == "mine"
        assert await mesh.call(method)


@WAIT_FOR_MESSAGE
async def test_shutdown_does_not_wait_for_messages(method: str) -> None:
    async with ping_mesh(message_timeout_s=60, shutdown_grace_s=60) as mesh:
        call = half_open(mesh, method)
        await eventually(lambda: len(mesh.server.half_open))
        async with asyncio.timeout(15):
            await mesh.server.stop()
        assert type(await failure(call)) is Draining


async def test_many_of_them_push_each_other_out_and_nobody_else() -> None:
    async with ping_mesh(message_timeout_s=60, max_half_open_calls=2) as mesh:
        calls = [half_open(mesh)]
        for number in range(1, 6):
            await eventually(lambda number=number: len(mesh.server.half_open) == min(number, 2))
            calls.append(half_open(mesh))
        for call in calls[:4]:
            assert type(await failure(call)) is Overloaded
        assert await mesh.call("Unary")
        assert not calls[-1].done()


async def test_whoever_ends_a_half_open_call_leaves_nothing_behind() -> None:
    async with ping_mesh(message_timeout_s=60) as mesh:
        calls = [half_open(mesh) for _ in range(20)]
        await eventually(lambda: len(mesh.server.half_open) == 20)
        for call in calls:
            call.cancel()
        await eventually(lambda: not len(mesh.server.half_open))
        assert await mesh.call("Unary")


async def test_calls_whose_messages_came_are_held_no_longer() -> None:
    async with ping_mesh(message_timeout_s=0.2) as mesh:
        for method in ("Unary", "ServerStream", "ClientStream", "Bidi"):
            assert await mesh.call(method)
        assert not len(mesh.server.half_open)
