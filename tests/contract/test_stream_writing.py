"""A stream that ends while its client writes is known by its own status."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from aac_grpc.client.writing import write

METHOD = "/test.Service/Refuse"
TRIES = 200


class Refusing(grpc.GenericRpcHandler):
    """Ends each call at once."""

    def service(self, details: Any) -> Any:
        async def refuse(requests: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come again")

        return grpc.stream_stream_rpc_method_handler(refuse)


@pytest.fixture
async def channel() -> AsyncIterator[aio.Channel]:
    server = aio.server()
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def statuses(channel: aio.Channel, send: Callable[[Any, bytes], Awaitable[None]]) -> Counter[str]:
    """How calls end whose client writes until it can't."""
    found: Counter[str] = Counter()
    for _ in range(TRIES):
        call: Any = channel.stream_stream(METHOD)()
        with contextlib.suppress(asyncio.InvalidStateError, aio.AioRpcError):
            for _ in range(3):
                await send(call, bytes(1000))
        found[f"{(await call.code()).name} {await call.details()}"] += 1
    return found


async def test_a_call_that_ends_while_its_client_writes_keeps_its_status(channel: aio.Channel) -> None:
    assert await statuses(channel, write) == {"UNAVAILABLE come again": TRIES}


async def test_grpc_s_own_write_loses_it(channel: aio.Channel) -> None:
    """The trap: once this fails, `aac_grpc.client.writing` is not needed any more."""
    assert (await statuses(channel, lambda call, message: call.write(message)))["INTERNAL Internal error from Core"] > 0
