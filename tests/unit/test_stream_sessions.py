"""What a stream says beside its events: statuses, heartbeats, conflation, draining, long snapshots."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aac.event.v1.event_pb2 import Event
from aac.gateway.v1.gateway_pb2 import WatchEventsResponse
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint

from aac_grpc.client.errors import InvalidField
from aac_grpc.common.streams import (
    MAX_FRAME_BYTES,
    MAX_FRAME_ITEMS,
    Encoded,
    Entry,
    EventTopic,
    Position,
    SequenceError,
    Snapshot,
    StateTopic,
    StreamSession,
    events,
    frame,
    position,
    subscriptions,
)


def entries(first: int, last: int, size: int = 0) -> list[Entry]:
    """Events first..last, tagged by their parity."""
    return [
        Entry(number, frame(2, Event(sequence=number, type="x" * size).SerializeToString()), tag=number % 2)
        for number in range(first, last + 1)
    ]


def parse(encoded: Encoded) -> WatchEventsResponse:
    return WatchEventsResponse.FromString(encoded.data)


def sequences(message: WatchEventsResponse) -> list[int]:
    return [event.sequence for event in message.events]


@asynccontextmanager
async def reading(session: StreamSession) -> AsyncIterator["Frames"]:
    frames = Frames(session)
    try:
        yield frames
    finally:
        await frames.generator.aclose()


class Frames:
    """Reads a session's frames one by one."""

    def __init__(self, session: StreamSession) -> None:
        self.generator = session.frames()

    async def next(self) -> WatchEventsResponse:
        return parse(await asyncio.wait_for(anext(self.generator), 2))


def trades(**options: object) -> EventTopic:
    return EventTopic(stream_pb2.TOPIC_TRADES, "GOOG", venue="main", epoch=7, **options)  # type: ignore[arg-type]


async def test_the_first_event_leaves_at_once_and_followers_gather_while_it_is_written() -> None:
    topic, session = trades(), StreamSession()
    session.subscribe(topic)
    async with reading(session) as frames:
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT
        topic.extend(entries(1, 1))
        assert sequences(await frames.next()) == [1]
        for number in range(2, 7):
            topic.extend(entries(number, number))
        message = await frames.next()
        assert sequences(message) == [2, 3, 4, 5, 6]
        assert (message.header.epoch, message.header.sequence, message.header.key) == (7, 6, "GOOG")


async def test_all_readers_at_one_point_share_the_same_bytes() -> None:
    topic = trades()
    sessions = [StreamSession() for _ in range(3)]
    topic.extend(entries(1, 5))
    got = []
    for session in sessions:
        session.subscribe(topic, Position(7, 0))
        async with asyncio.timeout(2):
            generator = session.frames()
            got.append(await anext(generator))
            await generator.aclose()
    assert got[0].data is got[1].data is got[2].data
    assert got[0].items == 5


async def test_a_frame_holds_at_most_its_items_and_bytes() -> None:
    topic = trades(max_entries=10_000, max_bytes=64 << 20)
    topic.extend(entries(1, MAX_FRAME_ITEMS + 1))
    topic.extend(entries(MAX_FRAME_ITEMS + 2, MAX_FRAME_ITEMS + 9, size=MAX_FRAME_BYTES // 2))
    topic.extend(entries(MAX_FRAME_ITEMS + 10, MAX_FRAME_ITEMS + 10, size=MAX_FRAME_BYTES * 2))
    session = StreamSession()
    session.subscribe(topic, Position(7, 0))
    seen: list[int] = []
    async with reading(session) as frames:
        while len(seen) < MAX_FRAME_ITEMS + 10:
            message = await frames.next()
            assert len(message.events) <= MAX_FRAME_ITEMS
            assert message.ByteSize() <= MAX_FRAME_BYTES + 200 or len(message.events) == 1
            seen.extend(sequences(message))
    assert seen == list(range(1, MAX_FRAME_ITEMS + 11))


async def test_a_slow_readers_states_are_overtaken_by_the_latest_and_counted() -> None:
    topic = StateTopic(stream_pb2.TOPIC_QUOTES, "GOOG")
    session = StreamSession(heartbeat=0.05)
    session.subscribe(topic)
    async with reading(session) as frames:
        topic.publish(1, [entries(1, 1)[0].data])
        assert sequences(await frames.next()) == [1]
        for number in range(2, 10):
            topic.publish(number, [entries(number, number)[0].data])
        message = await frames.next()
        assert sequences(message) == [9]
        assert message.header.kind == stream_pb2.FRAME_KIND_SNAPSHOT
        beat = await frames.next()
        assert beat.header.kind == stream_pb2.FRAME_KIND_HEARTBEAT
        assert beat.header.conflated == 7


async def test_a_reader_that_has_the_latest_state_gets_it_no_second_time() -> None:
    topic = StateTopic(stream_pb2.TOPIC_QUOTES, "GOOG", epoch=3)
    topic.publish(5, [entries(5, 5)[0].data])
    session = StreamSession(heartbeat=0.05)
    session.subscribe(topic, Position(3, 5))
    async with reading(session) as frames:
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT


async def test_a_reader_is_sent_no_state_that_is_older_than_what_another_instance_gave_it() -> None:
    topic = StateTopic(stream_pb2.TOPIC_QUOTES, "GOOG", epoch=3)
    topic.publish(5, [entries(5, 5)[0].data])
    session = StreamSession(heartbeat=0.05)
    session.subscribe(topic, Position(3, 7))
    async with reading(session) as frames:
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT
        topic.publish(6, [entries(6, 6)[0].data])
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT
        topic.publish(8, [entries(8, 8)[0].data])
        while (message := await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            pass
        assert sequences(message) == [8]


async def test_a_reader_that_claims_a_state_which_never_comes_gets_the_one_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "AHEAD_PATIENCE_S", 0.1)
    topic = StateTopic(stream_pb2.TOPIC_QUOTES, "GOOG", epoch=3)
    topic.publish(5, [entries(5, 5)[0].data])
    session = StreamSession(heartbeat=0.06)
    session.subscribe(topic, Position(3, 10**12))
    async with reading(session) as frames:
        while (message := await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            pass
        assert sequences(message) == [5]


async def test_a_reader_over_the_topics_lag_gets_one_full_state_instead_of_the_deltas() -> None:
    topic = trades(max_lag=10, snapshot=lambda: Snapshot(topic.sequence, [entries(1, 1)[0].data]))
    session = StreamSession()
    session.subscribe(topic)
    async with reading(session) as frames:
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_SNAPSHOT
        topic.extend(entries(1, 11))
        gap = (await frames.next()).header
        assert (gap.kind, gap.gap_first, gap.gap_last) == (stream_pb2.FRAME_KIND_GAP, 1, 11)
        snapshot = (await frames.next()).header
        assert (snapshot.kind, snapshot.sequence) == (stream_pb2.FRAME_KIND_SNAPSHOT, 11)
        topic.extend(entries(12, 21))
        assert sequences(await frames.next()) == list(range(12, 22))


async def test_another_epoch_begins_with_a_gap_and_a_snapshot() -> None:
    topic = trades(sequence=40, snapshot=lambda: Snapshot(topic.sequence, []))
    session = StreamSession()
    session.subscribe(topic, Position(6, 1000))
    async with reading(session) as frames:
        gap = (await frames.next()).header
        assert (gap.kind, gap.epoch, gap.gap_first, gap.gap_last) == (stream_pb2.FRAME_KIND_GAP, 7, 0, 0)
        snapshot = (await frames.next()).header
        assert (snapshot.kind, snapshot.epoch, snapshot.sequence) == (stream_pb2.FRAME_KIND_SNAPSHOT, 7, 40)


@pytest.mark.parametrize("resume", [None, Position(6, 1000)], ids=["it begins", "after a gap"])
async def test_a_reader_that_is_moved_to_another_topic_within_a_snapshot_gets_the_whole_of_the_next_one(
    resume: Position | None,
) -> None:
    state = [one.data for one in entries(1, MAX_FRAME_ITEMS + 5)]
    before = trades(sequence=40, snapshot=lambda: Snapshot(40, state))
    after = trades(sequence=40, snapshot=lambda: Snapshot(50, state))
    after.extend(entries(41, 50))
    session = StreamSession()
    subscription = session.subscribe(before, resume)
    async with reading(session) as frames:
        await frames.next()
        session.subscribe(after, subscription.position)
        session.unsubscribe(subscription)
        whole = [await frames.next() for _ in range(2 if resume is None else 3)]
    parts = [one for one in whole if one.header.kind == stream_pb2.FRAME_KIND_SNAPSHOT]
    assert sum(len(part.events) for part in parts) == len(state)
    assert (parts[-1].header.epoch, parts[-1].header.sequence) == (7, 50)


async def test_an_instance_that_lags_behind_its_reader_sends_nothing_twice() -> None:
    topic = trades(sequence=10)
    session = StreamSession()
    session.subscribe(topic, Position(7, 12))
    async with reading(session) as frames:
        topic.extend(entries(11, 14))
        assert sequences(await frames.next()) == [13, 14]


async def test_a_reader_that_claims_events_which_never_come_gets_a_gap_not_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "AHEAD_PATIENCE_S", 0.1)
    topic = trades(sequence=10)
    session = StreamSession(heartbeat=0.06)
    session.subscribe(topic, Position(7, 10**12))
    async with reading(session) as frames:
        while (message := await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            pass
        assert message.header.kind == stream_pb2.FRAME_KIND_GAP
        assert (message.header.gap_first, message.header.gap_last) == (11, 10**12)
        topic.extend(entries(11, 12))
        assert sequences(await frames.next()) == [11, 12]


async def test_a_filtered_reader_gets_what_it_asked_for_and_its_sequence_moves_on() -> None:
    topic = trades()
    session = StreamSession(heartbeat=0.1)
    session.subscribe(topic, Position(7, 0), accept=lambda tag: tag == 1)
    async with reading(session) as frames:
        topic.extend(entries(1, 6))
        message = await frames.next()
        assert (sequences(message), message.header.sequence) == ([1, 3, 5], 6)
        assert message.header.first_sequence == 1
        topic.extend(entries(7, 9))
        assert sequences(await frames.next()) == [7, 9]
        topic.extend(entries(10, 10))
        while (await frames.next()).header.kind != stream_pb2.FRAME_KIND_HEARTBEAT:
            pass
        topic.extend(entries(11, 11))
        while (message := await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT:
            pass
        # The event that was passed over without a word is covered as well.
        assert (sequences(message), message.header.first_sequence) == ([11], 10)


async def test_history_is_read_page_by_page_as_fast_as_the_reader_takes_it() -> None:
    asked: list[int] = []

    async def history(after: int, limit: int) -> Sequence[Entry]:
        asked.append(after)
        return entries(after + 1, min(after + 100, 1000))

    topic = trades(sequence=1000, history=history)
    session = StreamSession()
    session.subscribe(topic, Position(7, 0))
    async with reading(session) as frames:
        assert sequences(await frames.next()) == list(range(1, 101))
        assert asked == [0]
        seen = 100
        while seen < 1000:
            seen += len((await frames.next()).events)
        topic.extend(entries(1001, 1001))
        assert sequences(await frames.next()) == [1001]
    assert asked == list(range(0, 1000, 100))


async def test_history_with_a_hole_gives_what_is_there_and_a_gap_for_the_rest() -> None:
    async def history(after: int, limit: int) -> Sequence[Entry]:
        return [one for one in entries(1, 3) + entries(8, 20) if one.sequence > after]

    topic = trades(sequence=20, history=history)
    session = StreamSession()
    session.subscribe(topic, Position(7, 0))
    async with reading(session) as frames:
        assert sequences(await frames.next()) == [1, 2, 3]
        gap = (await frames.next()).header
        assert (gap.gap_first, gap.gap_last) == (4, 7)
        assert sequences(await frames.next()) == list(range(8, 21))


async def test_a_snapshot_over_the_frame_size_comes_in_parts_of_which_only_the_last_can_be_resumed_from() -> None:
    state = [one.data for one in entries(1, MAX_FRAME_ITEMS * 2 + 5)]
    topic = trades(sequence=9, snapshot=lambda: Snapshot(9, state))
    session = StreamSession()
    session.subscribe(topic)
    async with reading(session) as frames:
        parts = [await frames.next() for _ in range(3)]
    assert [part.header.kind for part in parts] == [stream_pb2.FRAME_KIND_SNAPSHOT] * 3
    assert [(part.header.epoch, part.header.sequence) for part in parts] == [(0, 0), (0, 0), (7, 9)]
    assert sum(len(part.events) for part in parts) == len(state)
    assert position(ResumePoint(key="GOOG", topic=1)) is None


async def test_a_source_that_fails_ends_the_stream_with_its_error_and_leaves_no_subscription() -> None:
    async def failing() -> Snapshot:
        raise RuntimeError("no state")

    topic = trades(snapshot=failing)
    session = StreamSession()
    session.subscribe(topic)
    with pytest.raises(RuntimeError, match="no state"):
        await anext(session.frames())
    assert topic.readers == 0


async def test_each_item_is_answered_and_a_bad_one_does_not_end_the_stream() -> None:
    topic, session = trades(sequence=5), StreamSession()
    async with reading(session) as frames:
        await session.item_status("bad", InvalidField("subscribe[0].symbol", "is not listed"))
        subscription = session.subscribe(topic)
        await session.item_status("good", subscription=subscription)
        bad, good = await frames.next(), await frames.next()
        assert (bad.header.kind, bad.header.item_id) == (stream_pb2.FRAME_KIND_ITEM_STATUS, "bad")
        assert bad.header.status.code == 3
        assert bad.header.status.details
        assert (good.header.item_id, good.header.HasField("status"), good.header.status.code) == ("good", True, 0)
        assert (good.header.epoch, good.header.sequence, good.header.key) == (7, 5, "GOOG")


async def test_answers_that_nobody_reads_hold_back_whoever_asks_for_more() -> None:
    session = StreamSession(max_statuses=3)
    for number in range(3):
        await session.item_status(str(number))
    waiting = asyncio.ensure_future(session.item_status("3"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    async with reading(session) as frames:
        assert (await frames.next()).header.item_id == "0"
        await asyncio.wait_for(waiting, 1)


async def test_draining_says_where_to_resume_and_ends_the_stream() -> None:
    topic, quotes = trades(), StateTopic(stream_pb2.TOPIC_QUOTES, "GOOG", epoch=7)
    session = StreamSession()
    session.subscribe(topic, Position(7, 0))
    session.subscribe(quotes)
    async with reading(session) as frames:
        topic.extend(entries(1, 3))
        await frames.next()
        session.drain()
        farewell = (await frames.next()).header
        assert farewell.kind == stream_pb2.FRAME_KIND_DRAINING
        assert [(one.topic, one.epoch, one.sequence) for one in farewell.resume] == [
            (stream_pb2.TOPIC_TRADES, 7, 3),
            (stream_pb2.TOPIC_QUOTES, 0, 0),
        ]
        with pytest.raises(StopAsyncIteration):
            await frames.next()
    assert topic.readers == quotes.readers == 0


async def test_heartbeats_tell_position_lag_and_staleness() -> None:
    topic, session = trades(), StreamSession(heartbeat=0.05, staleness=lambda: 1.5)
    session.subscribe(topic, Position(7, 0))
    async with reading(session) as frames:
        topic.extend(entries(1, 2))
        await frames.next()
        topic.extend(entries(3, 4))
        await asyncio.sleep(0.1)
        beat = (await frames.next()).header
        assert (beat.kind, beat.epoch, beat.sequence, beat.queue_lag) == (stream_pb2.FRAME_KIND_HEARTBEAT, 7, 2, 1)
        assert beat.staleness.ToMilliseconds() == 1500
        assert [(one.key, one.sequence) for one in beat.resume] == [("GOOG", 2)]
        assert sequences(await frames.next()) == [3, 4]


async def test_an_ended_subscription_sends_nothing_any_more() -> None:
    topic, session = trades(), StreamSession(heartbeat=0.1)
    subscription = session.subscribe(topic, Position(7, 0))
    async with reading(session) as frames:
        topic.extend(entries(1, 1))
        await frames.next()
        topic.extend(entries(2, 2))
        session.unsubscribe(subscription)
        assert (await frames.next()).header.kind == stream_pb2.FRAME_KIND_HEARTBEAT


def test_an_event_that_does_not_follow_is_refused_and_one_that_is_known_is_passed_over() -> None:
    topic = trades()
    topic.extend(entries(1, 3))
    topic.extend(entries(2, 4))
    assert topic.sequence == 4
    with pytest.raises(SequenceError):
        topic.extend(entries(6, 6))
    with pytest.raises(SequenceError):
        topic.reset(7, 3)


def test_a_ring_stays_within_its_entries_and_bytes() -> None:
    topic = trades(max_entries=100, max_bytes=10_000)
    for number in range(1, 2000):
        topic.extend(entries(number, number, size=number % 400))
        assert len(topic.ring) <= 100
        assert topic.ring.size <= 10_000
        assert topic.ring.floor + len(topic.ring) == topic.sequence
