"""Messages a second into Kafka: our publisher beside the ancestor's producer, before and after its tuning."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median

from aiokafka import AIOKafkaProducer

from aac_grpc.common.events import EventPublisher
from aac_grpc.common.topics import Topic
from bench.mesh.backends import backends
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.report import Row

TOPIC = "aac.bench.v1"
CALLERS = 50
KEYS = 500
VALUE = (b'{"order_id":"ord-0000000000","symbol":"GOOG","side":"BUY","price":"570.12","quantity":"100"}' * 4)[:350]
MESSAGES, QUICK_MESSAGES = 6_000, 1_500
"""Of each run."""
WHAT = (
    f"{CALLERS} callers in one process, each of which publishes a message of {len(VALUE)} bytes under one of {KEYS}"
    " keys and waits until Kafka has it; one topic of six partitions, acks=all on all sides; real Kafka, one broker"
)
Publish = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one run came to.

    Attributes:
        rate: Messages a second.
        cpu: CPU seconds of this process for each.
    """

    rate: float
    cpu: float


async def measure_kafka(options: Options) -> AsyncIterator[Row]:
    """All three producers by turns."""
    messages, rounds = options.pick(MESSAGES, QUICK_MESSAGES), options.pick(PAIRS, QUICK_PAIRS)
    async with backends("KAFKA_BOOTSTRAP_SERVERS") as urls, _producers(urls["KAFKA_BOOTSTRAP_SERVERS"]) as producers:
        runs = await by_turns({name: run(publish, messages) for name, publish in producers.items()}, rounds)
    for name, goal, how in (
        ("before", ">= 1.35", "one message a batch, uncompressed, as the ancestor was before its tuning"),
        ("after", ">= 1.0", "batches of 16 KB, lz4, as the ancestor was after it"),
    ):
        theirs, ours = (median(one[side].cpu for one in runs) * 1e6 for side in (name, "ours"))
        yield compare(
            f"targets.kafka_vs_ancestor_{name}",
            [(one[name].rate, one["ours"].rate) for one in runs],
            "messages/s",
            goal=goal,
            detail=f"aiokafka, {how}; CPU of the process theirs / ours {theirs:.0f} / {ours:.0f} us a message;"
            f" {messages:,} messages each; {WHAT}",
        )


def run(publish: Publish, messages: int) -> Callable[[], Awaitable[Throughput]]:
    """Publishes so many messages."""

    async def measure() -> Throughput:
        left = iter(range(messages))
        began, cpu = time.perf_counter(), time.process_time()

        async def caller() -> None:
            for number in left:
                await publish(f"key-{number % KEYS}")

        async with asyncio.TaskGroup() as group:
            for _ in itertools.repeat(None, CALLERS):
                group.create_task(caller())
        return Throughput(messages / (time.perf_counter() - began), (time.process_time() - cpu) / messages)

    return measure


@asynccontextmanager
async def _producers(servers: str) -> AsyncIterator[dict[str, Publish]]:
    async with AsyncExitStack() as stack:
        publisher = EventPublisher(servers, topics=[Topic(TOPIC)])
        await publisher.start()
        stack.push_async_callback(publisher.stop)
        await publisher.ready()
        # A batch takes what fits: two messages never do.
        before = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=len(VALUE) + 100)
        after = AIOKafkaProducer(
            bootstrap_servers=servers, acks="all", max_batch_size=16_384, linger_ms=2, compression_type="lz4"
        )
        for one in (before, after):
            await stack.enter_async_context(one)
        yield {
            "before": lambda key: before.send_and_wait(TOPIC, VALUE, key=key.encode()),
            "after": lambda key: after.send_and_wait(TOPIC, VALUE, key=key.encode()),
            "ours": lambda key: publisher.publish(TOPIC, key, VALUE),
        }
