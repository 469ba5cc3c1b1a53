"""Time candles: what was traded in an interval. market-data makes them of kept trades, in PostgreSQL.

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


def check_interval(interval_ns: int) -> int:
    """Returns the interval.

    Raises:
        ValueError: It is not whole seconds from one second to one day.
    """
    if interval_ns % SECOND_NS or not MIN_INTERVAL_NS <= interval_ns <= MAX_INTERVAL_NS:
        raise ValueError(f"a candle's interval must be whole seconds from 1 s to 1 day, not {interval_ns} ns")
    return interval_ns
