"""Stands in for the trading engine where market-data follows it: real venues and events, times and faults as told."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aac.trading.v1 import journal_pb2 as journal
from aac.trading.v1 import venue_pb2 as pb
from aac.trading.v1.venue_pb2_grpc import VenueServiceServicer
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import NotFound, Unavailable
from aac_grpc.common.call import current_call
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.streams import Entry, EventTopic, Position, StreamSession, frame
from aac_grpc.domain.commands import (
    AccountKind,
    AddInstrument,
    AdjustCash,
    CancelOrder,
    CreateAccount,
    FeedRows,
    StartFeed,
)
from aac_grpc.domain.commands import PlaceOrder as Place
from aac_grpc.domain.feed import FeedRow, Print
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers.trading.encoding import EventEncoder
from aac_grpc.servicers.trading.vocabulary import instrument_message
from tests.support import mesh

EVENTS_FIELD = pb.FollowMarketResponse.EVENTS_FIELD_NUMBER
NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BUY, SELL = Side.BUY, Side.SELL


def instrument(venue: str, symbol: str) -> Instrument:
    """A share of 0.01 ticks and lots of 1."""
    return Instrument(symbol, venue, InstrumentKind.VENUE, f"{symbol} Inc.", "USD", Decimal("0.01"), Decimal(1))


@dataclass
class VenueDouble:
    """A venue of the domain with a clock of the test's, and its events as the engine streams them.

    Attributes:
        now: Venue time of the next command, nanoseconds since 1970.
        lost: Sequences of events that followers do not get, though they were committed.
        overlap: How many events that a follower has are sent to it again.
        floor: The journal has no event up to this one.
    """

    name: str
    epoch: int = 1
    now: int = NOW
    lost: set[int] = field(default_factory=set)
    overlap: int = 0
    floor: int = 0

    def __post_init__(self) -> None:
        self.venue = Venue(self.name)
        self.events: list[journal.VenueEvent] = []
        self.deleted = False
        self._encoder = EventEncoder({"maker": False, "taker": False, "flow": True}, {})
        self._orders = 0
        self.topic = EventTopic(
            stream_pb2.TOPIC_VENUE, self.name, venue=self.name, epoch=self.epoch, history=self._history, max_entries=64
        )
        self.run(CreateAccount("flow", "USD", AccountKind.FLOW))
        for account_id in ("maker", "taker"):
            self.run(CreateAccount(account_id, "USD", allow_short=True))
            self.run(AdjustCash(account_id, 10**17))

    def add(self, *symbols: str) -> "VenueDouble":
        """Lists instruments."""
        for symbol in symbols:
            self.run(AddInstrument(instrument(self.name, symbol)))
        return self

    def run(self, command: Any) -> int:
        """Executes a command; returns the sequence of its last event."""
        events = [self._encoder.encode(event) for event in self.venue.execute(command, self.now)]
        self.events += events
        self.topic.extend(self._entries(events))
        return self.venue.sequence

    def place(self, side: Side, quantity: int, price: int, symbol: str = "X", *, take: bool = False) -> str:
        """Enters a limit order, one that only takes where told; returns its key."""
        self._orders += 1
        key = f"k{self._orders}"
        tif = TimeInForce.IOC if take else TimeInForce.GTC
        account_id = "taker" if take else "maker"
        self.run(Place(account_id, key, symbol, side, OrderType.LIMIT, tif, quantity, price))
        return key

    def cancel(self, key: str) -> None:
        """Takes an order out."""
        order = self.venue.find_order("maker", key)
        assert order is not None
        self.run(CancelOrder("maker", order.order_id))

    def trade(self, price: int, quantity: int = 1, symbol: str = "X") -> None:
        """Has one trade happen, and leaves the book as it was."""
        self.place(SELL, quantity, price, symbol)
        self.place(BUY, quantity, price, symbol, take=True)

    def print_trade(self, price: str, quantity: int = 1, symbol: str = "X") -> None:
        """Has a recorded trade happen that touches no order; the price may be off tick."""
        if "run" not in self.venue.feeds:
            self.run(StartFeed("run", symbol, "flow"))
        row = self.venue.feeds["run"].last_row + 1
        self.run(FeedRows("run", (FeedRow(row, self.now, (Print(Decimal(price), quantity, BUY),), None, ()),)))

    def heal(self) -> None:
        """Followers get the lost events when they ask again: what was sent without them is forgotten."""
        self.lost = set()
        self.topic.ring.clear(self.venue.sequence)

    def forget(self) -> None:
        """Neither memory nor journal has any of the events so far."""
        self.floor = self.venue.sequence
        self.topic.ring.clear(self.venue.sequence)

    def snapshot(self) -> pb.GetMarketSnapshotResponse:
        """What the market shows."""
        response = pb.GetMarketSnapshotResponse(epoch=self.epoch, sequence=self.venue.sequence)
        for symbol in sorted(self.venue.instruments):
            market = self.venue.market(symbol)
            assert market is not None
            listed = market.instrument
            shown = response.instruments.add(
                instrument=instrument_message(listed),
                depth_sequence=market.depth_sequence,
                trade_sequence=market.trade_sequence,
                last_price=listed.from_ticks(market.last_price) if market.last_price else "",
                last_quantity=listed.from_lots(market.last_quantity) if market.last_quantity else "",
            )
            for side, levels in ((Side.BUY, shown.bids), (Side.SELL, shown.asks)):
                for price, quantity, orders in market.book.levels(side):
                    levels.add(price=listed.from_ticks(price), quantity=listed.from_lots(quantity), orders=orders)
        return response

    def _entries(self, events: Iterable[journal.VenueEvent]) -> list[Entry]:
        return [
            Entry(
                event.sequence, b"" if event.sequence in self.lost else frame(EVENTS_FIELD, event.SerializeToString())
            )
            for event in events
        ]

    def _frame(self, event: journal.VenueEvent) -> bytes:
        return b"" if event.sequence in self.lost else frame(EVENTS_FIELD, event.SerializeToString())

    async def _history(self, after: int, limit: int) -> list[Entry]:
        return self._entries(self.events[max(after, self.floor) :][:limit])


class EngineDouble(Servicer, VenueServiceServicer):
    """Answers what market-data asks of the engine.

    Attributes:
        venues: By id.
        followers: How many streams of events were opened.
        asked: How often it was asked which venues there are.
        slowness: Seconds that this answer takes.
    """

    def __init__(self) -> None:
        self.venues: dict[str, VenueDouble] = {}
        self.followers = self.asked = 0
        self.away = False
        self.slowness = 0.0
        self._sessions: dict[StreamSession, str] = {}

    def make(self, name: str, *symbols: str, **told: Any) -> VenueDouble:
        """Makes a venue that lists instruments."""
        self.venues[name] = VenueDouble(name, **told).add(*symbols)
        return self.venues[name]

    def delete(self, name: str) -> None:
        """Ends a venue."""
        del self.venues[name]
        self.cut(name)

    def cut(self, name: str) -> None:
        """Ends the streams of a venue's events."""
        for session, venue in tuple(self._sessions.items()):
            if venue == name:
                session.close()

    async def ListVenues(self, request: pb.ListVenuesRequest, context: Any) -> pb.ListVenuesResponse:
        self._check()
        self.asked += 1
        await asyncio.sleep(self.slowness)
        return pb.ListVenuesResponse(venues=[pb.Venue(venue=one.name, epoch=one.epoch) for one in self.venues.values()])

    async def GetMarketSnapshot(self, request: pb.GetMarketSnapshotRequest, context: Any) -> Any:
        return self._find(request.venue).snapshot()

    async def FollowMarket(self, request: pb.FollowMarketRequest, context: Any) -> AsyncIterator[Any]:
        venue = self._find(request.venue)
        self.followers += 1
        session = StreamSession(heartbeat=1.0)
        self._sessions[session] = venue.name
        current_call().on_drain(session.drain)
        session.subscribe(venue.topic, Position(request.epoch, max(0, request.after_sequence - venue.overlap)))
        try:
            async for encoded in session.frames():
                yield encoded
        finally:
            del self._sessions[session]

    def _check(self) -> None:
        if self.away:
            raise Unavailable("away")

    def _find(self, name: str) -> VenueDouble:
        self._check()
        if name not in self.venues:
            raise NotFound("venue", name)
        return self.venues[name]


@asynccontextmanager
async def engine_serving(double: EngineDouble, auth_address: str, **changes: Any) -> AsyncIterator[Any]:
    """The double, behind a server of the base."""
    async with mesh.serving("trading-engine", double, auth_address=auth_address, **changes) as server:
        yield server
