"""Candles built from trades one by one: the plain definition that those made in PostgreSQL are compared with."""

from collections.abc import Iterable, Iterator

from aac_grpc.domain.candles import Candle, check_interval


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
            _count_in(candle, price, quantity)
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


def _count_in(candle: Candle, price: int, quantity: int) -> None:
    candle.high = max(candle.high, price)
    candle.low = min(candle.low, price)
    candle.close = price
    candle.volume += quantity
    candle.notional += price * quantity
    candle.trades += 1


def candles_of(trades: Iterable[tuple[int, int, int]], interval_ns: int) -> Iterator[Candle]:
    """Yields the candles of trades (time in ns, price, quantity) in time order; the last one stays open."""
    builder = CandleBuilder(interval_ns)
    for time_ns, price, quantity in trades:
        if (closed := builder.add(time_ns, price, quantity)) is not None:
            yield closed
    if builder.current is not None:
        yield builder.current
