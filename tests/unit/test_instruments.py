"""Ticks and lots: exact both ways, or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.instruments import Instrument, InstrumentKind, OffLot, OffTick
from tests.unit.market import instrument

sizes = st.sampled_from(["0.01", "0.0001", "0.05", "0.25", "1", "5", "0.125"])


def test_prices_and_quantities_become_ticks_and_lots() -> None:
    goog = instrument("GOOG", tick_size="0.01", lot_size="0.5")
    assert goog.to_ticks("570.12") == 57012
    assert goog.from_ticks(57010) == "570.1"
    assert goog.to_lots("1.5") == 3
    assert goog.from_lots(3) == "1.5"
    assert goog.to_ticks(Decimal("-0.01")) == -1


@pytest.mark.parametrize("price", ["570.125", "0.001"])
def test_a_price_off_the_tick_is_refused_and_never_rounded(price: str) -> None:
    with pytest.raises(OffTick, match=r"not a multiple of the tick size 0\.01"):
        instrument().to_ticks(price)


def test_a_quantity_off_the_lot_is_refused_and_never_rounded() -> None:
    with pytest.raises(OffLot, match="not a multiple of the lot size 1"):
        instrument().to_lots("1.5")


def test_a_text_that_is_no_decimal_is_a_value_error_but_not_off_tick() -> None:
    with pytest.raises(ValueError) as refusal:
        instrument().to_ticks("1.10")
    assert not isinstance(refusal.value, OffTick)


@given(sizes, st.integers(0, 10**9))
def test_ticks_written_as_text_read_back_as_the_same_ticks(tick_size: str, ticks: int) -> None:
    traded = instrument(tick_size=tick_size)
    assert traded.to_ticks(traded.from_ticks(ticks)) == ticks
    assert traded.from_ticks(ticks) == format_decimal(Decimal(tick_size) * ticks)


@given(sizes, sizes, st.integers(1, 10**6), st.integers(1, 10**6))
def test_notional_is_price_times_quantity_exactly(tick_size: str, lot_size: str, ticks: int, lots: int) -> None:
    traded = instrument(tick_size=tick_size, lot_size=lot_size)
    exact = Decimal(tick_size) * ticks * Decimal(lot_size) * lots
    assert Decimal(traded.notional(ticks, lots)).scaleb(-8) == exact


def test_sizes_whose_product_is_no_whole_money_unit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 1e-8"):
        instrument(tick_size="0.00001", lot_size="0.0001")


@pytest.mark.parametrize(
    "fault",
    [{"tick_size": Decimal(0)}, {"lot_size": Decimal(-1)}, {"min_price": 0}, {"min_quantity": 9, "max_quantity": 8}],
)
def test_an_instrument_without_sense_is_refused(fault: dict[str, int]) -> None:
    terms = {"tick_size": Decimal("0.01"), "lot_size": Decimal(1), **fault}
    with pytest.raises(ValueError, match="X: "):
        Instrument("X", "main", InstrumentKind.VENUE, "X Inc.", "USD", **terms)  # type: ignore[arg-type]
