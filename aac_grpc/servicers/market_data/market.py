"""One instrument's market as its venue committed it: a view by price level, never a matching book."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from aac.marketdata.v1.marketdata_pb2 import GetBookResponse, LevelChange, Quote
from aac.trading.v1.journal_pb2 import LevelAfter
from aac.trading.v1.venue_pb2 import InstrumentSnapshot
from aac.type.v1 import market_pb2

from aac_grpc.common.types import to_timestamp
from aac_grpc.domain.instruments import Instrument
from aac_grpc.servicers.market_data.convert import to_domain

BUY, SELL = market_pb2.SIDE_BUY, market_pb2.SIDE_SELL

_MEMO_LIMIT = 20_000


class Ladder:
    """One side of a book: price in ticks -> (lots, orders), best price first on request."""

    __slots__ = ("_prices", "levels", "side")

    def __init__(self, side: "market_pb2.Side.ValueType") -> None:
        self.side = side
        self.levels: dict[int, tuple[int, int]] = {}
        self._prices: list[int] = []
        """Ascending."""

    def set(self, price: int, quantity: int, orders: int) -> None:
        """Sets what rests at a price; a quantity of 0 removes the level."""
        if quantity:
            if price not in self.levels:
                insort(self._prices, price)
            self.levels[price] = (quantity, orders)
        elif self.levels.pop(price, None) is not None:
            del self._prices[bisect_left(self._prices, price)]

    def best(self) -> int | None:
        """The best price in ticks, or None for an empty side."""
        if not self._prices:
            return None
        return self._prices[-1] if self.side == BUY else self._prices[0]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yields (ticks, lots, orders), best first."""
        for price in reversed(self._prices) if self.side == BUY else self._prices:
            yield price, *self.levels[price]


class InstrumentMarket:
    """Book, quote and last trade of one instrument, with the sequences of the source."""

    def __init__(self, snapshot: InstrumentSnapshot) -> None:
        """Begins with what the venue showed at one moment."""
        self.message = snapshot.instrument
        self.instrument: Instrument = to_domain(snapshot.instrument)
        self.bids, self.asks = Ladder(BUY), Ladder(SELL)
        self.depth_sequence: int = snapshot.depth_sequence
        self.trade_sequence: int = snapshot.trade_sequence
        self.last_price, self.last_quantity = snapshot.last_price, snapshot.last_quantity
        self.updated_ns = 0
        self._price_text: dict[int, str] = {}
        self._quantity_text: dict[int, str] = {}
        for ladder, levels in ((self.bids, snapshot.bids), (self.asks, snapshot.asks)):
            for level in levels:
                ladder.set(self.instrument.to_ticks(level.price), self.instrument.to_lots(level.quantity), level.orders)

    def set_level(self, level: LevelAfter) -> None:
        """Takes over the visible level that an event changed."""
        ladder = self.bids if level.side == BUY else self.asks
        ladder.set(level.price, level.quantity, level.orders)
        self.depth_sequence = level.depth_sequence

    def price(self, ticks: int) -> str:
        """Decimal text of a price; formatted once per price."""
        return _memo(self._price_text, ticks, self.instrument.from_ticks)

    def quantity(self, lots: int) -> str:
        """Decimal text of a quantity; formatted once per quantity."""
        return _memo(self._quantity_text, lots, self.instrument.from_lots)

    def level_change(self, level: LevelAfter) -> LevelChange:
        """An event's level as subscribers receive it."""
        return LevelChange(
            side=level.side,
            price=self.price(level.price),
            quantity=self.quantity(level.quantity),
            orders=level.orders,
            sequence=level.depth_sequence,
        )

    def all_levels(self) -> list[LevelChange]:
        """The whole book as a snapshot frame carries it, best levels first."""
        return [
            LevelChange(
                side=ladder.side,
                price=self.price(price),
                quantity=self.quantity(quantity),
                orders=orders,
                sequence=self.depth_sequence,
            )
            for ladder in (self.bids, self.asks)
            for price, quantity, orders in ladder
        ]

    def quote(self) -> Quote:
        """Best bid and ask and the last trade as they stand."""
        quote = Quote(
            venue=self.message.venue,
            symbol=self.message.symbol,
            last_price=self.last_price,
            last_quantity=self.last_quantity,
            depth_sequence=self.depth_sequence,
        )
        if (bid := self.bids.best()) is not None:
            quote.bid_price, quote.bid_quantity = self.price(bid), self.quantity(self.bids.levels[bid][0])
        if (ask := self.asks.best()) is not None:
            quote.ask_price, quote.ask_quantity = self.price(ask), self.quantity(self.asks.levels[ask][0])
        if self.updated_ns:
            quote.updated_at.CopyFrom(to_timestamp(self.updated_ns))
        return quote

    def book(self, depth: int, venue_sequence: int) -> GetBookResponse:
        """The best `depth` levels of each side."""
        book = GetBookResponse(
            venue=self.message.venue,
            symbol=self.message.symbol,
            depth_sequence=self.depth_sequence,
            venue_sequence=venue_sequence,
        )
        for ladder, levels in ((self.bids, book.bids), (self.asks, book.asks)):
            for price, quantity, orders in ladder:
                if len(levels) == depth:
                    break
                levels.add(price=self.price(price), quantity=self.quantity(quantity), orders=orders)
        if self.updated_ns:
            book.updated_at.CopyFrom(to_timestamp(self.updated_ns))
        return book


def _memo(texts: dict[int, str], value: int, write: Callable[[int], str]) -> str:
    text = texts.get(value)
    if text is None:
        if len(texts) >= _MEMO_LIMIT:
            texts.clear()
        text = texts[value] = write(value)
    return text
