"""Streams on a real gRPC connection: a reader that stops costs no memory, and learns what it missed."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import psutil
import pytest
from aac.event.v1.event_pb2 import Event
from aac.gateway.v1.gateway_pb2 import WatchEventsResponse
from aac.type.v1 import stream_pb2

from aac_grpc.common.streams import Entry, EventTopic, Position, StreamSession, frame

METHOD = "/test.Streams/Watch"


class Streams(grpc.GenericRpcHandler):
    """Streams one topic to whoever asks."""

    def __init__(self, topic: EventTopic) -> None:
        self.topic = topic
        self.sessions: list[StreamSession] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_stream_rpc_method_handler(self._watch)

    async def _watch(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        session = StreamSession(heartbeat=1)
        self.sessions.append(session)
        session.subscribe(self.topic, Position(1, 0))
        async for encoded in session.frames():
            yield encoded.data


@pytest.fixture
async def streams() -> Streams:
    return Streams(EventTopic(stream_pb2.TOPIC_EVENTS, "key", max_entries=4096, max_bytes=1 << 20))


@pytest.fixture
async def address(streams: Streams) -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([streams])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def entries(first: int, count: int) -> list[Entry]:
    return [
        Entry(number, frame(2, Event(sequence=number, type="x" * 200).SerializeToString()))
        for number in range(first, first + count)
    ]


async def follow(channel: grpc.aio.Channel) -> AsyncIterator[WatchEventsResponse]:
    call = channel.unary_stream(METHOD, response_deserializer=WatchEventsResponse.FromString)(b"")
    async for message in call:
        yield message


async def test_a_reader_that_stops_costs_no_memory_and_then_gets_a_gap(streams: Streams, address: str) -> None:
    topic = streams.topic
    async with grpc.aio.insecure_channel(address) as channel:
        messages = follow(channel)
        topic.extend(entries(1, 10))
        last = (await anext(messages)).header.sequence
        await asyncio.sleep(0.2)
        before = psutil.Process().memory_info().rss
        for first in range(11, 300_000, 1000):  # 65 MB
            topic.extend(entries(first, 1000))
            await asyncio.sleep(0.001)
        assert psutil.Process().memory_info().rss - before < 24 << 20
        gaps = 0
        async with asyncio.timeout(30):
            while last < topic.sequence:
                message = await anext(messages)
                header = message.header
                if header.kind == stream_pb2.FRAME_KIND_GAP:
                    assert header.gap_first == last + 1
                    gaps += 1
                    last = header.gap_last
                elif header.kind == stream_pb2.FRAME_KIND_UPDATE:
                    assert [event.sequence for event in message.events] == list(range(last + 1, header.sequence + 1))
                    last = header.sequence
        assert gaps > 0
        await messages.aclose()


async def test_a_cancelled_stream_leaves_nothing_behind(streams: Streams, address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(20):
            call = channel.unary_stream(METHOD, response_deserializer=WatchEventsResponse.FromString)(b"")
            streams.topic.extend(entries(streams.topic.sequence + 1, 1))
            await call.read()
            call.cancel()
        async with asyncio.timeout(5):
            while streams.topic.readers:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)


async def test_a_drained_stream_ends_with_ok_and_a_point_from_which_the_next_one_goes_on(
    streams: Streams, address: str
) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(METHOD, response_deserializer=WatchEventsResponse.FromString)(b"")
        streams.topic.extend(entries(1, 3))
        await call.read()
        streams.sessions[0].drain()
        farewell = await call.read()
        assert farewell.header.kind == stream_pb2.FRAME_KIND_DRAINING
        assert [(point.key, point.sequence) for point in farewell.header.resume] == [("key", 3)]
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
