"""Calls about risk and analytics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property

from aac.analytics.v1 import analytics_pb2, analytics_pb2_grpc
from aac.risk.v1 import risk_pb2, risk_pb2_grpc

from aac_grpc.client._calls import Calls, new_key
from aac_grpc.client.decimals import to_wire
from aac_grpc.client.models._record import time_range, to_duration
from aac_grpc.client.models.accounts import AccountLimits, AccountPerformance, Exposure, Limits
from aac_grpc.client.models.indicators import IndicatorKind, Indicators


class AnalysisCalls(Calls):
    """Limits, exposure, performance and indicators."""

    @cached_property
    def _risk(self) -> risk_pb2_grpc.RiskServiceStub:
        return risk_pb2_grpc.RiskServiceStub(self._connection.channel)

    @cached_property
    def _analytics(self) -> analytics_pb2_grpc.AnalyticsServiceStub:
        return analytics_pb2_grpc.AnalyticsServiceStub(self._connection.channel)

    async def limits(self, account: str = "", *, venue: str = "") -> AccountLimits:
        """Returns the risk limits of an account: those in force, and those set for it alone."""
        request = risk_pb2.GetLimitsRequest(venue=venue, account_id=account)
        return AccountLimits.from_wire(await self._connection.unary(self._risk.GetLimits, request))

    async def set_limits(
        self,
        account: str,
        limits: Limits,
        *,
        expected_version: int = 0,
        request_id: str | None = None,
        venue: str = "",
    ) -> Limits:
        """Sets an account's own limits, whole, and returns those in force.

        Args:
            account: Whose.
            limits: What is None falls back to the platform's default.
            expected_version: The version that was read; 0 means any.
            request_id: Client key; made where it is left out.
            venue: Isolated market.

        Raises:
            VersionClash: Another version is in force.
        """
        numbers = {
            "max_order_quantity": limits.max_order_quantity,
            "max_order_notional": limits.max_order_notional,
            "price_band": limits.price_band,
            "max_position": limits.max_position,
        }
        own = risk_pb2.Limits(
            max_open_orders=limits.max_open_orders,
            **{name: to_wire(value) for name, value in numbers.items() if value is not None},
        )
        request = risk_pb2.SetLimitsRequest(
            venue=venue,
            account_id=account,
            limits=own,
            expected_version=expected_version,
            request_id=request_id or new_key(),
        )
        return Limits.from_wire((await self._connection.unary(self._risk.SetLimits, request)).effective)

    async def exposure(self, account: str = "", *, venue: str = "") -> Exposure:
        """Returns what an account has at stake at the latest prices."""
        request = risk_pb2.GetExposureRequest(venue=venue, account_id=account)
        return Exposure.from_wire(await self._connection.unary(self._risk.GetExposure, request))

    async def performance(
        self, account: str = "", *, start: datetime | None = None, end: datetime | None = None, venue: str = ""
    ) -> AccountPerformance:
        """Returns how an account has done, from its executions from `start` on and before `end`."""
        request = analytics_pb2.GetPerformanceRequest(venue=venue, account_id=account, range=time_range(start, end))
        return AccountPerformance.from_wire(await self._connection.unary(self._analytics.GetPerformance, request))

    async def indicators(
        self,
        symbol: str,
        interval: timedelta,
        indicators: Mapping[IndicatorKind | str, Mapping[str, float]],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        closed_only: bool = False,
        venue: str = "",
    ) -> Indicators:
        """Computes indicators on an instrument's candles.

        Args:
            symbol: Which instrument.
            interval: Of the candles: whole seconds from one to a day.
            indicators: By kind, such as `{"sma": {"period": 50}}`; a parameter that is left out has its default.
            start: First candle; None with `end` means the last 10,000.
            end: Before which the candles begin.
            closed_only: Leave out the candle that is still open.
            venue: Isolated market.
        """
        request = analytics_pb2.ComputeIndicatorsRequest(
            venue=venue,
            symbol=symbol,
            interval=to_duration(interval),
            range=time_range(start, end),
            indicators=[
                analytics_pb2.IndicatorSpec(kind=IndicatorKind(kind).to_wire(), parameters=parameters)
                for kind, parameters in indicators.items()
            ],
            closed_only=closed_only,
        )
        return Indicators.from_wire(await self._connection.unary(self._analytics.ComputeIndicators, request))
