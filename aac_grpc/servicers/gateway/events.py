"""The platform's domain events, from Kafka to whoever watches: each watcher reads at its own pace, commits nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

from aac.event.v1.event_pb2 import Event
from aac.gateway.v1.gateway_pb2 import WatchEventsRequest
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import FrameKind, ResumePoint, StreamHeader
from google.protobuf.message import DecodeError

from aac_grpc.client.errors import InvalidField, Overloaded, TooManyStreams
from aac_grpc.common.call import Principal
from aac_grpc.common.events import EventTail, TailedEvent
from aac_grpc.common.streams import Encoded, frame
from aac_grpc.common.streams.frames import encode, now_header
from aac_grpc.servicers.gateway.settings import GatewaySettings

EPOCH = 1
"""Offsets of a Kafka topic are one numbering, for as long as the topic exists."""
EVENTS_FIELD = 2

Partition = tuple[str, int]


class WatcherPlaces:
    """How many watchers there may be: each reads Kafka for itself."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._most = settings.event_watchers
        self._most_of_one = settings.event_watchers_per_user
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, watcher: Principal) -> Iterator[None]:
        """Takes a place while the block runs.

        Raises:
            TooManyStreams: The watcher has as many as one may have.
            Overloaded: All are taken.
        """
        owner = watcher.owner
        if self._taken[owner] >= self._most_of_one:
            raise TooManyStreams(self._most_of_one, owner=watcher.shown, setting="AAC_EVENT_WATCHERS_PER_USER")
        if self._taken.total() >= self._most:
            raise Overloaded("too many streams of domain events are open; try again later")
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


def resume_offsets(points: Iterable[ResumePoint], topics: Iterable[str]) -> dict[Partition, int]:
    """The next offset wanted, by partition.

    Raises:
        InvalidField: A point does not name a partition as the stream's headers do.
    """
    known = set(topics)
    wanted: dict[Partition, int] = {}
    for index, point in enumerate(points):
        topic, _, number = point.key.rpartition("/")
        if topic not in known or not (number.isascii() and number.isdigit()):
            raise InvalidField(f"resume[{index}].key", "is not a partition such as aac.orders.v1/0")
        wanted[topic, int(number)] = point.sequence + 1
    return wanted


class EventWatch:
    """One watcher's stream."""

    def __init__(
        self, tail: EventTail, request: WatchEventsRequest, wanted: Mapping[Partition, int], heartbeat_s: float
    ) -> None:
        """Prepares a stream.

        Args:
            tail: Reads Kafka from `wanted` on.
            request: What to send.
            wanted: The next offset, of the partitions that the watcher resumes.
            heartbeat_s: Seconds without a frame before a heartbeat.
        """
        self._tail = tail
        self._types = frozenset(request.types)
        self._venue = request.venue
        self._wanted = wanted
        self._heartbeat_s = heartbeat_s
        self._positions: dict[Partition, int] = {}
        self._told: dict[Partition, int] = {}
        self._drain = asyncio.Event()

    def drain(self) -> None:
        """Says where to resume, and ends the stream."""
        self._drain.set()

    async def frames(self) -> AsyncGenerator[Encoded, None]:
        """Gaps, then where each partition begins, then events and heartbeats, until `drain`."""
        for partition, (first_kept, begins_at) in (await self._tail.open()).items():
            self._positions[partition] = begins_at - 1
            expected = self._wanted.get(partition, begins_at)
            if expected != begins_at:
                yield self._gap(partition, expected, begins_at, first_kept)
        yield self._about_stream(stream_pb2.FRAME_KIND_HEARTBEAT)
        batches = self._tail.batches()
        draining = asyncio.create_task(self._drain.wait())
        reading = asyncio.create_task(_next(batches))
        try:
            while not draining.done():
                await asyncio.wait({reading, draining}, timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    yield self._about_stream(stream_pb2.FRAME_KIND_HEARTBEAT)
                    continue
                batch, reading = reading.result(), asyncio.create_task(_next(batches))
                for encoded in self._encode(batch):
                    yield encoded
            yield self._about_stream(stream_pb2.FRAME_KIND_DRAINING)
        finally:
            for task in (draining, reading):
                task.cancel()
            await asyncio.gather(draining, reading, return_exceptions=True)

    def _encode(self, batch: list[TailedEvent]) -> Iterable[Encoded]:
        in_order = sorted(batch, key=lambda event: (event.topic, event.partition, event.offset))
        for partition, group in groupby(in_order, key=lambda event: (event.topic, event.partition)):
            events = list(group)
            self._positions[partition] = events[-1].offset
            if entries := [frame(EVENTS_FIELD, event.value) for event in events if self._is_wanted(event)]:
                header = self._header(partition, stream_pb2.FRAME_KIND_UPDATE, events[-1].offset)
                # It covers what was passed over since the watcher was last told where it stands, too.
                header.first_sequence = self._told[partition] + 1
                self._told[partition] = events[-1].offset
                yield encode(header, entries, len(entries))

    def _is_wanted(self, event: TailedEvent) -> bool:
        if self._types and event.headers.get("type") not in self._types:
            return False
        if not self._venue:
            return True
        try:
            return Event.FromString(event.value).venue == self._venue
        except DecodeError:
            return False

    def _gap(self, partition: Partition, expected: int, begins_at: int, first_kept: int) -> Encoded:
        """Events left Kafka before they were read; or the topic was made anew, and then nothing has a number."""
        header = self._header(partition, stream_pb2.FRAME_KIND_GAP, begins_at - 1)
        if expected < first_kept:
            header.gap_first, header.gap_last = expected, begins_at - 1
        return encode(header)

    def _header(self, partition: Partition, kind: FrameKind.ValueType, offset: int) -> StreamHeader:
        header = now_header(kind)
        header.epoch, header.sequence, header.topic = EPOCH, max(0, offset), stream_pb2.TOPIC_EVENTS
        header.key = key_of(partition)
        return header

    def _about_stream(self, kind: FrameKind.ValueType) -> Encoded:
        header = now_header(kind)
        self._told = dict(self._positions)
        header.resume.extend(
            ResumePoint(key=key_of(partition), topic=stream_pb2.TOPIC_EVENTS, epoch=EPOCH, sequence=offset)
            for partition, offset in self._positions.items()
            if offset >= 0
        )
        return encode(header)


async def _next(batches: AsyncIterator[list[TailedEvent]]) -> list[TailedEvent]:
    return await anext(batches)


def key_of(partition: Partition) -> str:
    """A partition as headers name it, such as "aac.orders.v1/0"."""
    topic, number = partition
    return f"{topic}/{number}"
