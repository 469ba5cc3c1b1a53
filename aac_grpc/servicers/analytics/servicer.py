"""AnalyticsService: messages to indicators and performance and back."""

from aac.analytics.v1 import analytics_pb2_grpc
from aac.analytics.v1.analytics_pb2 import (
    ComputeIndicatorsRequest,
    ComputeIndicatorsResponse,
    GetPerformanceRequest,
    GetPerformanceResponse,
)
from aac.marketdata.v1.marketdata_pb2 import Candle

from aac_grpc.client.errors import InvalidField
from aac_grpc.common.call import current_call
from aac_grpc.common.executor import BoundedExecutor
from aac_grpc.common.servicer import Context, Servicer
from aac_grpc.common.types import from_duration, time_range, venue_of
from aac_grpc.domain.candles import check_interval
from aac_grpc.domain.indicators import INDICATORS, Computed, compute
from aac_grpc.domain.performance import AccountPerformance
from aac_grpc.servicers.analytics.candle_source import CandleSource, Market, to_bars
from aac_grpc.servicers.analytics.convert import Asked, to_asked, to_performance, to_result
from aac_grpc.servicers.analytics.projection import Projection


class AnalyticsServicer(Servicer, analytics_pb2_grpc.AnalyticsServiceServicer):
    """Indicators on candles, performance from executions."""

    def __init__(
        self, candles: CandleSource, projection: Projection, executor: BoundedExecutor, max_values: int
    ) -> None:
        self._candles = candles
        self._projection = projection
        self._executor = executor
        self._max_values = max_values

    async def stop(self) -> None:
        """Ends the threads."""
        self._executor.close()

    async def ComputeIndicators(self, request: ComputeIndicatorsRequest, context: Context) -> ComputeIndicatorsResponse:
        asked = to_asked(request.indicators)
        candles = await self._candles_of(request)
        series = sum(len(INDICATORS[name].outputs) for name, _ in asked)
        if series * len(candles) > self._max_values:
            raise InvalidField("indicators", f"make more than {self._max_values} values; ask for less at a time")
        computed = await self._executor.run(_compute, candles, asked)
        return ComputeIndicatorsResponse(
            times=[candle.start for candle in candles], results=map(to_result, request.indicators, computed)
        )

    async def GetPerformance(self, request: GetPerformanceRequest, context: Context) -> GetPerformanceResponse:
        venue, account_id = venue_of(request), current_call().account(request)
        performance = AccountPerformance()
        async for executions in self._projection.executions(venue, account_id, *time_range(request.range)):
            await self._executor.run(performance.add_all, executions)
        currency = await self._projection.currency(venue, account_id)
        return to_performance(account_id, currency, performance)

    async def _candles_of(self, request: ComputeIndicatorsRequest) -> list[Candle]:
        try:
            interval_ns = check_interval(from_duration(request.interval))
        except ValueError as error:
            raise InvalidField("interval", str(error)) from error
        market = Market(venue_of(request), request.symbol, interval_ns)
        if request.HasField("range"):
            time_range(request.range)
            candles = await self._candles.within(market, request.range)
        else:
            candles = await self._candles.latest(market)
        if request.closed_only and candles and not candles[-1].closed:
            candles.pop()
        return candles


def _compute(candles: list[Candle], asked: list[Asked]) -> list[Computed]:
    bars = to_bars(candles)
    return [compute(name, bars, parameters) for name, parameters in asked]
