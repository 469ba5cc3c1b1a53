"""Candles: what trades make of an interval, live and from history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.candles import SECOND_NS, Candle, check_interval
from tests.support.candles import CandleBuilder, candles_of

MINUTE_NS = 60 * SECOND_NS

trades = st.lists(
    st.tuples(st.integers(0, 600 * SECOND_NS), st.integers(1, 10_000), st.integers(1, 500)), max_size=60
).map(lambda rows: sorted(rows, key=lambda row: row[0]))


def test_a_candle_tells_open_high_low_close_volume_notional_and_trades() -> None:
    (candle,) = candles_of([(0, 10, 2), (1, 13, 1), (2, 9, 4), (3, 11, 3)], SECOND_NS)
    assert candle == Candle(0, SECOND_NS, 10, 13, 9, 11, 10, 20 + 13 + 36 + 33, 4, closed=False)


def test_a_trade_of_the_next_interval_closes_the_candle() -> None:
    builder = CandleBuilder(MINUTE_NS)
    assert builder.add(MINUTE_NS - 1, 10, 1) is None
    closed = builder.add(MINUTE_NS, 12, 1)
    assert closed == Candle(0, MINUTE_NS, 10, 10, 10, 10, 1, 10, 1, closed=True)
    assert builder.current == Candle(MINUTE_NS, MINUTE_NS, 12, 12, 12, 12, 1, 12, 1, closed=False)


def test_time_alone_closes_a_candle() -> None:
    builder = CandleBuilder(SECOND_NS)
    builder.add(5, 10, 1)
    assert builder.close_until(SECOND_NS - 1) is None
    closed = builder.close_until(SECOND_NS)
    assert closed == Candle(0, SECOND_NS, 10, 10, 10, 10, 1, 10, 1, closed=True)
    assert builder.current is None
    assert builder.close_until(9 * SECOND_NS) is None


def test_intervals_begin_at_multiples_of_their_length_since_the_epoch() -> None:
    (candle,) = candles_of([(7 * MINUTE_NS + 3, 10, 1)], 5 * MINUTE_NS)
    assert candle.start_ns == 5 * MINUTE_NS
    assert candle.end_ns == 10 * MINUTE_NS


def test_an_interval_without_a_trade_has_no_candle() -> None:
    starts = [candle.start_ns for candle in candles_of([(0, 1, 1), (9 * SECOND_NS, 1, 1)], SECOND_NS)]
    assert starts == [0, 9 * SECOND_NS]


def test_a_trade_older_than_the_open_candle_is_refused() -> None:
    builder = CandleBuilder(SECOND_NS)
    builder.add(5 * SECOND_NS, 10, 1)
    with pytest.raises(ValueError, match="older than the candle"):
        builder.add(5 * SECOND_NS - 1, 10, 1)


@pytest.mark.parametrize("interval", [0, -SECOND_NS, SECOND_NS // 2, SECOND_NS + 1, 86_401 * SECOND_NS])
def test_an_interval_that_is_not_whole_seconds_up_to_a_day_is_refused(interval: int) -> None:
    with pytest.raises(ValueError, match="whole seconds from 1 s to 1 day"):
        check_interval(interval)


@given(trades)
def test_no_trade_is_lost_or_counted_twice(rows: list[tuple[int, int, int]]) -> None:
    candles = list(candles_of(rows, 7 * SECOND_NS))
    assert sum(candle.trades for candle in candles) == len(rows)
    assert sum(candle.volume for candle in candles) == sum(quantity for _, _, quantity in rows)
    assert sum(candle.notional for candle in candles) == sum(price * quantity for _, price, quantity in rows)
    assert all(candle.low <= min(candle.open, candle.close) <= candle.high for candle in candles)
    assert [candle.closed for candle in candles] == [True] * (len(candles) - 1) + [False] * bool(candles)
