"""Indicators and performance as messages."""

from collections.abc import Sequence

from aac.analytics.v1 import analytics_pb2
from aac.analytics.v1.analytics_pb2 import (
    GetPerformanceResponse,
    IndicatorKind,
    IndicatorResult,
    IndicatorSeries,
    IndicatorSpec,
)

from aac_grpc.client.errors import FieldViolation, InvalidFields
from aac_grpc.common.types import money, to_timestamp
from aac_grpc.domain.indicators import INDICATORS, Computed
from aac_grpc.domain.performance import AccountPerformance, Performance

Asked = tuple[str, dict[str, float]]
"""An indicator's name and all of its parameters."""


def to_asked(specs: Sequence[IndicatorSpec]) -> list[Asked]:
    """Reads what is to be computed, defaults filled in.

    Raises:
        InvalidFields: Names every indicator whose parameters are unknown or out of bounds.
    """
    asked: list[Asked] = []
    violations = []
    for index, spec in enumerate(specs):
        name = IndicatorKind.Name(spec.kind).removeprefix("INDICATOR_KIND_").lower()
        try:
            asked.append((name, INDICATORS[name].fill(spec.parameters)))
        except ValueError as error:
            violations.append(FieldViolation(f"indicators[{index}].parameters", str(error)))
    if violations:
        raise InvalidFields(violations)
    return asked


def to_result(spec: IndicatorSpec, computed: Computed) -> IndicatorResult:
    """Writes the outputs of one indicator."""
    return IndicatorResult(
        spec=IndicatorSpec(kind=spec.kind, parameters=computed.parameters),
        series=[IndicatorSeries(name=name, values=values.tolist()) for name, values in computed.series.items()],
        warm_up=computed.warm_up,
    )


def to_performance(account_id: str, currency: str, performance: AccountPerformance) -> GetPerformanceResponse:
    """Writes an account's performance; money is left out where the account's currency is not known."""
    instruments = sorted(performance.instruments.values(), key=lambda instrument: instrument.symbol)
    return GetPerformanceResponse(
        account_id=account_id,
        total=_to_performance(currency, performance.total),
        instruments=[_to_performance(currency, instrument) for instrument in instruments],
    )


def _to_performance(currency: str, performance: Performance) -> analytics_pb2.Performance:
    units = ("realized_pnl", "turnover", "gross_profit", "gross_loss", "max_drawdown")
    amounts = {name: money(currency, getattr(performance, name)) for name in units} if currency else {}
    return analytics_pb2.Performance(
        symbol=performance.symbol,
        executions=performance.executions,
        wins=performance.wins,
        losses=performance.losses,
        win_rate=performance.win_rate,
        profit_factor=performance.profit_factor,
        first_at=None if performance.first_ns is None else to_timestamp(performance.first_ns),
        last_at=None if performance.last_ns is None else to_timestamp(performance.last_ns),
        **amounts,
    )
