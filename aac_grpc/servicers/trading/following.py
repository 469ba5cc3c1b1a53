"""Streams of a venue that outlive its writer: they go on where they stood, at whichever engine writes it next."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aac.trading.v1.trading_pb2 import WatchOrdersRequest
from aac.trading.v1.venue_pb2 import FollowMarketRequest
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import ResumePoint, StreamHeader
from google.protobuf.message import Message

from aac_grpc.client.errors import AacError, NotFound, NotWriter
from aac_grpc.common.call import current_call
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.peers import PeerLost, Peers
from aac_grpc.common.streams import EventTopic, Position, position
from aac_grpc.common.streams.frames import encode, header_of, now_header
from aac_grpc.servicers.trading.open_venue import OpenVenue
from aac_grpc.servicers.trading.routing import Elsewhere, Router
from aac_grpc.servicers.trading.writers import Writer


class Followed(ABC):
    """What one stream follows, and how far it has come.

    Attributes:
        venue: The venue's id.
        position: Where its reader stands; None before the first frame.
        whole: The reader has everything up to there. Otherwise more of a snapshot was to come, and it must begin anew.
    """

    def __init__(self, venue: str, at: Position | None) -> None:
        self.venue = venue
        self.position = at
        self.whole = True

    @abstractmethod
    async def topic(self, venue: OpenVenue) -> EventTopic:
        """Returns the topic, where this instance writes the venue."""

    @abstractmethod
    def request(self) -> Message:
        """Returns the request that goes on where the reader stands."""

    @abstractmethod
    def resume_point(self) -> ResumePoint:
        """Returns where the reader goes on."""

    def take(self, header: StreamHeader) -> None:
        """Notes a frame that goes out."""
        match header.kind:
            case stream_pb2.FRAME_KIND_SNAPSHOT:
                self.whole = bool(header.epoch)
            case stream_pb2.FRAME_KIND_UPDATE:
                self.whole = True
            case stream_pb2.FRAME_KIND_GAP:
                self.whole = False
            case stream_pb2.FRAME_KIND_HEARTBEAT if self.position is None:
                pass
            case _:
                return
        if header.epoch:
            self.position = Position(header.epoch, header.sequence)


class FollowedOrders(Followed):
    """An account's orders."""

    def __init__(self, request: WatchOrdersRequest) -> None:
        """Takes a request whose venue and account are filled in."""
        super().__init__(request.venue, position(request.resume) if request.HasField("resume") else None)
        self._request = request

    async def topic(self, venue: OpenVenue) -> EventTopic:
        """Returns the topic of the account's orders."""
        return await venue.streams.orders(self._request.account_id, venue.writer)

    def request(self) -> WatchOrdersRequest:
        """Returns the request that goes on where the reader stands."""
        request = WatchOrdersRequest(venue=self.venue, account_id=self._request.account_id)
        if self.position is not None:
            request.resume.CopyFrom(self.resume_point())
        return request

    def resume_point(self) -> ResumePoint:
        """Returns where the reader goes on."""
        at = self.position or Position(0, 0)
        return ResumePoint(
            venue=self.venue,
            key=self._request.account_id,
            topic=stream_pb2.TOPIC_ORDERS,
            epoch=at.epoch,
            sequence=at.sequence,
        )


class FollowedMarket(Followed):
    """A venue's events."""

    position: Position

    def __init__(self, request: FollowMarketRequest) -> None:
        """Takes a request."""
        super().__init__(request.venue, Position(request.epoch, request.after_sequence))

    async def topic(self, venue: OpenVenue) -> EventTopic:
        """Returns the topic of the venue's events."""
        return venue.streams.market

    def request(self) -> FollowMarketRequest:
        """Returns the request that goes on where the reader stands."""
        return FollowMarketRequest(venue=self.venue, epoch=self.position.epoch, after_sequence=self.position.sequence)

    def resume_point(self) -> ResumePoint:
        """Returns where the reader goes on."""
        return ResumePoint(
            venue=self.venue,
            key=self.venue,
            topic=stream_pb2.TOPIC_VENUE,
            epoch=self.position.epoch,
            sequence=self.position.sequence,
        )


class Following:
    """One stream that is being served."""

    def __init__(self, router: Router, peers: Peers, followed: Followed) -> None:
        self._router = router
        self._peers = peers
        self._followed = followed
        self._over = False
        self._end_part: Callable[[], object] = lambda: None

    async def frames(self) -> AsyncGenerator[Encoded, None]:
        """Yields the stream's frames until it is told to say goodbye.

        Raises:
            NotFound: There is no such venue.
            NotWriter: Nobody who writes it was reached for long, or had the rest of a snapshot.
            AacError: The stream can't go on.
        """
        call, followed = current_call(), self._followed
        call.on_drain(self._say_goodbye)
        patience, begun = self._router.patience(followed.venue), False
        while not self._over:
            try:
                place = await self._router.place(followed.venue, patience)
            except NotFound:
                if not begun:
                    raise
                break  # It was deleted: whoever connects again is told.
            part = self._here(place) if isinstance(place, OpenVenue) else self._elsewhere(place)
            failure: AacError | PeerLost | None = None
            try:
                async with aclosing(part):
                    async for encoded in part:
                        patience.begin()
                        begun = True
                        yield encoded
            except Elsewhere as lost:
                failure = lost
            if call.forwarded:
                break
            if not self._over:
                if not followed.whole:
                    raise NotWriter(followed.venue)
                await self._router.failed(place, failure or NotWriter(followed.venue), patience)
        header = now_header(stream_pb2.FRAME_KIND_DRAINING)
        header.resume.append(followed.resume_point())
        yield encode(header)

    def _say_goodbye(self) -> None:
        self._over = True
        self._end_part()

    async def _here(self, venue: OpenVenue) -> AsyncGenerator[Encoded, None]:
        topic = await self._followed.topic(venue)
        with venue.streams.session() as session:
            self._end_part = session.close
            session.subscribe(topic, self._followed.position)
            if self._over or venue.closed:
                return
            async with aclosing(session.frames()) as frames:  # type: ignore[type-var]  # a generator
                async for encoded in frames:
                    self._followed.take(header_of(encoded.data))
                    yield encoded

    async def _elsewhere(self, writer: Writer) -> AsyncGenerator[Encoded, None]:
        stream = self._peers.stream(writer, self._followed.request().SerializeToString())
        self._end_part = stream.stop
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                header = header_of(message)
                if self._over or header.kind == stream_pb2.FRAME_KIND_DRAINING:
                    return
                self._followed.take(header)
                yield Encoded(message)
