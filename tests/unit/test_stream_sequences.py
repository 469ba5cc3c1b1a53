"""Whatever happens between a topic and its reader: every sequence once and in order, or a GAP that tells."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from aac.event.v1.event_pb2 import Event
from aac.gateway.v1.gateway_pb2 import WatchEventsResponse
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader
from hypothesis import given, settings
from hypothesis import strategies as st

from aac_grpc.common.streams import Entry, EventTopic, Position, Snapshot, StreamSession, frame


def entry(sequence: int) -> Entry:
    """An event that tells its own sequence."""
    return Entry(sequence, frame(2, Event(sequence=sequence).SerializeToString()), tag=sequence % 3)


class Source:
    """A topic, all that it ever said, and what of it is durable."""

    def __init__(self, *, snapshot: bool, history: bool, ring: int, max_lag: int | None, stale_snapshot: int) -> None:
        self.forgotten = 0
        self.stale_snapshot = stale_snapshot
        self.topic = EventTopic(
            stream_pb2.TOPIC_EVENTS,
            "key",
            snapshot=self.snapshot if snapshot else None,
            history=self.history if history else None,
            max_entries=ring,
            max_lag=max_lag,
        )

    def append(self, count: int) -> None:
        first = self.topic.sequence + 1
        self.topic.extend(entry(sequence) for sequence in range(first, first + count))

    def snapshot(self) -> Snapshot:
        """The state is the list of all sequences so far, in short: one event that tells the last one."""
        at = max(0, self.topic.sequence - self.stale_snapshot)
        return Snapshot(at, [entry(at).data])

    async def history(self, after: int, limit: int) -> Sequence[Entry]:
        await asyncio.sleep(0)
        first = max(after, self.forgotten) + 1
        return [entry(sequence) for sequence in range(first, min(first + min(limit, 3), self.topic.sequence + 1))]


@dataclass
class Reader:
    """Applies frames as a client does, and fails where a sequence is skipped in silence or comes twice."""

    epoch: int = 0
    sequence: int = 0
    started: bool = False
    gaps: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)

    @property
    def position(self) -> Position | None:
        return Position(self.epoch, self.sequence) if self.started else None

    def apply(self, data: bytes) -> None:
        message = WatchEventsResponse.FromString(data)
        header, events = message.header, message.events
        match header.kind:
            case stream_pb2.FRAME_KIND_SNAPSHOT:
                assert [event.sequence for event in events] == [header.sequence]
                self._stand(header)
            case stream_pb2.FRAME_KIND_HEARTBEAT:
                if not self.started:
                    self._stand(header)
            case stream_pb2.FRAME_KIND_GAP:
                self._gap(header)
            case stream_pb2.FRAME_KIND_UPDATE:
                assert header.epoch == self.epoch
                expected = list(range(self.sequence + 1, header.sequence + 1))
                assert expected == [event.sequence for event in events]
                self.seen.extend((header.epoch, event.sequence) for event in events)
                self.sequence = header.sequence

    def _gap(self, header: StreamHeader) -> None:
        if header.epoch == self.epoch:
            assert header.gap_first == self.sequence + 1
            assert header.gap_last == header.sequence > self.sequence
        else:
            assert header.epoch > self.epoch
            assert (header.gap_first, header.gap_last) == (0, 0)
        self.gaps += 1
        self._stand(header)

    def _stand(self, header: StreamHeader) -> None:
        self.epoch, self.sequence, self.started = header.epoch, header.sequence, True


class Connection:
    """A client that reads as many frames as it is told to."""

    def __init__(self, source: Source, reader: Reader) -> None:
        self.reader = reader
        self._session = StreamSession(heartbeat=60)
        self._session.subscribe(source.topic, reader.position)
        self._frames = self._session.frames()
        self._reading: asyncio.Task[object] | None = None

    async def read(self, count: int) -> None:
        for _ in range(count):
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._frames))
            await asyncio.wait([self._reading], timeout=0.0)
            for _ in range(10):
                if self._reading.done():
                    break
                await asyncio.sleep(0)
            else:
                return
            encoded, self._reading = self._reading.result(), None
            self.reader.apply(encoded.data)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._frames.aclose()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.tuples(st.just("reconnect"), st.just(0)),
        st.tuples(st.just("forget"), st.integers(0, 10)),
        st.tuples(st.just("renumber"), st.integers(0, 3)),
        st.tuples(st.just("lose"), st.integers(1, 5)),
    ),
    max_size=40,
)


async def play(source: Source, steps: Sequence[tuple[str, int]]) -> Reader:
    """Runs the steps, then reads to the end."""
    reader = Reader()
    connection = Connection(source, reader)
    topic = source.topic
    for step, number in steps:
        match step:
            case "append":
                source.append(number)
            case "read":
                await connection.read(number)
            case "reconnect":
                await connection.close()
                connection = Connection(source, reader)
            case "forget":
                source.forgotten = max(source.forgotten, topic.sequence - number)
            case "renumber":
                topic.reset(topic.epoch + 1, number)
                source.forgotten = number
            case "lose":
                topic.reset(topic.epoch, topic.sequence + number)
                source.forgotten = topic.sequence
    source.append(1)
    for _ in range(200):
        await connection.read(1)
        if reader.position == Position(topic.epoch, topic.sequence):
            break
    await connection.close()
    assert topic.readers == 0
    assert reader.position == Position(topic.epoch, topic.sequence)
    return reader


@settings(max_examples=300, deadline=None)
@given(
    steps=STEPS,
    snapshot=st.booleans(),
    history=st.booleans(),
    ring=st.integers(1, 16),
    max_lag=st.one_of(st.none(), st.integers(1, 10)),
    stale=st.integers(0, 4),
)
def test_a_reader_gets_every_sequence_once_and_in_order_or_an_explicit_gap(
    steps: list[tuple[str, int]], snapshot: bool, history: bool, ring: int, max_lag: int | None, stale: int
) -> None:
    source = Source(snapshot=snapshot, history=history, ring=ring, max_lag=max_lag, stale_snapshot=stale)
    reader = asyncio.run(play(source, steps))
    assert len(set(reader.seen)) == len(reader.seen)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 12)),
            st.tuples(st.just("read"), st.integers(1, 5)),
            st.tuples(st.just("reconnect"), st.just(0)),
        ),
        max_size=40,
    ),
    ring=st.integers(1, 8),
)
def test_with_durable_history_a_reader_that_began_at_the_start_misses_nothing_however_slow(
    steps: list[tuple[str, int]], ring: int
) -> None:
    source = Source(snapshot=False, history=True, ring=ring, max_lag=None, stale_snapshot=0)
    reader = asyncio.run(play(source, [("read", 1), *steps]))
    assert reader.gaps == 0
    assert reader.seen == [(1, sequence) for sequence in range(1, source.topic.sequence + 1)]
