"""One venue's markets, moved on by its committed events, and the topics that subscribers read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aac.marketdata.v1.marketdata_pb2 import StreamResponse, Trade
from aac.trading.v1 import journal_pb2 as journal
from aac.trading.v1.venue_pb2 import GetMarketSnapshotResponse, InstrumentSnapshot
from aac.type.v1 import stream_pb2

from aac_grpc.common.streams import Entry, EventTopic, Snapshot, StateTopic, frame
from aac_grpc.common.types import to_timestamp
from aac_grpc.servicers.market_data.convert import trade_of_row
from aac_grpc.servicers.market_data.market import InstrumentMarket
from aac_grpc.servicers.market_data.repository import TradeRow

TRADES_FIELD = StreamResponse.TRADES_FIELD_NUMBER
LEVELS_FIELD = StreamResponse.LEVELS_FIELD_NUMBER
QUOTES_FIELD = StreamResponse.QUOTES_FIELD_NUMBER

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

    @property
    def caught_up(self) -> bool:
        """The books are as current as the events that were applied."""
        return self.sequence >= self._snapshot_sequence

    def apply(self, events: Iterable[journal.VenueEvent], sequence: int) -> None:
        """Moves the markets on by a batch of events, the last of which has this sequence."""
        touched: dict[str, InstrumentStreams] = {}
        self._touched = touched
        for event in events:
            if event.sequence <= self.sequence:
                continue
            self.sequence = event.sequence
            name = event.WhichOneof("event")
            if (handler := self._handlers.get(name or "")) is not None:
                handler(event, getattr(event, name or ""))
        self.sequence = max(self.sequence, sequence)
        for streams in touched.values():
            self._publish(streams)

    def take_kept(self) -> Sequence[TradeRow]:
        """The trades that are to be kept since the last call."""
        taken, self.to_keep = self.to_keep, []
        return taken

    def _list(self, snapshot: InstrumentSnapshot) -> InstrumentStreams:
        market = InstrumentMarket(snapshot)
        symbol = snapshot.instrument.symbol
        streams = InstrumentStreams(
            market,
            trades=self._topic(stream_pb2.TOPIC_TRADES, symbol, market.trade_sequence, history=self._history(symbol)),
            depth=self._topic(
                stream_pb2.TOPIC_DEPTH,
                symbol,
                market.depth_sequence,
                snapshot=lambda: self.instruments[symbol].depth_snapshot(),
                max_lag=20_000,
            ),
            quotes=StateTopic(stream_pb2.TOPIC_QUOTES, symbol, venue=self.venue, epoch=self.epoch),
        )
        self.instruments[symbol] = streams
        self._publish_quote(streams)
        return streams

    def _topic(self, topic: stream_pb2.Topic, symbol: str, sequence: int, **sources: Any) -> EventTopic:
        return EventTopic(
            topic,
            symbol,
            venue=self.venue,
            epoch=self.epoch,
            sequence=sequence,
            max_entries=50_000,
            max_bytes=8 << 20,
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
            market.last_price, market.last_quantity = trade.price, trade.quantity
            market.trade_sequence = trade.sequence
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
        for topic, entries in ((streams.trades, streams.new_trades), (streams.depth, streams.new_levels)):
            if entries:
                if entries[0].sequence <= topic.sequence and self._snapshot_sequence >= self.sequence:
                    # Events of before the snapshot: the ring begins with them.
                    topic.reset(self.epoch, entries[0].sequence - 1)
                topic.extend(entries)
                entries.clear()
        self._publish_quote(streams)

    def _publish_quote(self, streams: InstrumentStreams) -> None:
        quote = streams.market.quote()
        streams.quotes.publish(self.sequence, [frame(QUOTES_FIELD, quote.SerializeToString())])
