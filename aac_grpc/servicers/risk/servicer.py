"""RiskService: messages to limits, verdicts and exposure and back."""

from aac.risk.v1 import risk_pb2_grpc
from aac.risk.v1.risk_pb2 import (
    CheckOrdersRequest,
    CheckOrdersResponse,
    GetExposureRequest,
    GetExposureResponse,
    GetLimitsRequest,
    GetLimitsResponse,
    SetLimitsRequest,
    SetLimitsResponse,
)

from aac_grpc.common.call import current_call
from aac_grpc.common.changes import Changes
from aac_grpc.common.database import Transaction
from aac_grpc.common.servicer import Context, Servicer
from aac_grpc.common.types import venue_of
from aac_grpc.domain.exposure import exposure_of
from aac_grpc.domain.limits import judge
from aac_grpc.servicers.risk.convert import (
    check_accounts,
    to_accounts,
    to_exposure,
    to_limits,
    to_orders,
    to_reference_prices,
    to_response,
)
from aac_grpc.servicers.risk.holdings import Holdings
from aac_grpc.servicers.risk.repository import LimitsRepository


class RiskServicer(Servicer, risk_pb2_grpc.RiskServiceServicer):
    """Limits, verdicts on orders, exposure."""

    def __init__(self, limits: LimitsRepository, changes: Changes, holdings: Holdings) -> None:
        self._limits = limits
        self._changes = changes
        self._holdings = holdings

    async def CheckOrders(self, request: CheckOrdersRequest, context: Context) -> CheckOrdersResponse:
        check_accounts(request)
        accounts = to_accounts(request)
        limits = {account: to_limits(await self._limits.effective(request.venue, account)) for account in accounts}
        verdicts = judge(to_orders(request), accounts, limits, to_reference_prices(request))
        return to_response(request.orders, verdicts)

    async def GetLimits(self, request: GetLimitsRequest, context: Context) -> GetLimitsResponse:
        account_id = current_call().account(request)
        limits = await self._limits.get(venue_of(request), account_id)
        return GetLimitsResponse(
            account_id=account_id, effective=limits.effective, own=limits.own, version=limits.version
        )

    async def SetLimits(self, request: SetLimitsRequest, context: Context) -> SetLimitsResponse:
        venue, account_id = venue_of(request), current_call().account(request)

        async def set_limits(tx: Transaction) -> tuple[str, SetLimitsResponse]:
            limits = await self._limits.set(
                tx,
                venue,
                account_id,
                request.limits,
                expected_version=request.expected_version,
                actor=current_call().principal.subject,
            )
            return account_id, SetLimitsResponse(effective=limits.effective, version=limits.version)

        response = await self._changes.once(request.request_id, request, set_limits)
        await self._limits.forget(venue, account_id)
        return response

    async def GetExposure(self, request: GetExposureRequest, context: Context) -> GetExposureResponse:
        venue, account_id = venue_of(request), current_call().account(request)
        portfolio = await self._holdings.portfolio(venue, account_id)
        prices = await self._holdings.prices(venue, [holding.symbol for holding in portfolio.holdings])
        priced = [(holding, prices.get(holding.symbol)) for holding in portfolio.holdings]
        return to_exposure(account_id, portfolio.currency, exposure_of(portfolio.cash, priced))
