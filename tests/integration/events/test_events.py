"""Publishing to Kafka and following it: in order, with headers, and failing in time."""

import asyncio
from collections.abc import Mapping

import pytest
from aac.event.v1.event_pb2 import Event

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.events import EventPublisher, EventRejected, EventTail, OutgoingEvent, outgoing
from tests.integration.events.flow import Tail, event, reading


async def test_a_published_event_is_protobuf_with_headers_under_its_key(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([outgoing(event(1), topic)])
    async with reading(backends, topic) as tail:
        (one,) = await tail.read(1)
    assert Event.FromString(one.value) == event(1)
    assert one.key == "main/a"
    assert one.headers["event_id"] == "main/a-1"
    assert one.headers["type"] == "aac.test"
    assert one.headers["content-type"].startswith("application/protobuf")


async def test_a_large_batch_keeps_the_order_of_each_key(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    batch = [outgoing(event(number, f"main/{number % 7}"), topic) for number in range(20_000)]
    await publisher.publish_all(batch, timeout=30)
    async with reading(backends, topic) as tail:
        seen = await tail.read(len(batch))
    for key in range(7):
        mine = [one.headers["event_id"] for one in seen if one.key == f"main/{key}"]
        assert mine == [f"main/{key}-{number}" for number in range(key, 20_000, 7)]


async def test_a_message_that_kafka_never_takes_is_told_apart(publisher: EventPublisher, topic: str) -> None:
    with pytest.raises(EventRejected):
        await publisher.publish(topic, "a", b"x" * 2_000_000)
    await publisher.publish(topic, "a", b"x")


async def test_with_no_kafka_a_publisher_fails_at_its_deadline_and_then_fast() -> None:
    publisher = EventPublisher("127.0.0.1:1", topics=[])
    await publisher.start()
    loop = asyncio.get_running_loop()
    try:
        for _ in range(5):
            with pytest.raises(DependencyUnavailable):
                await publisher.publish("t", "a", b"x", timeout=0.1)
        began = loop.time()
        with pytest.raises(DependencyUnavailable):
            await publisher.publish("t", "a", b"x", timeout=5)
        assert loop.time() - began < 2
    finally:
        await publisher.stop(timeout=0.1)


async def test_a_tail_goes_on_from_the_offset_that_it_is_given(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([outgoing(event(number), topic) for number in range(10)])
    async with reading(backends, topic) as tail:
        seen = await tail.read(10)
    partition = seen[0].partition
    again = EventTail(backends["KAFKA_BOOTSTRAP_SERVERS"], [topic], start={(topic, partition): 7})
    points = await again.open()
    try:
        assert points[topic, partition] == (0, 7)
        assert [one.offset for one in await Tail(again).read(3)] == [7, 8, 9]
    finally:
        await again.close()


async def test_a_batch_may_hold_raw_messages_for_several_topics(
    backends: Mapping[str, str], publisher: EventPublisher, topic: str
) -> None:
    await publisher.publish_all([OutgoingEvent(topic, "a", b"1"), OutgoingEvent(f"{topic}.dlq", "a", b"2")])
    async with reading(backends, topic, f"{topic}.dlq") as tail:
        assert {one.value for one in await tail.read(2)} == {b"1", b"2"}
