"""One feeder's stream: rows go to the writer in chunks while earlier ones are being committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from aac.trading.v1 import venue_pb2 as pb
from aac.type.v1.stream_pb2 import (
    FRAME_KIND_DRAINING,
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
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Reads no more messages; those that were read are answered, then the stream says goodbye."""
        self._draining.set()

    @asynccontextmanager
    async def reading(self, opening: pb.FeedOpen, messages: AsyncIterator[pb.FeedRequest]) -> AsyncIterator[None]:
        """Reads the feeder's messages while the block runs.

        Raises:
            AacError: The run can't be opened.
        """
        request = OpenFeed(opening, self._venue.row.name)
        self._outcomes.put_nowait(self._venue.writer.enqueue(request))
        reader = asyncio.create_task(self._read(opening.run_id, messages))
        try:
            yield
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def responses(self) -> AsyncIterator[pb.FeedResponse]:
        """Answers the messages, in order, until the feeder ends or this instance stops to take rows.

        Raises:
            AacError: Rows could not be committed; the feeder goes on from the last row that was answered.
        """
        while (outcome := await self._outcomes.get()) is not None:
            if isinstance(outcome, InvalidField):
                yield pb.FeedResponse(header=self._refusal(outcome))
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                run = cast(pb.FeedRun, await outcome.wait())
                yield pb.FeedResponse(header=self._header(FRAME_KIND_UPDATE), run=run)
        if self._draining.is_set():
            yield pb.FeedResponse(header=self._header(FRAME_KIND_DRAINING))

    async def _read(self, run_id: str, messages: AsyncIterator[pb.FeedRequest]) -> None:
        try:
            drained = asyncio.create_task(self._draining.wait())
            try:
                while (message := await self._next(messages, drained)) is not None:
                    await self._outcomes.put(await self._take(run_id, message))
            finally:
                drained.cancel()
        except Exception as error:
            await self._outcomes.put(error)
        else:
            await self._outcomes.put(None)

    async def _next(
        self, messages: AsyncIterator[pb.FeedRequest], drained: "asyncio.Task[bool]"
    ) -> pb.FeedRequest | None:
        """Returns the feeder's next message; None at its end, or when this instance stops."""
        coming = asyncio.ensure_future(anext(messages, None))
        try:
            await asyncio.wait({coming, drained}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            # Also where the stream ends meanwhile: nobody else would hear what becomes of it.
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

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
