"""Time candles, built from trades one by one; the same code makes closed candles and the open one.

Prices and quantities are integers of one unit of the caller's choice: ticks and lots, or a finer price unit where
prints may be off tick. Intervals begin at multiples of their length since the Unix epoch (UTC). An interval
without a trade has no candle.
"""

from dataclasses import dataclass

SECOND_NS = 1_000_000_000
MIN_INTERVAL_NS = SECOND_NS
MAX_INTERVAL_NS = 86_400 * SECOND_NS


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

    def add(self, price: int, quantity: int) -> None:
        """Counts a trade in."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += quantity
        self.notional += price * quantity
        self.trades += 1


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


def check_interval(interval_ns: int) -> int:
    """Returns the interval.

    Raises:
        ValueError: It is not whole seconds from one second to one day.
    """
    if interval_ns % SECOND_NS or not MIN_INTERVAL_NS <= interval_ns <= MAX_INTERVAL_NS:
        raise ValueError(f"a candle's interval must be whole seconds from 1 s to 1 day, not {interval_ns} ns")
    return interval_ns
