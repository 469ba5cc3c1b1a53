"""Where a stream that outlives its venue's writer goes on."""

from aac.trading.v1.trading_pb2 import WatchOrdersRequest
from aac.trading.v1.venue_pb2 import FollowMarketRequest
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.common.streams import Position, frame
from aac_grpc.common.streams.frames import encode, header_of
from aac_grpc.servicers.trading.following import FollowedMarket, FollowedOrders

ORDERS = WatchOrdersRequest(venue="v", account_id="alice")
SNAPSHOT, UPDATE = stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE


@given(st.integers(0, 2**63), st.text(max_size=300), st.lists(st.binary(max_size=20), max_size=3))
def test_the_header_is_read_from_the_bytes_of_a_response(sequence: int, key: str, entries: list[bytes]) -> None:
    header = StreamHeader(kind=UPDATE, sequence=sequence, key=key)
    assert header_of(encode(header, [frame(2, entry) for entry in entries]).data) == header


def test_bytes_that_begin_with_no_header_have_an_empty_one() -> None:
    assert header_of(b"") == header_of(frame(2, b"x")) == header_of(b"\x0a") == StreamHeader()


def test_a_reader_goes_on_after_the_last_event_that_it_has() -> None:
    followed = FollowedOrders(ORDERS)
    assert not followed.request().HasField("resume")
    followed.take(StreamHeader(kind=SNAPSHOT, epoch=7, sequence=3))
    followed.take(StreamHeader(kind=UPDATE, epoch=7, first_sequence=4, sequence=6))
    followed.take(StreamHeader(kind=stream_pb2.FRAME_KIND_HEARTBEAT, epoch=7, sequence=6))
    resume = followed.request().resume
    assert (resume.venue, resume.key, resume.topic) == ("v", "alice", stream_pb2.TOPIC_ORDERS)
    assert (resume.epoch, resume.sequence, followed.whole) == (7, 6, True)


def test_a_reader_that_has_a_part_of_a_snapshot_can_not_go_on_elsewhere() -> None:
    followed = FollowedOrders(ORDERS)
    followed.take(StreamHeader(kind=SNAPSHOT))
    assert not followed.whole
    followed.take(StreamHeader(kind=SNAPSHOT, epoch=7, sequence=3))
    assert (followed.whole, followed.position) == (True, Position(7, 3))


def test_a_reader_that_was_told_of_a_gap_waits_for_what_follows_it() -> None:
    followed = FollowedOrders(ORDERS)
    followed.take(StreamHeader(kind=stream_pb2.FRAME_KIND_GAP, epoch=7, sequence=9))
    assert not followed.whole
    followed.take(StreamHeader(kind=UPDATE, epoch=7, sequence=10))
    assert followed.whole


def test_a_follower_of_events_goes_on_with_the_numbering_that_it_was_told() -> None:
    followed = FollowedMarket(FollowMarketRequest(venue="v", after_sequence=4))
    assert (followed.request().epoch, followed.request().after_sequence) == (0, 4)
    followed.take(StreamHeader(kind=UPDATE, epoch=7, sequence=9))
    assert (followed.request().epoch, followed.request().after_sequence) == (7, 9)
