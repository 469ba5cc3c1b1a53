"""Indicators on candles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from aac.analytics.v1 import analytics_pb2

from aac_grpc.client.models._record import WireEnum, moment


class IndicatorKind(WireEnum):
    """Which indicator."""

    UNSPECIFIED = "unspecified"
    SMA = "sma"
    EMA = "ema"
    RSI = "rsi"
    MACD = "macd"
    BOLLINGER = "bollinger"
    ATR = "atr"

    @classmethod
    def wire_type(cls) -> Any:
        return analytics_pb2.IndicatorKind


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator's outputs by name, each aligned with the times. Statistics, not money; NaN while it warms up."""

    kind: IndicatorKind
    parameters: Mapping[str, float]
    series: Mapping[str, tuple[float, ...]]
    warm_up: int


@dataclass(frozen=True, slots=True)
class Indicators:
    """Indicators on one instrument's candles."""

    times: tuple[datetime, ...]
    results: tuple[Indicator, ...]

    @classmethod
    def from_wire(cls, message: analytics_pb2.ComputeIndicatorsResponse) -> Self:
        """Reads the message."""
        results = (
            Indicator(
                kind=IndicatorKind.from_wire(result.spec.kind),
                parameters=dict(result.spec.parameters),
                series={one.name: tuple(one.values) for one in result.series},
                warm_up=result.warm_up,
            )
            for result in message.results
        )
        return cls(tuple(map(moment, message.times)), tuple(results))
