"""The grammar of decimal strings, and exact scaled integers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.decimals import (
    format_decimal,
    format_money,
    format_scaled,
    parse_decimal,
    parse_money,
    to_scaled,
)

decimals = st.decimals(
    min_value=Decimal(-(10**18) + 1), max_value=Decimal(10**18 - 1), places=9, allow_nan=False, allow_infinity=False
)


@pytest.mark.parametrize(
    "text", ["0", "1", "-1", "0.5", "-0.5", "570.12", "999999999999999999.999999999", "0.000000001"]
)
def test_a_decimal_string_is_read_exactly_and_written_back_the_same(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)
    assert format_decimal(parse_decimal(text)) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "write 0 for zero"),
        ("-0", "write 0"),
        ("-0.0", "write 0"),
        ("+1", "leave it out"),
        ("1e5", "write all digits"),
        ("1E5", "write all digits"),
        ("01", "leading zeros"),
        ("1.", "ends with a point"),
        ("1.0", "trailing zeros"),
        ("0.10", "trailing zeros"),
        (".5", "not a decimal"),
        ("--1", "not a decimal"),
        ("1.2.3", "not a decimal"),
        ("1,5", "not a decimal"),
        (" 1", "not a decimal"),
        ("1\n", "not a decimal"),
        ("٣", "not a decimal"),
        ("NaN", "not a decimal"),
        ("Infinity", "not a decimal"),
        ("1234567890123456789", "18 integer digits"),
        ("0.1234567891", "9 fraction digits"),
        ("9" * 5000, "18 integer digits"),
    ],
)
def test_any_other_spelling_is_refused_with_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as refusal:
        parse_decimal(text)
    assert len(str(refusal.value)) < 160


@given(st.text(max_size=12))
def test_any_text_is_either_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        value = parse_decimal(text)
    except ValueError:
        return
    assert format_decimal(value) == text


@given(decimals)
def test_a_value_has_one_spelling_which_reads_back_as_the_value(value: Decimal) -> None:
    assert parse_decimal(format_decimal(value)) == value


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 9))
def test_scaled_integers_are_written_like_the_decimal_they_stand_for(units: int, scale: int) -> None:
    value = Decimal(units).scaleb(-scale)
    assert format_scaled(units, scale) == format_decimal(value)
    assert to_scaled(value, scale) == units


def test_a_value_finer_than_the_scale_is_never_rounded() -> None:
    with pytest.raises(ValueError, match="fraction digits"):
        to_scaled(Decimal("0.005"), 2)


def test_what_is_not_a_number_is_not_written() -> None:
    for value in (Decimal("NaN"), Decimal("Infinity"), Decimal("1e18"), Decimal("1e-10")):
        with pytest.raises(ValueError):
            format_decimal(value)


def test_money_is_read_and_written_in_units_of_a_hundred_millionth() -> None:
    assert parse_money("12.5") == 1_250_000_000
    assert format_money(-1) == "-0.00000001"
    with pytest.raises(ValueError):
        parse_money("0.000000001")
