"""Time candles, built from trades one by one; the same code makes history and the live candle.

Prices and quantities are integers of one unit of the caller's choice: ticks and lots, or a finer price unit where
prints may be off tick. Intervals begin at multiples of their length since the Unix epoch (UTC). An interval
without a trade has no candle.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

SECOND_NS = 1_000_000_000
MIN_INTERVAL_NS = SECOND_NS
MAX_INTERVAL_NS = 86_400 * SECOND_NS

_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
_NINE_DIGITS = Decimal("1e-9")


@dataclass(slots=True)
class Candle:
    """What was traded in one interval. Times are nanoseconds since the Unix epoch."""

    start_ns: int
    interval_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    """Sum of the quantities."""
    notional: int
    """Sum of price x quantity, in price units x quantity units."""
    trades: int
    closed: bool = False
    """The interval has ended; the candle changes no more."""

    @property
    def end_ns(self) -> int:
        """First instant after the interval."""
        return self.start_ns + self.interval_ns

    def vwap(self, price_unit: Decimal) -> Decimal:
        """Returns the volume-weighted average price in currency, rounded half even to 9 fraction digits.

        Args:
            price_unit: What one unit of price is worth, such as the tick size.
        """
        exact = _EXACT.divide(_EXACT.multiply(Decimal(self.notional), price_unit), Decimal(self.volume))
        return _EXACT.quantize(exact, _NINE_DIGITS)

    def add(self, price: int, quantity: int) -> None:
        """Counts a trade in."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += quantity
        self.notional += price * quantity
        self.trades += 1

    def absorb(self, later: "Candle") -> None:
        """Counts in a candle of a finer interval that follows what is counted."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.notional += later.notional
        self.trades += later.trades


class CandleBuilder:
    """Builds the candles of one instrument and interval; `current` is the one that is open."""

    __slots__ = ("_end_ns", "current", "interval_ns")

    def __init__(self, interval_ns: int) -> None:
        """Makes a builder without a candle.

        Args:
            interval_ns: Whole seconds from one second to one day, in nanoseconds.

        Raises:
            ValueError: The interval is not that.
        """
        self.interval_ns = check_interval(interval_ns)
        self.current: Candle | None = None
        self._end_ns = 0

    def add(self, time_ns: int, price: int, quantity: int) -> Candle | None:
        """Counts a trade in and returns the candle that it closed, if any.

        Raises:
            ValueError: The trade is older than the open candle; a venue's clock never goes back.
        """
        candle = self.current
        if candle is not None and time_ns < self._end_ns:
            if time_ns < candle.start_ns:
                raise ValueError(
                    f"a trade at {time_ns} ns is older than the candle that is open since {candle.start_ns} ns"
                )
            candle.add(price, quantity)
            return None
        closed = self.close_until(time_ns)
        start = time_ns - time_ns % self.interval_ns
        self._end_ns = start + self.interval_ns
        self.current = Candle(start, self.interval_ns, price, price, price, price, quantity, price * quantity, 1)
        return closed

    def close_until(self, now_ns: int) -> Candle | None:
        """Closes and returns the open candle where its interval has ended by now."""
        candle = self.current
        if candle is None or now_ns < self._end_ns:
            return None
        candle.closed = True
        self.current = None
        return candle


def candles_of(trades: Iterable[tuple[int, int, int]], interval_ns: int) -> Iterator[Candle]:
    """Yields the candles of trades (time in ns, price, quantity) in time order; the last one stays open."""
    builder = CandleBuilder(interval_ns)
    for time_ns, price, quantity in trades:
        if (closed := builder.add(time_ns, price, quantity)) is not None:
            yield closed
    if builder.current is not None:
        yield builder.current


def roll_up(candles: Iterable[Candle], interval_ns: int) -> Iterator[Candle]:
    """Yields coarser candles made of finer ones in time order.

    The last one is closed where the last finer one is closed and ends with it.

    Raises:
        ValueError: The interval is not a multiple of the finer candles' own.
    """
    check_interval(interval_ns)
    coarse: Candle | None = None
    for candle in candles:
        if interval_ns % candle.interval_ns:
            raise ValueError(f"{interval_ns} ns is not a multiple of the candles' {candle.interval_ns} ns")
        start = candle.start_ns - candle.start_ns % interval_ns
        if coarse is not None and coarse.start_ns == start:
            coarse.absorb(candle)
        else:
            if coarse is not None:
                coarse.closed = True
                yield coarse
            coarse = Candle(
                start, interval_ns, candle.open, candle.high, candle.low, candle.close,
                candle.volume, candle.notional, candle.trades,
            )  # fmt: skip
        coarse.closed = candle.closed and candle.end_ns == coarse.end_ns
    if coarse is not None:
        yield coarse


def check_interval(interval_ns: int) -> int:
    """Returns the interval.

    Raises:
        ValueError: It is not whole seconds from one second to one day.
    """
    if interval_ns % SECOND_NS or not MIN_INTERVAL_NS <= interval_ns <= MAX_INTERVAL_NS:
        raise ValueError(f"a candle's interval must be whole seconds from 1 s to 1 day, not {interval_ns} ns")
    return interval_ns
