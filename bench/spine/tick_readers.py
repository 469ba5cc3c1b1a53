"""`python -m bench.spine.tick_readers '{"address": ..., ...}'`: many readers of one market data stream each.

Prints "ready" once all are subscribed, then, when each has everything, what came. Frames are counted, not parsed
beyond their header: what is measured is the service, not this program.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import uvloop
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader

STREAM = "/aac.marketdata.v1.MarketDataService/Stream"
TOPICS = (stream_pb2.TOPIC_TRADES, stream_pb2.TOPIC_DEPTH)
GAP, SNAPSHOT, UPDATE = stream_pb2.FRAME_KIND_GAP, stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE
ITEM_STATUS = stream_pb2.FRAME_KIND_ITEM_STATUS


@dataclass(frozen=True, slots=True)
class Order:
    """What to read.

    Attributes:
        address: host:port of market-data or the gateway.
        token: Access token.
        readers: Streams.
        symbol: Instrument of the venue main.
        last: Last sequence of each topic, by topic.
        seconds: How long it may take.
    """

    address: str
    token: str
    readers: int
    symbol: str
    last: dict[str, int]
    seconds: float


@dataclass(slots=True)
class Tally:
    """What all readers got together.

    Attributes:
        ticks: Trades and changes of the book that came in updates.
        frames: Updates.
        bytes: Of the updates.
        gaps: Gaps that the service told of.
        first: When the first update came, on the performance counter.
        last: When the last one came.
    """

    ticks: int = 0
    frames: int = 0
    bytes: int = 0
    gaps: int = 0
    first: float = 0.0
    last: float = 0.0
    waiting: int = field(default=0)
    """Readers that are not subscribed yet."""


def header_of(data: bytes) -> StreamHeader:
    """Field 1 of a streamed response, which is always the first."""
    size, shift, at = 0, 0, 1
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return StreamHeader.FromString(data[at : at + size])
        shift += 7


async def read(call: Any, order: Order, tally: Tally, subscribed: asyncio.Event) -> None:
    """Reads one stream until it has every sequence of both topics."""
    items = [pb.Subscription(id=str(topic), symbol=order.symbol, topic=topic) for topic in TOPICS]
    await call.write(pb.StreamRequest(subscribe=items))
    at = dict.fromkeys(TOPICS, 0)
    answers = 0
    while any(at[topic] < order.last[str(topic)] for topic in TOPICS):
        data = await call.read()
        if data is grpc.aio.EOF:
            raise RuntimeError("the stream ended")
        header = header_of(data)
        if header.kind == UPDATE:
            now = time.perf_counter()
            tally.first = tally.first or now
            tally.last = now
            tally.ticks += header.sequence - at[header.topic]
            tally.frames += 1
            tally.bytes += len(data)
            at[header.topic] = header.sequence
        elif header.kind == ITEM_STATUS:
            if header.status.code:
                raise RuntimeError(f"the subscription was refused: {header.status.message}")
            answers += 1
            if answers == len(TOPICS):
                tally.waiting -= 1
                if not tally.waiting:
                    subscribed.set()
        elif header.kind in (GAP, SNAPSHOT):
            tally.gaps += header.kind == GAP
            at[header.topic] = header.sequence
    call.cancel()


async def main(order: Order) -> None:
    """Opens all streams, each on a connection of its own, and reads them to the end."""
    tally, subscribed = Tally(waiting=order.readers), asyncio.Event()
    metadata = (("authorization", f"Bearer {order.token}"),)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]
    async with AsyncExitStack() as stack, asyncio.timeout(order.seconds), asyncio.TaskGroup() as group:
        for _ in range(order.readers):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(order.address, options=options))
            call: grpc.aio.StreamStreamMultiCallable[pb.StreamRequest, bytes] = channel.stream_stream(
                STREAM, request_serializer=pb.StreamRequest.SerializeToString
            )
            group.create_task(read(call(metadata=metadata), order, tally, subscribed))
        await subscribed.wait()
        print("ready", flush=True)
    print(json.dumps(asdict(tally)), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Order(**json.loads(sys.argv[1]))))
