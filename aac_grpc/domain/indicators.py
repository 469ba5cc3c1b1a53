"""Technical indicators over candles, by TA-Lib: one table says what each takes, gives and needs.

Values are doubles: statistics, never money. Wilder's smoothing (RSI, ATR) is seeded with a simple average as
TA-Lib does; other sources seed ATR a bar later and differ by a few hundredths for some bars.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

import numpy as np
import talib
from numpy.typing import NDArray

Series = NDArray[np.float64]
Parameters = Mapping[str, float]

_MAX_PERIOD = 10_000


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles as columns of equal length, oldest first, prices in currency."""

    high: Series
    low: Series
    close: Series

    def __post_init__(self) -> None:
        if not self.high.shape == self.low.shape == self.close.shape or self.close.ndim != 1:
            raise ValueError("bars must be columns of equal length")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that steers an indicator, and its bounds."""

    name: str
    default: float
    minimum: float
    maximum: float
    whole: bool = True
    """Only whole numbers make sense."""

    def check(self, value: float) -> float:
        """Returns the value.

        Raises:
            ValueError: It is out of bounds or not whole; the message says what is allowed.
        """
        if not isfinite(value) or not self.minimum <= value <= self.maximum or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"{self.name} must be {kind} from {self.minimum:g} to {self.maximum:g}, not {value:g}")
        return value


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator: what it takes, what it gives, and how it is computed."""

    name: str
    inputs: tuple[str, ...]
    """Columns of `Bars` that it reads."""
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    warm_up: Callable[[Parameters], int]
    """How many leading values are not a number, given the parameters."""
    function: Callable[[Bars, Parameters], tuple[Series, ...]]

    def fill(self, given: Parameters) -> dict[str, float]:
        """Returns all parameters: those given, checked, and defaults for the rest.

        Raises:
            ValueError: A parameter is unknown, out of bounds, or at odds with another one.
        """
        known = {parameter.name for parameter in self.parameters}
        if unknown := sorted(set(given) - known):
            raise ValueError(f"{self.name} has no parameter {unknown[0]!r}; it takes {', '.join(sorted(known))}")
        filled = {p.name: p.check(given.get(p.name, p.default)) for p in self.parameters}
        if "fast" in filled and filled["fast"] >= filled["slow"]:
            raise ValueError(f"fast must be below slow, not {filled['fast']:g} and {filled['slow']:g}")
        return filled


@dataclass(frozen=True, slots=True)
class Computed:
    """The outputs of one indicator, each as long as the bars; NaN while it warms up."""

    indicator: Indicator
    parameters: Mapping[str, float]
    series: Mapping[str, Series]
    warm_up: int
    """How many leading values are NaN; at most the number of bars."""


def compute(name: str, bars: Bars, parameters: Parameters | None = None) -> Computed:
    """Computes an indicator over bars.

    Raises:
        ValueError: The name or a parameter is unknown, or a parameter is out of bounds.
    """
    indicator = INDICATORS.get(name)
    if indicator is None:
        raise ValueError(f"there is no indicator {name!r}; there are {', '.join(INDICATORS)}")
    filled = indicator.fill(parameters or {})
    values = indicator.function(bars, filled)
    series = dict(zip(indicator.outputs, values, strict=True))
    return Computed(indicator, MappingProxyType(filled), series, min(indicator.warm_up(filled), len(bars.close)))


def _period(default: int, minimum: int = 2) -> Parameter:
    """A number of bars to look back."""
    return Parameter("period", default, minimum, _MAX_PERIOD)


def _sma(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    return (talib.SMA(bars.close, int(given["period"])),)


def _ema(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    return (talib.EMA(bars.close, int(given["period"])),)


def _rsi(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    return (talib.RSI(bars.close, int(given["period"])),)


def _macd(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    macd, signal, histogram = talib.MACD(bars.close, int(given["fast"]), int(given["slow"]), int(given["signal"]))
    return macd, signal, histogram


def _bollinger(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    width = given["deviations"]
    upper, middle, lower = talib.BBANDS(bars.close, int(given["period"]), width, width)
    return upper, middle, lower


def _atr(bars: Bars, given: Parameters) -> tuple[Series, ...]:
    return (talib.ATR(bars.high, bars.low, bars.close, int(given["period"])),)


_CLOSE = ("close",)
_MACD_PARAMETERS = (
    Parameter("fast", 12, 2, _MAX_PERIOD),
    Parameter("slow", 26, 2, _MAX_PERIOD),
    Parameter("signal", 9, 1, _MAX_PERIOD),
)

INDICATORS: Mapping[str, Indicator] = MappingProxyType(
    {
        indicator.name: indicator
        for indicator in (
            Indicator("sma", _CLOSE, (_period(20, 1),), ("sma",), lambda p: int(p["period"]) - 1, _sma),
            Indicator("ema", _CLOSE, (_period(20, 1),), ("ema",), lambda p: int(p["period"]) - 1, _ema),
            Indicator("rsi", _CLOSE, (_period(14),), ("rsi",), lambda p: int(p["period"]), _rsi),
            Indicator(
                "macd",
                _CLOSE,
                _MACD_PARAMETERS,
                ("macd", "signal", "histogram"),
                lambda p: int(p["slow"] + p["signal"]) - 2,
                _macd,
            ),
            Indicator(
                "bollinger",
                _CLOSE,
                (_period(20), Parameter("deviations", 2.0, 0.1, 10.0, whole=False)),
                ("upper", "middle", "lower"),
                lambda p: int(p["period"]) - 1,
                _bollinger,
            ),
            Indicator("atr", ("high", "low", "close"), (_period(14, 1),), ("atr",), lambda p: int(p["period"]), _atr),
        )
    }
)
"""Every indicator by name."""
