"""Positions of streams: no event comes twice, none is lost in silence, whatever connections do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.client.resume import Missed, Position, Step

TRADES, QUOTES, DEPTH, EVENTS = (
    stream_pb2.TOPIC_TRADES,
    stream_pb2.TOPIC_QUOTES,
    stream_pb2.TOPIC_DEPTH,
    stream_pb2.TOPIC_EVENTS,
)
UPDATE, SNAPSHOT, GAP = stream_pb2.FRAME_KIND_UPDATE, stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_GAP


def header(kind: int, sequence: int, epoch: int = 1, first: int = 0, last: int = 0) -> StreamHeader:
    made = StreamHeader(kind=kind, sequence=sequence, epoch=epoch, gap_last=last)  # type: ignore[arg-type]
    if kind == UPDATE:
        made.first_sequence = first or sequence
    else:
        made.gap_first = first
    return made


def entries(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def at(topic: int, sequence: int, epoch: int = 1) -> Position[int]:
    return Position(topic, epoch, sequence)


def test_the_first_frame_is_taken_whole() -> None:
    position: Position[int] = Position(TRADES)
    assert position.resume_point("GOOG") is None
    assert position.advance(header(UPDATE, 7, first=5), entries(5, 7)).fresh == [5, 6, 7]
    point = position.resume_point("GOOG")
    assert point is not None
    assert (point.key, point.topic, point.epoch, point.sequence) == ("GOOG", TRADES, 1, 7)


def test_what_came_before_is_dropped_and_the_rest_is_kept() -> None:
    position = at(TRADES, 6)
    assert position.advance(header(UPDATE, 6, first=4), entries(4, 6)) == Step()
    assert position.advance(header(UPDATE, 9, first=5), entries(5, 9)).fresh == [7, 8, 9]


def test_a_frame_may_cover_events_that_carry_nothing() -> None:
    assert at(TRADES, 6).advance(header(UPDATE, 9, first=7), [9]) == Step([9])


def test_a_hole_is_told_with_its_ends() -> None:
    step = at(DEPTH, 6).advance(header(UPDATE, 10, first=9), entries(9, 10))
    assert (step.fresh, step.missed, step.announced) == ([9, 10], Missed(7, 8), False)


def test_an_announced_gap_moves_the_position() -> None:
    position = at(TRADES, 6)
    step = position.advance(header(GAP, 20, first=7, last=20), [])
    assert (step.missed, step.announced) == (Missed(7, 20), True)
    assert position.advance(header(UPDATE, 21), [21]).fresh == [21]


def test_a_new_numbering_is_told_without_numbers() -> None:
    step = at(TRADES, 6).advance(header(UPDATE, 2, epoch=2, first=1), entries(1, 2))
    assert (step.fresh, step.missed) == ([1, 2], Missed(0, 0))


def test_a_quote_may_skip_sequences() -> None:
    position = at(QUOTES, 6)
    assert position.advance(header(UPDATE, 30), [30]) == Step([30])
    assert position.advance(header(UPDATE, 29), [29]) == Step()


def test_offsets_of_domain_events_may_have_holes() -> None:
    assert at(EVENTS, 6).advance(header(UPDATE, 30, first=7), [9, 30]) == Step([9, 30])


def test_a_snapshot_in_parts_is_one_snapshot() -> None:
    position = at(DEPTH, 6)
    assert position.advance(header(SNAPSHOT, 0, epoch=0), [1, 2]) == Step()
    assert position.advance(header(SNAPSHOT, 0, epoch=0), [3]) == Step()
    assert position.advance(header(SNAPSHOT, 9), [4]) == Step([1, 2, 3, 4], snapshot=True)
    assert position.sequence == 9


def test_a_part_that_a_lost_connection_left_is_forgotten() -> None:
    position = at(DEPTH, 6)
    position.advance(header(SNAPSHOT, 0, epoch=0), [1, 2])
    position.resume_point("GOOG")
    assert position.advance(header(SNAPSHOT, 9), [4]) == Step([4], snapshot=True)


def test_between_a_gap_and_the_whole_snapshot_a_lost_connection_asks_for_the_snapshot_again() -> None:
    position = at(DEPTH, 6)
    position.advance(header(GAP, 20, first=7, last=20), [])
    assert position.resume_point("GOOG") is None
    position.advance(header(SNAPSHOT, 0, epoch=0), [1, 2])
    assert position.resume_point("GOOG") is None
    position.advance(header(SNAPSHOT, 21), [3])
    point = position.resume_point("GOOG")
    assert point is not None
    assert point.sequence == 21


def test_trades_have_no_snapshot_so_that_a_lost_connection_goes_on_after_the_gap() -> None:
    position = at(TRADES, 6)
    position.advance(header(GAP, 20, first=7, last=20), [])
    point = position.resume_point("GOOG")
    assert point is not None
    assert point.sequence == 20


def test_a_heartbeat_before_the_first_event_says_where_to_resume() -> None:
    position: Position[int] = Position(TRADES)
    position.begin(header(stream_pb2.FRAME_KIND_HEARTBEAT, 41))
    point = position.resume_point("GOOG")
    assert point is not None
    assert point.sequence == 41
    position.begin(header(stream_pb2.FRAME_KIND_HEARTBEAT, 50))
    assert position.advance(header(UPDATE, 43, first=42), entries(42, 43)).fresh == [42, 43]


@dataclass
class Reader:
    """What a user of the stream has seen."""

    position: Position[int] = field(default_factory=lambda: Position(TRADES))
    seen: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)

    def take(self, kind: int, sequence: int, events: Sequence[int], first: int = 0, last: int = 0) -> None:
        step = self.position.advance(header(kind, sequence, first=first, last=last), events)
        if step.missed is not None:
            self.missed += entries(step.missed.first, step.missed.last)
        self.seen += step.fresh


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6), st.booleans()), max_size=40))
def test_every_event_is_seen_once_or_told_as_missed(frames: list[tuple[int, int, bool]]) -> None:
    """Frames that overlap what came before, and gaps, in any order: the service never goes back in silence."""
    reader, last = Reader(), 0
    for overlap, count, is_gap in frames:
        if is_gap and last:
            reader.take(GAP, last + count, [], first=last + 1, last=last + count)
        else:
            first = max(1, last + 1 - overlap)
            end = max(last, first + count - 1)
            reader.take(UPDATE, end, entries(first, end), first=first)
            last = end
            continue
        last += count
    assert sorted(reader.seen + reader.missed) == entries(1, last)
    assert reader.seen == sorted(reader.seen)
