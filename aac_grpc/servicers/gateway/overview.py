"""An account at a glance: gathered from the services at the same time, with what can't be had named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aac.gateway.v1.gateway_pb2 import GetOverviewResponse, MissingPart
from aac.marketdata.v1.marketdata_pb2 import GetQuotesRequest, GetQuotesResponse
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.risk.v1.risk_pb2 import GetExposureRequest
from aac.risk.v1.risk_pb2_grpc import RiskServiceStub
from aac.trading.v1.order_pb2 import ORDER_STATE_OPEN, Execution, Order, Position
from aac.trading.v1.trading_pb2 import (
    GetAccountRequest,
    ListExecutionsRequest,
    ListOrdersRequest,
    ListPositionsRequest,
)
from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
from aac.type.v1.page_pb2 import PageRequest

from aac_grpc.client.errors import AacError, DeadlineExceeded, to_status_message
from aac_grpc.common.channel import Channels

T = TypeVar("T")

OPEN_ORDERS = 50
EXECUTIONS = 20
POSITIONS = 1000
QUOTES = 100

_FIRST_SHARE = 0.6
"""Share of the call's time that the first round may take; quotes, which depend on it, have most of the rest."""
_SECOND_SHARE = 0.8


class Overviews:
    """Gathers overviews."""

    def __init__(self, channels: Channels) -> None:
        """Takes stubs of the services that it asks; they try again, since a part that is missing is no failure."""
        self._trading = channels.stub(TradingServiceStub, "trading-engine", own_account=True)
        self._risk = channels.stub(RiskServiceStub, "risk-management", own_account=True)
        self._market = channels.stub(MarketDataServiceStub, "market-data", own_account=True)

    async def gather(self, venue: str, account_id: str, time_s: float) -> GetOverviewResponse:
        """Asks all services at the same time; a part whose service fails or is late is named, not waited for.

        Args:
            venue: Isolated market.
            account_id: Whose.
            time_s: Seconds that the whole may take.
        """
        parts = _Parts(time_s)
        trading, first_s = self._trading, time_s * _FIRST_SHARE
        which = {"venue": venue, "account_id": account_id}
        positions = ListPositionsRequest(**which, page=PageRequest(page_size=POSITIONS))
        orders = ListOrdersRequest(**which, states=[ORDER_STATE_OPEN], page=PageRequest(page_size=OPEN_ORDERS))
        executions = ListExecutionsRequest(**which, page=PageRequest(page_size=EXECUTIONS))
        found = await asyncio.gather(
            parts.get("account", trading.GetAccount(GetAccountRequest(**which), timeout=first_s), _FIRST_SHARE),
            parts.get("positions", trading.ListPositions(positions, timeout=first_s), _FIRST_SHARE),
            parts.get("open_orders", trading.ListOrders(orders, timeout=first_s), _FIRST_SHARE),
            parts.get("executions", trading.ListExecutions(executions, timeout=first_s), _FIRST_SHARE),
            parts.get("exposure", self._risk.GetExposure(GetExposureRequest(**which), timeout=first_s), _FIRST_SHARE),
        )
        account, held, working, done, exposure = found
        overview = GetOverviewResponse(
            account=account.account if account else None,
            positions=held.positions if held else (),
            open_orders=working.orders if working else (),
            executions=done.executions if done else (),
            exposure=exposure,
        )
        if quotes := await self._quotes(venue, _symbols(overview), parts):
            overview.quotes.extend(quotes.quotes)
        overview.missing.extend(parts.missing)
        return overview

    async def _quotes(self, venue: str, symbols: list[str], parts: _Parts) -> GetQuotesResponse | None:
        if not symbols:
            return None
        request = GetQuotesRequest(venue=venue, symbols=symbols)
        return await parts.get("quotes", self._market.GetQuotes(request), _SECOND_SHARE)


class _Parts:
    """Waits for parts, and notes those that are missing."""

    def __init__(self, time_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + time_s
        self.missing: list[MissingPart] = []

    async def get(self, field: str, asked: Awaitable[T], share: float) -> T | None:
        """A part within a share of the time that is left; None where it can't be had."""
        try:
            async with asyncio.timeout((self._end - self._loop.time()) * share):
                return await asked
        except AacError as error:
            self._note(field, error)
        except TimeoutError:
            self._note(field, DeadlineExceeded())
        return None

    def _note(self, field: str, error: AacError) -> None:
        self.missing.append(MissingPart(field=field, status=to_status_message(error)))


def _symbols(overview: GetOverviewResponse) -> list[str]:
    things: tuple[Position | Order | Execution, ...] = (
        *overview.positions,
        *overview.open_orders,
        *overview.executions,
    )
    return list(dict.fromkeys(thing.symbol for thing in things))[:QUOTES]
