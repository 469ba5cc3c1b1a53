"""Candles of a whole list of trades, to compare with those that came page by page."""

from collections.abc import Iterable, Iterator

from aac_grpc.domain.candles import Candle, CandleBuilder


def candles_of(trades: Iterable[tuple[int, int, int]], interval_ns: int) -> Iterator[Candle]:
    """Yields the candles of trades (time in ns, price, quantity) in time order; the last one stays open."""
    builder = CandleBuilder(interval_ns)
    for time_ns, price, quantity in trades:
        if (closed := builder.add(time_ns, price, quantity)) is not None:
            yield closed
    if builder.current is not None:
        yield builder.current
