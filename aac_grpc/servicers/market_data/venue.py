"""One venue's markets, moved on by its committed events, and the topics that subscribers read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aac.marketdata.v1.marketdata_pb2 import StreamResponse, Trade
from aac.trading.v1 import journal_pb2 as journal
from aac.trading.v1.venue_pb2 import GetMarketSnapshotResponse, InstrumentSnapshot
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import NotFound
from aac_grpc.common.streams import Entry, EventTopic, SequenceError, Snapshot, StateTopic, frame
from aac_grpc.common.types import to_timestamp
from aac_grpc.servicers.market_data.convert import trade_of_row
from aac_grpc.servicers.market_data.market import InstrumentMarket
from aac_grpc.servicers.market_data.repository import TradeRow

TRADES_FIELD = StreamResponse.TRADES_FIELD_NUMBER
LEVELS_FIELD = StreamResponse.LEVELS_FIELD_NUMBER
QUOTES_FIELD = StreamResponse.QUOTES_FIELD_NUMBER

MAX_LAG = 20_000
"""A reader that is further behind a book gets a snapshot."""
RING_ENTRIES = 50_000
RING_BYTES = 8 << 20

Missed = Callable[[str, int, int], Any]
"""`missed(symbol, after, until)`: kept trades of an instrument by number, oldest first."""


@dataclass(slots=True)
class InstrumentStreams:
    """An instrument's market and its three topics, and what one batch of events adds to them."""

    market: InstrumentMarket
    trades: EventTopic
    depth: EventTopic
    quotes: StateTopic
    new_trades: list[Entry] = field(default_factory=list)
    new_levels: list[Entry] = field(default_factory=list)

    def topic(self, topic: "stream_pb2.Topic.ValueType") -> EventTopic | StateTopic:
        """The topic that callers ask for as TRADES, DEPTH or QUOTES."""
        topics: dict[int, EventTopic | StateTopic] = {
            stream_pb2.TOPIC_TRADES: self.trades,
            stream_pb2.TOPIC_DEPTH: self.depth,
            stream_pb2.TOPIC_QUOTES: self.quotes,
        }
        return topics[topic]

    def depth_snapshot(self) -> Snapshot:
        """The whole book, framed."""
        levels = [frame(LEVELS_FIELD, level.SerializeToString()) for level in self.market.all_levels()]
        return Snapshot(self.market.depth_sequence, levels)


class VenueMarkets:
    """All instruments of one venue as of one sequence.

    The snapshot that it begins with is of a later moment than the first events that it is given: those fill the topics'
    rings (so that a subscriber of the process before resumes without a gap) and the kept trades, and leave the books
    alone.
    """

    def __init__(self, venue: str, snapshot: GetMarketSnapshotResponse, sequence: int, missed: Missed) -> None:
        """Begins with a snapshot.

        Args:
            venue: Isolated market.
            snapshot: What the venue showed.
            sequence: The events after this one will be given to `apply`.
            missed: Reads kept trades.
        """
        self.venue = venue
        self.epoch: int = snapshot.epoch
        self.sequence = sequence
        self._snapshot_sequence: int = snapshot.sequence
        self._applied = False
        """Events came."""
        self._missed = missed
        self.instruments: dict[str, InstrumentStreams] = {}
        for instrument in snapshot.instruments:
            self._list(instrument)
        self._handlers: dict[str, Callable[[journal.VenueEvent, Any], None]] = {
            "instrument_added": self._on_instrument,
            "trade": self._on_trade,
            "printed": self._on_print,
            "order_accepted": self._on_level,
            "order_rested": self._on_level,
            "order_amended": self._on_level,
            "order_canceled": self._on_level,
        }
        self._touched: dict[str, InstrumentStreams] = {}
        self.to_keep: list[TradeRow] = []

    def instrument(self, symbol: str) -> InstrumentStreams:
        """One instrument's market and topics.

        Raises:
            NotFound: The venue does not have it.
        """
        found = self.instruments.get(symbol)
        if found is None:
            raise NotFound("instrument", f"{self.venue}/{symbol}")
        return found

    @property
    def caught_up(self) -> bool:
        """The books are as current as the events that were applied."""
        return self.sequence >= self._snapshot_sequence

    def apply(self, events: Iterable[journal.VenueEvent]) -> None:
        """Moves the markets on by a batch of events. Those that they include already are passed over.

        Raises:
            SequenceError: One is missing.
        """
        touched: dict[str, InstrumentStreams] = {}
        self._touched = touched
        for event in events:
            if event.sequence <= self.sequence:
                continue
            if event.sequence != self.sequence + 1:
                raise SequenceError(f"{self.venue}: event {event.sequence} does not follow {self.sequence}")
            self.sequence = event.sequence
            self._applied = True
            name = event.WhichOneof("event")
            if (handler := self._handlers.get(name or "")) is not None:
                handler(event, getattr(event, name or ""))
        for streams in touched.values():
            self._publish(streams)

    def skip_to(self, epoch: int, sequence: int) -> None:
        """Takes note that events up to a sequence can't be had.

        Raises:
            SequenceError: They are missed: readers had events before them, or the snapshot does not cover them.
        """
        if self._applied or epoch != self.epoch or sequence > self._snapshot_sequence:
            raise SequenceError(f"{self.venue}: events after {self.epoch}/{self.sequence} can't be had")
        self.sequence = max(self.sequence, sequence)

    def take_kept(self) -> Sequence[TradeRow]:
        """The trades that are to be kept since the last call."""
        taken, self.to_keep = self.to_keep, []
        return taken

    def _list(self, snapshot: InstrumentSnapshot) -> InstrumentStreams:
        market = InstrumentMarket(snapshot)
        symbol = snapshot.instrument.symbol
        streams = InstrumentStreams(
            market,
            trades=self._trades_topic(symbol, market.trade_sequence),
            depth=self._depth_topic(symbol, market.depth_sequence),
            quotes=StateTopic(stream_pb2.TOPIC_QUOTES, symbol, venue=self.venue, epoch=self.epoch),
        )
        self.instruments[symbol] = streams
        self._publish_quote(streams)
        return streams

    def _trades_topic(self, symbol: str, sequence: int) -> EventTopic:
        return self._topic(stream_pb2.TOPIC_TRADES, symbol, sequence, history=self._history(symbol))

    def _depth_topic(self, symbol: str, sequence: int) -> EventTopic:
        return self._topic(
            stream_pb2.TOPIC_DEPTH,
            symbol,
            sequence,
            snapshot=lambda: self.instruments[symbol].depth_snapshot(),
            max_lag=MAX_LAG,
        )

    def _topic(self, topic: "stream_pb2.Topic.ValueType", symbol: str, sequence: int, **sources: Any) -> EventTopic:
        return EventTopic(
            topic,
            symbol,
            venue=self.venue,
            epoch=self.epoch,
            sequence=sequence,
            max_entries=RING_ENTRIES,
            max_bytes=RING_BYTES,
            **sources,
        )

    def _history(self, symbol: str) -> Callable[[int, int], Any]:
        async def history(after: int, limit: int) -> Sequence[Entry]:
            rows = await self._missed(symbol, after, after + limit)
            return [Entry(row["sequence"], frame(TRADES_FIELD, trade_of_row(row).SerializeToString())) for row in rows]

        return history

    def _on_instrument(self, event: journal.VenueEvent, added: journal.InstrumentAdded) -> None:
        if added.instrument.symbol not in self.instruments:
            self._list(InstrumentSnapshot(instrument=added.instrument))

    def _on_level(self, event: journal.VenueEvent, order: Any) -> None:
        if order.HasField("level"):
            self._set_level(event, order.symbol, order.level)

    def _on_trade(self, event: journal.VenueEvent, trade: journal.TradeExecuted) -> None:
        streams = self.instruments[trade.symbol]
        market = streams.market
        message = Trade(
            trade_id=trade.trade_id,
            sequence=trade.trade_sequence,
            price=market.price(trade.price),
            quantity=market.quantity(trade.quantity),
            aggressor=trade.aggressor,
            executed_at=to_timestamp(event.time_ns),
        )
        self._add_trade(event, streams, message)
        if trade.HasField("level"):
            self._set_level(event, trade.symbol, trade.level)

    def _on_print(self, event: journal.VenueEvent, printed: journal.Printed) -> None:
        streams = self.instruments[printed.symbol]
        message = Trade(
            trade_id=printed.trade_id,
            sequence=printed.trade_sequence,
            price=printed.price,
            quantity=streams.market.quantity(printed.quantity),
            aggressor=printed.aggressor,
            executed_at=to_timestamp(event.time_ns),
            print=True,
        )
        self._add_trade(event, streams, message)

    def _add_trade(self, event: journal.VenueEvent, streams: InstrumentStreams, trade: Trade) -> None:
        market = streams.market
        streams.new_trades.append(Entry(trade.sequence, frame(TRADES_FIELD, trade.SerializeToString())))
        self.to_keep.append(
            TradeRow(
                symbol=market.message.symbol,
                sequence=trade.sequence,
                trade_id=trade.trade_id,
                price=Decimal(trade.price),
                quantity=Decimal(trade.quantity),
                aggressor=trade.aggressor,
                print=trade.print,
                executed_ns=event.time_ns,
            )
        )
        if self.caught_up:
            market.trade_sequence = trade.sequence
            if not trade.print:
                # A print may be off tick, and tells nothing of what the venue would trade at.
                market.last_price, market.last_quantity = trade.price, trade.quantity
        market.updated_ns = event.time_ns
        self._touched[market.message.symbol] = streams

    def _set_level(self, event: journal.VenueEvent, symbol: str, level: journal.LevelAfter) -> None:
        streams = self.instruments[symbol]
        market = streams.market
        change = market.level_change(level)
        streams.new_levels.append(Entry(level.depth_sequence, frame(LEVELS_FIELD, change.SerializeToString())))
        if level.depth_sequence > market.depth_sequence:
            market.set_level(level)
        market.updated_ns = event.time_ns
        self._touched[symbol] = streams

    def _publish(self, streams: InstrumentStreams) -> None:
        symbol, trades, levels = streams.market.message.symbol, streams.new_trades, streams.new_levels
        if _begins_before(streams.trades, trades):
            streams.trades = self._trades_topic(symbol, trades[0].sequence - 1)
        if _begins_before(streams.depth, levels):
            streams.depth = self._depth_topic(symbol, levels[0].sequence - 1)
        streams.trades.extend(trades)
        streams.depth.extend(levels)
        trades.clear()
        levels.clear()
        self._publish_quote(streams)

    def _publish_quote(self, streams: InstrumentStreams) -> None:
        quote = streams.market.quote()
        streams.quotes.publish(self.sequence, [frame(QUOTES_FIELD, quote.SerializeToString())])


def _begins_before(topic: EventTopic, entries: Sequence[Entry]) -> bool:
    """Tells whether events of before the snapshot come to a topic that has none yet, and no reader."""
    return bool(entries) and entries[0].sequence <= topic.sequence and not len(topic.ring)
