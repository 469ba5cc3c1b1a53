"""Reading the engine's streams in tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import FRAME_KIND_UPDATE

from tests.integration.services import Caller


class Reader:
    """Reads frames of one stream, heartbeats left out."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def frame(self) -> Any:
        async with asyncio.timeout(10):
            while True:
                response = await self.call.read()
                if response.header.kind != stream_pb2.FRAME_KIND_HEARTBEAT:
                    return response

    async def orders_until(self, sequence: int) -> list[tuple[int, str]]:
        """States and open quantities up to a sequence; checks that no number is missing."""
        seen: list[tuple[int, str]] = []
        while True:
            frame = await self.frame()
            assert frame.header.kind == FRAME_KIND_UPDATE
            seen += [(order.state, order.open_quantity) for order in frame.orders]
            if frame.header.sequence >= sequence:
                return seen


@asynccontextmanager
async def watching(caller: Caller, request: Any, method: str = "WatchOrders") -> AsyncIterator[Reader]:
    call = caller.stream(method, request)
    try:
        yield Reader(call)
    finally:
        call.cancel()


def resume(frame: Any) -> stream_pb2.ResumePoint:
    header = frame.header
    return stream_pb2.ResumePoint(key=header.key, topic=header.topic, epoch=header.epoch, sequence=header.sequence)
