"""One feeder's stream: rows go to the writer in chunks while earlier ones are being committed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

from aac.trading.v1 import venue_pb2 as pb
from aac.type.v1.stream_pb2 import (
    FRAME_KIND_ITEM_STATUS,
    FRAME_KIND_UPDATE,
    FrameKind,
    StreamHeader,
)

from aac_grpc.client.errors import AacError, InvalidField, to_status_message
from aac_grpc.common.streams.frames import now_header
from aac_grpc.servicers.trading.feed_requests import ApplyRows, OpenFeed
from aac_grpc.servicers.trading.feed_rows import feed_row
from aac_grpc.servicers.trading.open_venue import OpenVenue
from aac_grpc.servicers.trading.pending import Pending

MESSAGES_UNDERWAY = 8
"""Messages that are read before the first of them is answered."""
CHUNKS_UNDERWAY = 4
"""Chunks of rows that wait for the writer before more are read."""

Outcome = Pending | Exception | None
"""What answers a message: its last chunk, or why the message or the stream failed; None at the end of the stream."""


async def until(drained: asyncio.Event, messages: AsyncIterator[pb.FeedRequest]) -> AsyncIterator[pb.FeedRequest]:
    """Yields a feeder's messages until it ends, or this instance is to take no more."""
    draining = asyncio.create_task(drained.wait())
    try:
        while (message := await _next(messages, draining)) is not None:
            yield message
    finally:
        draining.cancel()


async def _next(messages: AsyncIterator[pb.FeedRequest], drained: "asyncio.Task[bool]") -> pb.FeedRequest | None:
    coming = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait({coming, drained}, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        # Also where the stream ends meanwhile: nobody else would hear what becomes of it.
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


class FeedSession:
    """One feeder's run on one venue. Each message is answered once it is committed, in order."""

    def __init__(self, venue: OpenVenue, chunk_rows: int) -> None:
        """Opens nothing yet.

        Args:
            venue: What the rows flow into.
            chunk_rows: Rows in one request to the writer.
        """
        self._venue = venue
        self._chunk_rows = chunk_rows
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue(MESSAGES_UNDERWAY)
        self._chunks = asyncio.Semaphore(CHUNKS_UNDERWAY)
        self._sent: Pending | None = None

    async def run(
        self, opening: pb.FeedOpen, messages: AsyncIterator[pb.FeedRequest]
    ) -> AsyncGenerator[pb.FeedResponse, None]:
        """Answers the opening and the messages, in order, until they end.

        Raises:
            AacError: Rows could not be committed; the feeder goes on from the last row that was answered.
        """
        request = OpenFeed(opening, self._venue.row.name)
        self._outcomes.put_nowait(self._venue.writer.enqueue(request))
        reader = asyncio.create_task(self._read(opening.run_id, messages))
        try:
            async for response in self._responses():
                yield response
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _responses(self) -> AsyncIterator[pb.FeedResponse]:
        while (outcome := await self._outcomes.get()) is not None:
            if isinstance(outcome, InvalidField):
                yield pb.FeedResponse(header=self._refusal(outcome))
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                run = cast(pb.FeedRun, await outcome.wait())
                yield pb.FeedResponse(header=self._header(FRAME_KIND_UPDATE), run=run)

    async def _read(self, run_id: str, messages: AsyncIterator[pb.FeedRequest]) -> None:
        try:
            async for message in messages:
                await self._outcomes.put(await self._take(run_id, message))
        except Exception as error:
            await self._outcomes.put(error)
        else:
            await self._outcomes.put(None)

    async def _take(self, run_id: str, message: pb.FeedRequest) -> Outcome:
        """Sends a message's rows to the writer; returns what will answer it. A bad row refuses the message whole."""
        if message.HasField("open"):
            return InvalidField("open", "the run is open already")
        last: Pending | None = None
        rows, previous = message.rows, -1
        try:
            checked = []
            for index, row in enumerate(rows):
                if row.row <= previous:
                    raise InvalidField(f"rows[{index}].row", f"{row.row} does not follow {previous}")
                previous = row.row
                checked.append(feed_row(row, f"rows[{index}]"))
                if index % self._chunk_rows == 0:
                    await asyncio.sleep(0)
        except InvalidField as error:
            return error
        for begin in range(0, max(len(rows), 1), self._chunk_rows):
            end = begin + self._chunk_rows
            last = await self._send(ApplyRows(run_id, rows[begin:end], checked[begin:end], self._sent))
        return last

    async def _send(self, request: ApplyRows) -> Pending:
        await self._chunks.acquire()
        try:
            pending = self._venue.writer.enqueue(request)
        except AacError:
            self._chunks.release()
            raise
        pending.on_done(self._done)
        self._sent = pending
        return pending

    def _done(self, pending: Pending) -> None:
        self._chunks.release()
        # What it followed has been done before it: nobody keeps the whole run in memory.
        cast(ApplyRows, pending.request).follows = None

    def _header(self, kind: "FrameKind.ValueType") -> StreamHeader:
        header = now_header(kind)
        header.epoch, header.venue = self._venue.row.epoch, self._venue.row.name
        return header

    def _refusal(self, error: InvalidField) -> StreamHeader:
        header = self._header(FRAME_KIND_ITEM_STATUS)
        header.status.CopyFrom(to_status_message(error))
        return header
