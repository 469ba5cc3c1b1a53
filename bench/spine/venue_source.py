"""A venue's committed events as the engine streams them, prepared before and given out as fast as they are taken.

It stands in for the trading engine where market-data is what is measured. The events are real: a simulated market
goes through the domain's venue and the engine's own encoding.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import grpc
from aac.trading.v1 import venue_pb2 as pb
from aac.type.v1 import stream_pb2

from aac_grpc.common.streams import frame
from aac_grpc.domain.commands import AccountKind, AddInstrument, Command, CreateAccount, FeedRows, StartFeed
from aac_grpc.domain.venue import Venue
from aac_grpc.feeds.simulator import SimulatedInstrument, Simulator
from aac_grpc.servicers.trading.encoding import EventEncoder
from aac_grpc.servicers.trading.vocabulary import instrument_message

SERVICE = "aac.trading.v1.VenueService"
VENUE, SYMBOL = "main", "ACME"
BATCH_ROWS = 500
"""Rows of a feed that the engine commits, and sends on, at once."""
SEED = 20120621
HEARTBEAT_S = 5.0
EVENTS_FIELD = pb.FollowMarketResponse.EVENTS_FIELD_NUMBER
HEADER_FIELD = pb.FollowMarketResponse.HEADER_FIELD_NUMBER


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction of the engine sends, and where the market stands after it."""

    entries: bytes
    """Framed events."""
    sequence: int
    ticks: int
    """Trades and changes of the book so far."""
    trade_sequence: int
    depth_sequence: int


class PreparedVenue:
    """A venue that lists one instrument, and batches of what happens to it.

    Attributes:
        opening: What was done to make it.
        snapshot: What it shows then.
        batches: In order.
    """

    def __init__(self, ticks: int) -> None:
        """Simulates until there were so many ticks."""
        simulated = SimulatedInstrument(SYMBOL, "Acme Corporation", Decimal("98.40"))
        source = Simulator(SEED, [simulated])
        self._venue = Venue(VENUE)
        self._encoder = EventEncoder({"flow": True}, {})
        flow = source.rows(SYMBOL)
        listed = source.instrument(SYMBOL, VENUE)
        self.opening = self._batch(
            AddInstrument(listed),
            CreateAccount("flow", listed.currency, AccountKind.FLOW),
            StartFeed("bench", SYMBOL, "flow"),
        )
        self.snapshot = pb.GetMarketSnapshotResponse(sequence=self._venue.sequence)
        self.snapshot.instruments.add(instrument=instrument_message(listed))
        self.batches: list[Batch] = []
        while not self.batches or self.batches[-1].ticks < ticks:
            rows = tuple(itertools.islice(flow, BATCH_ROWS))
            self.batches.append(self._batch(FeedRows("bench", rows), now_ns=rows[-1].time_ns))

    def until(self, ticks: int) -> list[Batch]:
        """The first batches that hold so many ticks."""
        return [*itertools.takewhile(lambda batch: batch.ticks < ticks, self.batches)] or self.batches[:1]

    def _batch(self, *commands: Command, now_ns: int = 1) -> Batch:
        events = [event for command in commands for event in self._venue.execute(command, now_ns)]
        entries = b"".join(frame(EVENTS_FIELD, self._encoder.encode(one).SerializeToString()) for one in events)
        market = self._venue.market(SYMBOL)
        assert market is not None
        ticks = market.trade_sequence + market.depth_sequence
        return Batch(entries, self._venue.sequence, ticks, market.trade_sequence, market.depth_sequence)


class VenueSource:
    """Streams a prepared venue's batches once `go` is set.

    Attributes:
        go: The batches may flow.
        address: host:port, once it serves.
    """

    def __init__(self, venue: PreparedVenue, batches: list[Batch], epoch: int) -> None:
        self.go = asyncio.Event()
        self.address = ""
        self._batches = batches
        self._epoch = epoch
        self._opening = venue.opening
        self._snapshot = pb.GetMarketSnapshotResponse()
        self._snapshot.CopyFrom(venue.snapshot)
        self._snapshot.epoch = epoch

    def handlers(self) -> grpc.GenericRpcHandler:
        """Its methods; the stream gives bytes."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "ListVenues": unary(
                self.list_venues, pb.ListVenuesRequest.FromString, pb.ListVenuesResponse.SerializeToString
            ),
            "GetMarketSnapshot": unary(
                self.snapshot, pb.GetMarketSnapshotRequest.FromString, pb.GetMarketSnapshotResponse.SerializeToString
            ),
            "FollowMarket": stream(self.follow, pb.FollowMarketRequest.FromString, None),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def list_venues(self, request: pb.ListVenuesRequest, context: Any) -> pb.ListVenuesResponse:
        """The one venue."""
        return pb.ListVenuesResponse(venues=[pb.Venue(venue=VENUE, epoch=self._epoch)])

    async def snapshot(self, request: pb.GetMarketSnapshotRequest, context: Any) -> pb.GetMarketSnapshotResponse:
        """What it shows before the first batch."""
        return self._snapshot

    async def follow(self, request: pb.FollowMarketRequest, context: Any) -> AsyncIterator[bytes]:
        """Heartbeats until it may flow, then every batch, then heartbeats."""
        if request.after_sequence < self._opening.sequence:
            yield self._header(stream_pb2.FRAME_KIND_UPDATE, self._opening.sequence) + self._opening.entries
        while not self.go.is_set():
            yield self._header(stream_pb2.FRAME_KIND_HEARTBEAT, self._opening.sequence)
            await self._wait_for_go()
        for batch in self._batches:
            if batch.sequence > request.after_sequence:
                yield self._header(stream_pb2.FRAME_KIND_UPDATE, batch.sequence) + batch.entries
        while True:
            yield self._header(stream_pb2.FRAME_KIND_HEARTBEAT, self._batches[-1].sequence)
            await asyncio.sleep(HEARTBEAT_S)

    async def _wait_for_go(self) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self.go.wait()
        except TimeoutError:
            return

    def _header(self, kind: "stream_pb2.FrameKind.ValueType", sequence: int) -> bytes:
        header = stream_pb2.StreamHeader(
            epoch=self._epoch, sequence=sequence, kind=kind, topic=stream_pb2.TOPIC_VENUE, venue=VENUE, key=VENUE
        )
        return frame(HEADER_FIELD, header.SerializeToString())


@asynccontextmanager
async def serving(source: VenueSource) -> AsyncIterator[VenueSource]:
    """Serves the source on a free port of the loopback interface."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((source.handlers(),))
    source.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield source
    finally:
        await server.stop(None)
