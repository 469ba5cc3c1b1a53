"""Seeded order flow for a machine without recorded days: the same seed gives the same rows, and they never end.

The flow of a symbol is a zero-intelligence market with a moving fair value (after Smith, Farmer, Gillemot and
Krishnamurthy, "Statistical theory of the continuous double auction", 2003):

- The fair value is the reference price and a sum of random waves, each as large as the square root of its period:
  a bounded stand-in for a random walk whose value at any row is known without walking there.
- Limit orders join near the fair value, most of them at the touch and ever fewer behind it; orders are cancelled
  at random, those on the wrong side of the fair value first; aggressors pull the price towards the fair value, and
  some sweep a few levels; now and then hidden liquidity prints.
- Arrivals come in bursts: the gaps between rows are exponential, and short ones follow each other.

Rows come in blocks. A block depends on the seed, the symbol and its number alone, except that its first row turns
what the block before left into the block's own opening book. So any row can be reached by simulating two blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, count
from random import Random

from aac_grpc.domain.feed import Cancel, FeedRow, Item, New, Print, RecordedFill, Reduce, Reset, Take, TopOfBook
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import RestingOrder, Side
from aac_grpc.feeds.shadow import ShadowBook

BLOCK_ROWS = 10_000
_DEPTH = 15
"""Levels a side that a block opens with."""
_FEWEST, _MOST = 25, 120
"""Orders a side between which the flow is free."""
_WAVES = ((640, 0.0004), (5_120, 0.0011), (40_960, 0.0032), (327_680, 0.009))
"""(period in rows, amplitude as a share of the reference price)."""
_LOTS = (1, 2, 5, 10, 10, 20, 25, 50, 100, 100, 100, 100, 200, 300, 500)


@dataclass(frozen=True, slots=True)
class SimulatedInstrument:
    """What to simulate.

    Raises:
        ValueError: A figure is out of what the model is made for.
    """

    symbol: str
    name: str
    reference_price: Decimal
    """Around which the price stays; at least 200 ticks."""
    half_spread: int = 2
    """Usual distance of the best prices from the fair value, in ticks; 1 to 20."""
    rows_per_second: int = 50
    """On average."""
    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal("1")
    currency: str = "USD"

    def __post_init__(self) -> None:
        if self.reference_price % self.tick_size or self.reference_price < 200 * self.tick_size:
            raise ValueError(
                f"{self.symbol}: the reference price must be a multiple of the tick size, at least 200 ticks"
            )
        if not 1 <= self.half_spread <= 20:
            raise ValueError(f"{self.symbol}: the half spread must be 1 to 20 ticks")
        if self.rows_per_second < 1:
            raise ValueError(f"{self.symbol}: there must be at least one row per second")


DEFAULT_INSTRUMENTS = (
    SimulatedInstrument("ACME", "Acme Corporation", Decimal("98.40")),
    SimulatedInstrument("GLOBEX", "Globex Corporation", Decimal("412.75"), half_spread=4),
    SimulatedInstrument("INITECH", "Initech Inc.", Decimal("31.20"), half_spread=1, rows_per_second=20),
)


class Simulator:
    """Simulated flow as a feed source (`aac_grpc.feeds.source.Source`)."""

    def __init__(
        self,
        seed: int,
        instruments: Sequence[SimulatedInstrument] = DEFAULT_INSTRUMENTS,
        start_ns: int = 1_340_285_400 * 10**9,
    ) -> None:
        """Makes a simulator.

        Args:
            seed: Any integer; the flow is a function of it.
            instruments: What to simulate.
            start_ns: Time of row 0, in nanoseconds since the Unix epoch.
        """
        self._seed = seed
        self._start_ns = start_ns
        self._instruments = {instrument.symbol: instrument for instrument in instruments}

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        return f"simulated flow, seed {self._seed}: {', '.join(self._instruments)}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The simulated instruments."""
        return tuple(self._instruments)

    def instrument(self, symbol: str, venue: str) -> Instrument:
        """Returns an instrument as it is to be listed."""
        simulated = self._instruments[symbol]
        return Instrument(
            symbol=symbol,
            venue=venue,
            kind=InstrumentKind.VENUE,
            name=simulated.name,
            currency=simulated.currency,
            tick_size=simulated.tick_size,
            lot_size=simulated.lot_size,
        )

    def total_rows(self, symbol: str) -> None:
        """Returns None: simulated flow never ends."""
        self._instruments[symbol]

    def rows(self, symbol: str, start: int = 0) -> Iterator[FeedRow]:
        """Yields the rows from number `start` on, without end."""
        simulated = self._instruments[symbol]
        first = start // BLOCK_ROWS
        return (row for row in self._blocks(simulated, first) if row.row >= start)

    def _blocks(self, simulated: SimulatedInstrument, first: int) -> Iterator[FeedRow]:
        """Yields blocks of rows, the first one after the block before it was simulated for what it leaves."""
        left = ShadowBook()
        for number in count(max(0, first - 1)):
            block = _Block(self._seed, simulated, number, self._start_ns)
            rows = block.rows(left)
            if number >= first:
                yield from rows
            else:
                for _ in rows:
                    pass
            left = block.book


class _Block:
    """One block of a symbol's flow, simulated in a book of its own."""

    def __init__(self, seed: int, simulated: SimulatedInstrument, number: int, start_ns: int) -> None:
        self.book = ShadowBook()
        self._simulated = simulated
        self._key = f"{seed}/{simulated.symbol}"
        self._number = number
        self._random = Random(f"{self._key}/{number}")  # noqa: S311 - a simulation, not a secret
        self._duration_ns = BLOCK_ROWS * 10**9 // simulated.rows_per_second
        self._start_ns = start_ns + number * self._duration_ns
        self._reference = int(simulated.reference_price / simulated.tick_size)
        self._waves = [_Wave(self._key, period, share * self._reference) for period, share in _WAVES]
        self._fair = 0
        self._entered = 0

    def rows(self, left: ShadowBook) -> Iterator[FeedRow]:
        """Yields the block's rows; the first one opens the book on what is left of the block before."""
        first = self._number * BLOCK_ROWS
        times = self._times()
        self._fair = self._fair_value(first)
        yield FeedRow(first, times[0], resets=self._opening(left))
        for offset in range(1, BLOCK_ROWS):
            row = first + offset
            if offset % 16 == 0:
                self._fair = self._fair_value(row)
            items = self._event(row)
            yield FeedRow(row, times[offset], items, self._top())

    def _times(self) -> list[int]:
        """Returns when each row happens: bursts within the block's fixed duration."""
        moments, now, slowness = [], 0.0, 1.0
        for _ in range(BLOCK_ROWS):
            moments.append(now)
            if self._random.random() < 0.06:
                slowness = self._random.choice((0.02, 0.3, 1.0, 4.0))
            now += self._random.expovariate(1.0) * slowness
        scale = self._duration_ns / now
        return [self._start_ns + int(moment * scale) for moment in moments]

    def _fair_value(self, row: int) -> int:
        return max(self._reference // 2, self._reference + round(sum(wave.at(row) for wave in self._waves)))

    def _opening(self, left: ShadowBook) -> tuple[Reset, ...]:
        """Makes the block's own book, and says what turns the one that is left into it."""
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            for level in range(_DEPTH):
                price = self._fair + sign * (self._simulated.half_spread + level)
                for _ in range(self._random.choice((1, 1, 2, 3))):
                    self.book.add(self._order_ref(), side, price, self._random.choice(_LOTS))
        resets = []
        for side in Side:
            ours = [price for price, _, _ in self.book.book.levels(side)]
            gone = [price for price, _, _ in left.book.levels(side) if price not in ours]
            # Levels go before others come, so that the sides never cross on the way.
            resets += [Reset(side, price) for price in gone]
        for side in Side:
            resets += [
                Reset(side, price, tuple(self.book.at(side, price))) for price, _, _ in self.book.book.levels(side)
            ]
        return tuple(resets)

    def _event(self, row: int) -> tuple[Item, ...]:
        """Lets one thing happen."""
        side = Side.BUY if self._random.random() < 0.5 else Side.SELL
        resting = sum(orders for _, _, orders in self.book.book.levels(side))
        chance = self._random.random()
        if resting < _FEWEST or (chance < 0.47 and resting < _MOST):
            return self._enter(side)
        if chance < 0.87 or resting >= _MOST:
            return self._withdraw(side)
        if chance < 0.97:
            return self._take(row)
        return self._print()

    def _enter(self, side: Side) -> tuple[Item, ...]:
        """A limit order: mostly at the usual distance from the fair value, ever fewer behind it."""
        sign = -1 if side is Side.BUY else 1
        behind = min(int(self._random.expovariate(0.25)), 60) - (self._random.random() < 0.15)
        price = self._fair + sign * (self._simulated.half_spread + behind)
        best = self._best(side.opposite)
        price = min(price, best - 1) if side is Side.BUY else max(price, best + 1)
        order_ref, quantity = self._order_ref(), self._random.choice(_LOTS)
        self.book.add(order_ref, side, price, quantity)
        return (New(order_ref, side, price, quantity),)

    def _withdraw(self, side: Side) -> tuple[Item, ...]:
        """A cancel: of the best order where it is on the wrong side of the fair value, else of any."""
        orders = list(self.book.book.orders(side))
        is_wrong = orders[0].price > self._fair if side is Side.BUY else orders[0].price < self._fair
        order: RestingOrder = orders[0] if is_wrong else self._random.choice(orders)
        if order.leaves > 1 and self._random.random() < 0.05:
            quantity = self._random.randint(1, order.leaves - 1)
            self.book.book.reduce(order, quantity)
            return (Reduce(order.order_id, quantity),)
        self.book.cancel(order)
        return (Cancel(order.order_id),)

    def _take(self, row: int) -> tuple[Item, ...]:
        """An aggressor, more often in the direction of the fair value; one in five sweeps beyond the best level."""
        middle = (self._best(Side.BUY) + self._best(Side.SELL)) / 2
        pull = (self._fair - middle) / (2 * self._simulated.half_spread)
        side = Side.BUY if self._random.random() < 0.5 + max(-0.4, min(0.4, pull)) else Side.SELL
        sign = 1 if side is Side.BUY else -1
        limit = self._best(side.opposite) + sign * (self._random.randint(1, 3) if self._random.random() < 0.2 else 0)
        met = self.book.meets(side, limit, self._random.choice(_LOTS) * self._random.choice((1, 1, 1, 3)))
        if not met:
            return self._enter(side.opposite)
        worst, quantity = met[-1][2], sum(lots for _, lots, _ in met)
        self.book.take(side, worst, quantity)
        return (Take(side, worst, quantity, tuple(RecordedFill(row, ref, lots) for ref, lots, _ in met)),)

    def _print(self) -> tuple[Item, ...]:
        """Hidden liquidity traded at the middle of the spread, which may be off tick."""
        middle = Decimal(self._best(Side.BUY) + self._best(Side.SELL)) / 2 * self._simulated.tick_size
        return (Print(middle, self._random.choice(_LOTS), self._random.choice((Side.BUY, Side.SELL))),)

    def _order_ref(self) -> str:
        self._entered += 1
        return f"{self._number}.{self._entered}"

    def _best(self, side: Side) -> int:
        book = self.book.book
        best = book.best_bid() if side is Side.BUY else book.best_ask()
        # A side hardly runs empty: below _FEWEST orders it is only added to, and takes end within four levels.
        return best[0] if best is not None else self._fair + (-1 if side is Side.BUY else 1)

    def _top(self) -> TopOfBook:
        book = self.book.book
        return TopOfBook(*chain(book.best_bid() or (0, 0), book.best_ask() or (0, 0)))


class _Wave:
    """Smooth noise: random values at multiples of a period, with smooth steps between them."""

    def __init__(self, key: str, period: int, amplitude: float) -> None:
        self._key = f"{key}/wave/{period}"
        self._period = period
        self._amplitude = amplitude
        self._at = -1
        self._ends = (0.0, 0.0)

    def at(self, row: int) -> float:
        """Returns the wave's height at a row."""
        index, offset = divmod(row, self._period)
        if index != self._at:
            self._at, self._ends = index, (self._height(index), self._height(index + 1))
        share = offset / self._period
        share *= share * (3 - 2 * share)
        before, after = self._ends
        return before + (after - before) * share

    def _height(self, index: int) -> float:
        return Random(f"{self._key}/{index}").uniform(-1, 1) * self._amplitude  # noqa: S311 - a simulation
